"""Roll-ups, read: as much of each table as is asked for, only the columns that are wanted."""

# ruff: noqa: S608 - names of our tables and numbers

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from telemetry.store.model import Limits
from telemetry.store.rollups import FINE_MS, FORMAT, TABLES


if TYPE_CHECKING:
    import pyarrow as pa

    from telemetry.store.model import Series
    from telemetry.store.sessions import Sessions

_BOUNDS = Limits(rows_max=50_000_000, memory_bytes_max=1_500_000_000, block_rows=262_144)
"""Each block is put together anew when it has come: few are quicker than many."""

_WHOLE = frozenset({"first_ms", "last_ms", "count", "resets", "ended"})
"""Columns of whole numbers; the others are floats."""

_SQL = {"ended": "toInt64(ended) AS ended"}
"""What of a column is read, if not the column."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Windows of one length that end in `(after_ms, until_ms]`."""

    step_ms: int
    """`FINE_MS` or `COARSE_MS`."""

    after_ms: int
    until_ms: int


Blocks = Sequence[Mapping[str, NDArray[Any]]]
"""
Roll-ups as they were read: `series_id`, `end_ms` and the columns, one block behind the other.

Rows of one series id and table stand together but for a few cuts, each piece by rising time.
Whole they would be copied for nothing. They can't be written to.
"""


async def rolled_until(sessions: Sessions, series: Sequence[Series]) -> int:
    """
    Return until when the roll-ups of *series* are all that there is, Unix milliseconds; 0: nowhere.

    What came late, and isn't rolled up again yet, ends that before it.
    """
    answer = await sessions.query(
        f"SELECT max(until_ms), max(segment) FROM rolled WHERE one = {FORMAT}", "TabSeparated"
    )
    until_ms, segment = map(int, answer.split())
    metrics = sorted({metric for one in series for metric, _ in one.keys})
    if not until_ms or not metrics:
        return until_ms
    late = await sessions.query(
        "SELECT min(ts_ms) FROM samples"
        f" WHERE metric IN ({','.join(map(str, metrics))})"
        f" AND segment > {segment} AND ts_ms <= {until_ms}",
        "TabSeparated",
    )
    first_ms = int(late)
    return min(until_ms, (first_ms - 1) // FINE_MS * FINE_MS) if first_ms else until_ms


async def read_rollups(
    sessions: Sessions, series: Sequence[Series], spans: Sequence[Stretch], columns: Sequence[str]
) -> Blocks:
    """Return *columns* of the roll-ups of *series* in *spans*, which don't overlap."""
    keys = [key for one in series for key in one.keys]
    names = [*dict.fromkeys(columns)]
    spans = [one for one in spans if one.until_ms > one.after_ms]
    if not keys or not spans:
        return [_nothing(names)]
    wanted = (
        f"metric IN ({','.join(map(str, sorted({metric for metric, _ in keys})))})"
        f" AND series_id IN ({','.join(str(one) for _, one in keys)})"
    )
    selected = ", ".join(_SQL.get(name, name) for name in names)
    answer = await sessions.batches(
        "SELECT * FROM ("
        + " UNION ALL ".join(
            f"SELECT series_id, end_ms, {selected} FROM {TABLES[one.step_ms]} FINAL"
            f" WHERE {wanted} AND end_ms > {one.after_ms} AND end_ms <= {one.until_ms}"
            for one in spans
        )
        + ")",
        _BOUNDS,
    )
    return [_nothing(names), *(_block(batch, names) for batch in answer)]


def _block(batch: pa.RecordBatch, names: Sequence[str]) -> Mapping[str, NDArray[Any]]:
    block = {name: batch.column(name).to_numpy() for name in ("series_id", "end_ms", *names)}
    # Counts are unsigned in the tables; to have them converted there took a tenth of the reading.
    return block | {name: block[name].view(np.int64) for name in names if name in _WHOLE}


def _nothing(names: Sequence[str]) -> Mapping[str, NDArray[Any]]:
    """Return a block without rows: whatever is found, the columns have their types."""
    block: dict[str, NDArray[Any]] = {
        "series_id": np.zeros(0, np.uint64),
        "end_ms": np.zeros(0, np.int64),
    }
    for name in names:
        block[name] = np.zeros(0, np.int64 if name in _WHOLE else np.float64)
    for column in block.values():
        column.setflags(write=False)
    return block
