"""Rows of metrics into their tables: many requests' batches, joined, as a file of columns each."""

# ruff: noqa: S608 - names of our tables, numbers and quoted paths

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from telemetry.load.decimals import Decimals
from telemetry.load.native import Column, arrays, block, numbers, strings
from telemetry.scan.batch import bucket_ends
from telemetry.scan.sink import Exemplar, Histogram, Sample
from telemetry.store.engine import Load


if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from telemetry.load.decimals import Split
    from telemetry.scan.batch import Batch, Exemplars

    Words = NDArray[np.uint64]

AT_ONCE = {
    "max_threads": 1,
    "max_insert_threads": 1,
    "max_partitions_per_insert_block": 0,
    "min_insert_block_size_rows": 4_000_000,
    "min_insert_block_size_bytes": 500_000_000,
}
"""Settings with which a segment becomes one part of each table and week."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """All rows of a segment, as columns (`telemetry.scan.sink`)."""

    samples: Words
    histograms: Words
    buckets: NDArray[np.float64]
    exemplars: Sequence[Exemplars]


def joined(batches: Sequence[Batch]) -> Rows:
    """Return the rows of *batches*, in order; at least one."""
    return Rows(
        samples=np.concatenate([one.samples for one in batches], axis=1),
        histograms=np.concatenate([one.histograms for one in batches], axis=1),
        buckets=np.concatenate([one.buckets for one in batches]),
        exemplars=[one.exemplars for one in batches if len(one.exemplars)],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadFile:
    """A file of rows for one table."""

    table: str
    path: Path
    columns: tuple[tuple[str, str], ...]
    """(name, ClickHouse's type)."""

    def insert(self, segment: int) -> Load:
        """Return the INSERT that loads the file as rows of *segment*."""
        names = ", ".join(name for name, _ in self.columns)
        return Load(
            into=f"{self.table} ({names}, segment)",
            select=lambda source: f"SELECT {names}, {segment} FROM {source}",
            path=self.path,
            format="Native",
            structure=", ".join(f"{name} {kind}" for name, kind in self.columns),
            settings=AT_ONCE,
        )


def write(rows: Rows, segment: Path, decimals: Decimals | None = None) -> list[LoadFile]:
    """
    Write the load files of *rows* beside *segment*; none for a table that gets no rows.

    Args:
        decimals: What is known of the digits of series; nothing, if it isn't given.

    """
    decimals = decimals or Decimals()
    exemplars = sum(map(len, rows.exemplars))
    tables = (
        ("samples", rows.samples.shape[1], lambda of: _samples(of, decimals)),
        ("histograms", rows.histograms.shape[1], _histograms),
        ("exemplars", exemplars, _exemplars),
    )
    files = []
    for table, count, columns_of in tables:
        if not count:
            continue
        columns = columns_of(rows)
        path = segment.with_suffix(f".{table}.part")
        with path.open("wb") as file:
            file.writelines(block(count, columns))
        kinds = tuple((column.name, column.kind) for column in columns)
        files.append(LoadFile(table=table, path=path, columns=kinds))
    return files


def _samples(rows: Rows, decimals: Decimals) -> list[Column]:
    columns = rows.samples
    split = decimals.split(columns)
    return [
        numbers("metric", "UInt64", columns[Sample.METRIC]),
        numbers("series_id", "UInt64", columns[Sample.SERIES]),
        numbers("ts_ms", "Int64", columns[Sample.TIME]),
        numbers("start_ms", "Int64", columns[Sample.START]),
        *_values(split),
    ]


def _values(split: Split) -> list[Column]:
    """Return the columns of values; those that all have their default are left out."""
    columns = [numbers("value", "Float64", split.floats)] if split.whole else []
    if split.whole < len(split.scale):
        columns += [
            numbers("scale", "Int8", split.scale),
            numbers("high", "Int64", split.high),
            numbers("low", "UInt8", split.low),
        ]
    return columns


def _histograms(rows: Rows) -> list[Column]:
    columns = rows.histograms
    positive_ends, negative_ends, bounds_ends = bucket_ends(columns)
    return [
        numbers("metric", "UInt64", columns[Histogram.METRIC]),
        numbers("series_id", "UInt64", columns[Histogram.SERIES]),
        numbers("ts_ms", "Int64", columns[Histogram.TIME]),
        numbers("start_ms", "Int64", columns[Histogram.START]),
        numbers("schema", "Int8", columns[Histogram.SCHEMA].astype(np.int8)),
        numbers("zero_threshold", "Float64", columns[Histogram.ZERO_THRESHOLD]),
        numbers("zero_count", "Float64", columns[Histogram.ZERO_COUNT]),
        numbers("count", "Float64", columns[Histogram.COUNT]),
        numbers("sum", "Float64", columns[Histogram.SUM]),
        numbers("positive_offset", "Int32", columns[Histogram.POSITIVE_OFFSET].astype(np.int32)),
        *_side("positive", rows.buckets, columns[Histogram.POSITIVE_LENGTH], positive_ends),
        numbers("negative_offset", "Int32", columns[Histogram.NEGATIVE_OFFSET].astype(np.int32)),
        *_side("negative", rows.buckets, columns[Histogram.NEGATIVE_LENGTH], negative_ends),
        *_side("bounds", rows.buckets, columns[Histogram.BOUNDS_LENGTH], bounds_ends),
        numbers("hint", "UInt8", columns[Histogram.HINT].astype(np.uint8)),
    ]


def _side(
    name: str, buckets: NDArray[np.float64], lengths: Words, stops: NDArray[np.int64]
) -> list[Column]:
    """Return the column of one side's buckets; the i-th row's end at `stops[i]` of *buckets*."""
    counts = lengths.astype(np.int64)
    ends = np.cumsum(counts)
    inside = np.arange(int(ends[-1])) - np.repeat(ends - counts, counts)
    values = buckets[np.repeat(stops - counts, counts) + inside]
    return [arrays(name, "Float64", ends, values)]


def _exemplars(rows: Rows) -> list[Column]:
    parts = rows.exemplars
    columns = np.concatenate([one.columns for one in parts], axis=1)
    return [
        numbers("metric", "UInt64", columns[Exemplar.METRIC]),
        numbers("series_id", "UInt64", columns[Exemplar.SERIES]),
        numbers("ts_ms", "Int64", columns[Exemplar.TIME]),
        numbers("value", "Float64", columns[Exemplar.VALUE]),
        numbers("trace_id", "FixedString(16)", *(one.trace_ids for one in parts)),
        numbers("span_id", "FixedString(8)", *(one.span_ids for one in parts)),
        strings("raw", [raw for one in parts for raw in one.raw]),
    ]
