"""Native histograms and exemplars, read from the store as columns."""

# ruff: noqa: S608 - every value in the SQL is a number or goes through `quote`

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from opentelemetry.proto.metrics.v1.metrics_pb2 import Exemplar

from telemetry.promql.native.columns import Histograms, none
from telemetry.scan.names import point_labels
from telemetry.store.sessions import READ_BOUNDS


if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from telemetry.store.model import Limits, Series
    from telemetry.store.sessions import Sessions

EXEMPLARS_MAX = 10_000
"""Most exemplars of one query; of more the newest are returned."""

_COLUMNS = (
    "metric, series_id, ts_ms, start_ms, schema, zero_threshold, zero_count, count, sum,"
    " positive_offset, positive, negative_offset, negative, bounds, hint"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HistogramSamples:
    """
    The native histograms of some series; a row each in `histograms`.

    Those of the i-th series asked for stand at `offsets[i]:offsets[i + 1]`, by rising time, no
    time twice. A row whose sum is a stale marker (`STALE_NAN_BITS`) says that the series ended.
    """

    offsets: NDArray[np.int64]
    ts_ms: NDArray[np.int64]
    starts_ms: NDArray[np.int64]
    histograms: Histograms


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredExemplar:
    """One exemplar of a series."""

    series: int
    """Which of the series asked for."""

    ts_ms: int
    value: float
    trace_id: bytes
    """16 bytes, or empty."""

    span_id: bytes
    labels: Mapping[str, str]
    """Its other attributes, as labels."""


async def read_histograms(
    sessions: Sessions,
    series: Sequence[Series],
    *,
    start_ms: int,
    end_ms: int,
    bounds: Limits = READ_BOUNDS,
) -> HistogramSamples:
    """Return the native histograms of *series* from *start_ms* to *end_ms*, both inclusive."""
    ids, owners = _owners(series)
    if not len(ids):
        return _no_histograms(len(series))
    answer = await sessions.batches(
        f"SELECT {_COLUMNS} FROM histograms WHERE {_of(series, ids)}"
        f" AND ts_ms BETWEEN {start_ms} AND {end_ms} ORDER BY metric, series_id, ts_ms, segment",
        bounds,
    )
    table = answer.read_all().combine_chunks()
    if not table.num_rows:
        return _no_histograms(len(series))
    owner = _owner_of(_numbers(table, "series_id"), ids, owners)
    ts_ms = _numbers(table, "ts_ms").astype(np.int64)
    order = np.lexsort((np.arange(len(ts_ms)), ts_ms, owner))
    last = np.ones(len(order), bool)
    last[:-1] = (np.diff(owner[order]) != 0) | (np.diff(ts_ms[order]) != 0)
    rows = order[last]
    return HistogramSamples(
        offsets=np.searchsorted(owner[rows], np.arange(len(series) + 1)).astype(np.int64),
        ts_ms=ts_ms[rows],
        starts_ms=_numbers(table, "start_ms").astype(np.int64)[rows],
        histograms=_histograms(table.take(pa.array(rows))),
    )


async def read_exemplars(
    sessions: Sessions,
    series: Sequence[Series],
    *,
    start_ms: int,
    end_ms: int,
    bounds: Limits = READ_BOUNDS,
) -> list[StoredExemplar]:
    """Return the newest exemplars of *series*, by series and rising time."""
    ids, owners = _owners(series)
    if not len(ids):
        return []
    answer = await sessions.batches(
        "SELECT series_id, ts_ms, value, hex(trace_id) AS trace, hex(span_id) AS span,"
        " hex(raw) AS exemplar FROM exemplars"
        f" WHERE {_of(series, ids)} AND ts_ms BETWEEN {start_ms} AND {end_ms}"
        f" ORDER BY ts_ms DESC LIMIT 1 BY series_id, ts_ms, value LIMIT {EXEMPLARS_MAX}",
        bounds,
    )
    found = []
    for row in answer.read_all().to_pylist():
        owner = int(_owner_of(np.array([row["series_id"]], np.uint64), ids, owners)[0])
        found.append(
            StoredExemplar(
                series=owner,
                ts_ms=row["ts_ms"],
                value=row["value"],
                trace_id=_id(row["trace"]),
                span_id=_id(row["span"]),
                labels=point_labels(
                    Exemplar.FromString(bytes.fromhex(row["exemplar"])).filtered_attributes
                ),
            )
        )
    return sorted(found, key=lambda one: (one.series, one.ts_ms))


def _of(series: Sequence[Series], ids: NDArray[np.uint64]) -> str:
    metrics = sorted({metric for one in series for metric, _ in one.keys})
    return (
        f"metric IN ({','.join(map(str, metrics))})"
        f" AND series_id IN ({','.join(map(str, ids.tolist()))})"
    )


def _owners(series: Sequence[Series]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Return the ids of all *series*, sorted, and which of the series each belongs to."""
    ids = np.fromiter((key for one in series for _, key in one.keys), np.uint64)
    owners = np.repeat(np.arange(len(series)), [len(one.keys) for one in series])
    order = np.argsort(ids, kind="stable")
    return ids[order], owners[order]


def _owner_of(
    found: NDArray[np.uint64], ids: NDArray[np.uint64], owners: NDArray[np.int64]
) -> NDArray[np.int64]:
    return owners[np.searchsorted(ids, found)]


def _numbers(table: Any, name: str) -> NDArray[Any]:
    return np.asarray(table.column(name).to_numpy())


def _lists(table: Any, name: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return where the lists of a column begin, with the end, and the values of all."""
    column = table.column(name).combine_chunks()
    offsets = column.offsets.to_numpy().astype(np.int64)
    values = column.values.to_numpy()
    return offsets - offsets[0], np.array(values[offsets[0] : offsets[-1]])


def _sparse(table: Any, side: str) -> tuple[NDArray[np.int64], NDArray[np.int32], Any]:
    """Return (offsets, bucket numbers, counts) of the buckets of one *side* that aren't empty."""
    offsets, values = _lists(table, side)
    lengths = np.diff(offsets)
    first = _numbers(table, f"{side}_offset").astype(np.int64)
    numbers = np.arange(len(values)) - np.repeat(offsets[:-1] - first, lengths)
    kept = values != 0
    ends = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)[offsets]
    return ends, numbers[kept].astype(np.int32), values[kept]


def _histograms(table: Any) -> Histograms:
    pos_offsets, pos_index, pos = _sparse(table, "positive")
    neg_offsets, neg_index, neg = _sparse(table, "negative")
    bounds_offsets, bounds = _lists(table, "bounds")
    return Histograms(
        schema=_numbers(table, "schema").astype(np.int64),
        hint=_numbers(table, "hint").astype(np.int64),
        zero_threshold=_numbers(table, "zero_threshold"),
        zero_count=_numbers(table, "zero_count"),
        counts=_numbers(table, "count"),
        sums=_numbers(table, "sum"),
        pos_offsets=pos_offsets,
        pos_index=pos_index,
        pos=pos,
        neg_offsets=neg_offsets,
        neg_index=neg_index,
        neg=neg,
        bounds_offsets=bounds_offsets,
        bounds=bounds,
    )


def _no_histograms(series: int) -> HistogramSamples:
    nothing = np.zeros(0, np.int64)
    return HistogramSamples(
        offsets=np.zeros(series + 1, np.int64),
        ts_ms=nothing,
        starts_ms=nothing,
        histograms=none(),
    )


def _id(value: str) -> bytes:
    raw = bytes.fromhex(value)
    return raw if any(raw) else b""
