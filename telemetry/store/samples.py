"""Samples, read in columns: nothing here is done sample by sample."""

# ruff: noqa: S608 - every value in the SQL is a number

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from telemetry.store.model import Samples


if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from telemetry.store.model import Limits, Series
    from telemetry.store.sessions import Sessions


async def read_samples(
    sessions: Sessions, series: Sequence[Series], *, start_ms: int, end_ms: int, bounds: Limits
) -> Samples:
    """Return the samples of *series* from *start_ms* to *end_ms*, both inclusive."""
    if not series:
        return _none(0)
    metrics = sorted({metric for one in series for metric, _ in one.keys})
    ids = np.fromiter((key for one in series for _, key in one.keys), np.uint64)
    owners = np.repeat(np.arange(len(series)), [len(one.keys) for one in series])
    answer = await sessions.batches(
        "SELECT series_id, ts_ms, number, start_ms FROM samples"
        f" WHERE metric IN ({','.join(map(str, metrics))})"
        f" AND series_id IN ({','.join(map(str, ids.tolist()))})"
        f" AND ts_ms BETWEEN {start_ms} AND {end_ms}"
        " ORDER BY metric, series_id, ts_ms, segment",
        bounds,
    )
    table = answer.read_all()
    if not table.num_rows:
        return _none(len(series))
    owner = owners_of(column(table, "series_id"), ids, owners)
    return _samples(table, owner, len(series))


def column(table: pa.Table, name: str) -> NDArray[Any]:
    """Return a column in memory of its own: Arrow's is read-only."""
    return np.concatenate([part.to_numpy() for part in table.column(name).chunks])


def owners_of(
    found: NDArray[np.uint64], ids: NDArray[np.uint64], owners: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the owner of each row, whose id is *found*: looked up once where ids repeat."""
    begin = np.flatnonzero(np.append(True, found[1:] != found[:-1]))
    by_id = np.argsort(ids, kind="stable")
    of = owners[by_id][np.searchsorted(ids[by_id], found[begin])]
    return np.repeat(of, np.diff(np.append(begin, len(found))))


def _none(series: int) -> Samples:
    return Samples(
        offsets=np.zeros(series + 1, np.int64),
        ts_ms=np.zeros(0, np.int64),
        values=np.zeros(0, np.float64),
        starts_ms=np.zeros(0, np.int64),
    )


def _samples(table: pa.Table, owner: NDArray[np.int64], series: int) -> Samples:
    """Order the rows by the series they belong to and drop repeated times, keeping the last."""
    ts_ms, values, starts = (column(table, name) for name in ("ts_ms", "number", "start_ms"))
    rising = (owner[1:] > owner[:-1]) | ((owner[1:] == owner[:-1]) & (ts_ms[1:] >= ts_ms[:-1]))
    if not rising.all():
        order = np.lexsort((ts_ms, owner))
        owner, ts_ms, values, starts = owner[order], ts_ms[order], values[order], starts[order]
    last = np.ones(len(owner), bool)
    last[:-1] = (owner[1:] != owner[:-1]) | (ts_ms[1:] != ts_ms[:-1])
    if not last.all():
        owner, ts_ms, values, starts = owner[last], ts_ms[last], values[last], starts[last]
    return Samples(
        offsets=np.searchsorted(owner, np.arange(series + 1)).astype(np.int64),
        ts_ms=ts_ms,
        values=values,
        starts_ms=starts,
    )
