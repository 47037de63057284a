"""Range vectors in which floats and native histograms may alternate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from telemetry.promql import kernels, notes
from telemetry.promql.nodes import Edge
from telemetry.promql.values import Native, Vector, Windows, offsets_of


if TYPE_CHECKING:
    from telemetry.promql.evaluate import Evaluator
    from telemetry.promql.kernels import Bools, Floats, Ints
    from telemetry.promql.native.columns import Histograms

NO_STARTS = np.zeros(0, np.int64)
"""What kernels take where no start times are known."""


def bounds(ev: Evaluator, windows: Windows) -> tuple[Ints, Ints]:
    """
    Return `lo` and `hi` of every window, with what lies beyond its edges where that counts.

    Raises:
        InvalidInput: QUERY_TOO_LARGE: There are too many samples in all windows together.

    """
    ends, range_ms = windows.ends, windows.range_ms + windows.reach_ms
    if windows.edge is Edge.SMOOTHED:
        ends, range_ms = ends + windows.reach_ms, range_ms + windows.reach_ms
    lo, hi = kernels.bounds(windows.ts, windows.offsets, ends, range_ms)
    ev.query.budget.windows(int((hi - lo).sum()))
    return lo, hi


def starts(windows: Windows) -> Ints:
    """Return the start times as kernels take them."""
    return NO_STARTS if windows.starts is None else windows.starts


def only(windows: Windows, keep: Bools) -> Windows:
    """Return *windows* with only some of the samples."""
    kept = offsets_of(keep.astype(np.int64))
    return replace(
        windows,
        ts=windows.ts[keep],
        values=windows.values[keep],
        offsets=kept[windows.offsets],
        starts=None if windows.starts is None else windows.starts[keep],
        histogram=None if windows.histogram is None else windows.histogram[keep],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The two kinds of samples of range vectors, each by itself."""

    floats: Windows
    natives: Windows
    pool: Histograms
    histogram: Ints
    """Rows of *pool* for the samples of *natives*."""

    float_lo: Ints
    float_hi: Ints
    native_lo: Ints
    native_hi: Ints

    @property
    def mixed(self) -> Bools:
        """Which windows hold both."""
        return (self.float_hi > self.float_lo) & (self.native_hi > self.native_lo)


def split(ev: Evaluator, windows: Windows) -> Split | None:
    """Return the floats and the histograms of *windows*, None where all are floats."""
    if windows.histogram is None or windows.pool is None or not (windows.histogram >= 0).any():
        return None
    is_native = windows.histogram >= 0
    floats = replace(only(windows, ~is_native), histogram=None, pool=None)
    natives = only(windows, is_native)
    assert natives.histogram is not None
    float_lo, float_hi = bounds(ev, floats)
    native_lo, native_hi = bounds(ev, natives)
    return Split(
        floats=floats,
        natives=natives,
        pool=windows.pool,
        histogram=natives.histogram,
        float_lo=float_lo,
        float_hi=float_hi,
        native_lo=native_lo,
        native_hi=native_hi,
    )


def result(
    windows: Windows,
    values: Floats,
    present: Bools,
    *,
    native: Native | None = None,
    keeps_name: bool = False,
) -> Vector:
    """Return what became of *windows*."""
    drop = windows.drop_name if keeps_name else np.ones(len(windows.labels), np.bool_)
    return Vector(
        labels=windows.labels, values=values, present=present, drop_name=drop, native=native
    )


def both(
    windows: Windows,
    values: Floats,
    present: Bools,
    pool: Histograms,
    rows: Ints,
) -> Vector:
    """Return floats and histograms, which are never at the same place."""
    native = Native(pool, rows) if pool.schema.size else None
    return result(windows, values, present | (rows >= 0), native=native)


def floats_of(ev: Evaluator, windows: Windows, at: int, *, needed: int = 1) -> Windows:
    """
    Return the floats of *windows*, and say where histograms beside them are left out.

    Args:
        at: Where in the text the range vector stands.
        needed: Floats in a window from which on it is worth saying.

    """
    parts = split(ev, windows)
    if parts is None:
        return windows
    counted = (parts.float_hi - parts.float_lo >= needed) & parts.mixed
    notes.ignored_in_range(ev, windows, counted, at)
    return parts.floats
