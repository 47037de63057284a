"""Samples of the same series from several places, made one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from telemetry.promql.native.columns import concatenated, none
from telemetry.promql.source import Columns
from telemetry.promql.values import STALE_BITS, offsets_of


if TYPE_CHECKING:
    from collections.abc import Sequence

    from telemetry.promql.kernels import Ints
    from telemetry.promql.labels import Labels
    from telemetry.store.histograms import HistogramSamples


def joined(parts: Sequence[Columns]) -> Columns:
    """Return all *parts* as one; of samples of one series and time the last part's stays."""
    place: dict[Labels, int] = {}
    owners, rows, pools = [], [], []
    before = 0
    for part in parts:
        own = [place.setdefault(labels, len(place)) for labels in part.labels]
        owners.append(np.repeat(np.array(own, np.int64), np.diff(part.offsets)))
        pool = none() if part.histograms is None else part.histograms
        row = np.full(part.ts.size, -1, np.int64)
        if part.histogram is not None:
            row = np.where(part.histogram >= 0, part.histogram + before, -1)
        rows.append(row)
        pools.append(pool)
        before += pool.schema.size
    owner, ts = np.concatenate(owners), np.concatenate([part.ts for part in parts])
    order = np.lexsort((ts, owner))
    last = np.ones(order.size, np.bool_)
    last[:-1] = (np.diff(owner[order]) != 0) | (np.diff(ts[order]) != 0)
    kept = order[last]
    return Columns(
        labels=list(place),
        ts=ts[kept],
        values=np.concatenate([part.values for part in parts])[kept],
        offsets=offsets_of(np.bincount(owner[kept], minlength=len(place)).astype(np.int64)),
        histograms=concatenated(pools),
        histogram=np.concatenate(rows)[kept],
        starts=np.concatenate([_starts(part) for part in parts])[kept],
    )


def _starts(part: Columns) -> Ints:
    return np.zeros(part.ts.size, np.int64) if part.starts is None else part.starts


def natives(labels: Sequence[Labels], found: HistogramSamples) -> Columns:
    """Return stored native histograms; one whose sum is a staleness marker is that marker."""
    sums = found.histograms.sums
    ended = np.ascontiguousarray(sums).view(np.uint64) == np.uint64(STALE_BITS)
    return Columns(
        labels=labels,
        ts=found.ts_ms,
        values=np.where(ended, sums, 0.0),
        offsets=found.offsets,
        histograms=found.histograms,
        histogram=np.where(ended, -1, np.arange(sums.size)),
        starts=found.starts_ms,
    )
