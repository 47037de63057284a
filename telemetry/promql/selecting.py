"""Instant vectors from columns of samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from telemetry.promql import edges, kernels, notes
from telemetry.promql.native import folds as native_folds
from telemetry.promql.native.columns import CUSTOM, Histograms, concatenated, select
from telemetry.promql.native.rows import INCOMPATIBLE
from telemetry.promql.values import Native, Vector, offsets_of, stale


if TYPE_CHECKING:
    from telemetry.promql import nodes
    from telemetry.promql.evaluate import Evaluator
    from telemetry.promql.kernels import Bools, Floats, Ints
    from telemetry.promql.source import Columns


class Selected(NamedTuple):
    """What a selector found."""

    vector: Vector
    places: Ints
    """Each cell's sample in *columns*; -1 where there is none, or it lies between two."""

    columns: Columns

    @property
    def ts(self) -> Ints:
        """When each sample was taken, milliseconds since 1970; 0 where there is none."""
        return self._picked(self.columns.ts)

    @property
    def starts(self) -> Ints:
        """When its counter began, 0 where that isn't known."""
        if self.columns.starts is None:
            return np.zeros(self.places.shape, np.int64)
        return self._picked(self.columns.starts)

    def _picked(self, of: Ints) -> Ints:
        if not of.size:
            return np.zeros(self.places.shape, np.int64)
        return np.where(self.places >= 0, of[self.places], 0)


def latest(columns: Columns, ends: Ints, lookback_ms: int) -> Selected:
    """Return each step's newest samples."""
    index = kernels.latest(columns.ts, stale(columns.values), columns.offsets, ends, lookback_ms)
    present = index >= 0
    if not columns.ts.size:
        return Selected(_vector(columns, np.full(index.shape, np.nan), present), index, columns)
    native = None
    if columns.histogram is not None and columns.histograms is not None:
        native = Native(columns.histograms, np.where(present, columns.histogram[index], -1))
    # Where there is none this is some other sample: what isn't present means nothing.
    return Selected(_vector(columns, columns.values[index], present, native), index, columns)


def _vector(
    columns: Columns, values: Floats, present: Bools, native: Native | None = None
) -> Vector:
    labels = list(columns.labels)
    drop = np.zeros(len(labels), np.bool_)
    return Vector(labels=labels, values=values, present=present, drop_name=drop, native=native)


def smoothed(
    ev: Evaluator, node: nodes.Selector, columns: Columns, ends: Ints, lookback_ms: int
) -> Selected:
    """Return what lies at each step on the line between the samples around it."""
    keep = ~stale(columns.values)
    kept = offsets_of(keep.astype(np.int64))
    ts, values, offsets = columns.ts[keep], columns.values[keep], kept[columns.offsets]
    before, behind = edges.neighbours(ts, offsets, ends, lookback_ms)
    present = before >= 0
    behind = np.where(behind >= 0, behind, before)
    nothing = np.full(present.shape, -1, np.int64)
    if not ts.size:
        return Selected(_vector(columns, np.full(present.shape, np.nan), present), nothing, columns)
    a, b = values[before], values[behind]
    gap = np.where(behind > before, ts[behind] - ts[before], 1)
    line = a + (b - a) * (np.broadcast_to(ends, present.shape) - ts[before]) / gap
    result = np.where(behind > before, line, a)
    native = None
    if columns.histogram is not None and columns.histograms is not None:
        histogram = columns.histogram[keep]
        lo, hi = kernels.bounds(ts, offsets, ends + lookback_ms, 2 * lookback_ms)
        counted = offsets_of((histogram >= 0).astype(np.int64))
        natives = counted[hi] - counted[lo]
        mixed = (natives > 0) & (natives < hi - lo)
        notes.mixed(ev, _vector(columns, result, present), mixed, node.at)
        present &= ~mixed
        native, present = _line(
            ev, node, _vector(columns, result, present), columns.histograms, histogram, ts, before,
            behind, ends,
        )  # fmt: skip
    return Selected(_vector(columns, result, present, native), nothing, columns)


def _line(  # noqa: PLR0917 - a part of the function above
    ev: Evaluator,
    node: nodes.Selector,
    of: Vector,
    pool: Histograms,
    histogram: Ints,
    ts: Ints,
    before: Ints,
    behind: Ints,
    ends: Ints,
) -> tuple[Native, Bools]:
    present = of.present
    rows = np.where(present, histogram[before], -1)
    apart = (rows >= 0) & (behind > before)
    custom = pool.schema == CUSTOM
    flags = np.zeros(rows.shape, np.int64)
    differ = apart & (custom[rows] != custom[histogram[behind]])
    flags[differ] = INCOMPATIBLE
    apart &= ~differ
    times = np.broadcast_to(ends, rows.shape)[apart]
    between, found = native_folds.interpolated(
        pool, before[apart], behind[apart], ts, times, histogram
    )
    flags[apart] = found
    carried = (rows >= 0) & (behind == before) & (ts[before] < ends)
    forgotten = select(pool, rows[carried])._replace(hint=np.zeros(int(carried.sum()), np.int64))
    rows = rows.copy()
    rows[apart] = pool.schema.size + np.arange(int(apart.sum()))
    first = pool.schema.size + between.schema.size
    rows[carried] = first + np.arange(int(carried.sum()))
    notes.flagged(ev, of, flags, node.at)
    return Native(concatenated([pool, between, forgotten]), rows), present & (
        flags & INCOMPATIBLE == 0
    )
