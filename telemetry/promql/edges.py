"""
Windows whose edges are samples (`anchored`) or lie on the line between two (`smoothed`).

They hold the samples within the lookback before their left edge, and if they are smoothed
behind their right edge as well.
"""

from __future__ import annotations

import numpy as np

from telemetry.promql.kernels import Bools, Floats, Ints, compiled


@compiled
def edges(  # noqa: PLR0917 - numba's functions take positions
    ts: Ints,
    lo: int,
    hi: int,
    start: int,
    end: int,
    smoothed: bool,  # noqa: FBT001 - as above
) -> tuple[int, int, bool]:
    """Return the samples that stand for a window's edges, and whether there are any."""
    if hi <= lo:
        return 0, 0, False
    last = hi - 1
    first = lo
    while first < last and ts[first] <= start:
        first += 1
    first = max(lo, first - 1)
    if smoothed:
        last = lo
        while last < hi - 1 and ts[last] < end:
            last += 1
    good = ts[last] > start and not (smoothed and ts[first] > end)
    return first, last, good


@compiled
def _between(  # noqa: PLR0917 - numba's functions take positions
    a: float,
    a_ms: int,
    b: float,
    b_ms: int,
    at_ms: int,
    is_counter: bool,  # noqa: FBT001 - as above
) -> float:
    """Return what lies on the line; a counter that was reset came from 0."""
    if is_counter and b < a:
        a = 0.0
    return a + (b - a) * (at_ms - a_ms) / (b_ms - a_ms)


@compiled
def edged(  # noqa: PLR0917 - numba's functions take positions
    ts: Ints,
    values: Floats,
    lo: Ints,
    hi: Ints,
    ends: Ints,
    range_ms: int,
    smoothed: bool,  # noqa: FBT001 - as above
    is_counter: bool,  # noqa: FBT001 - as above
    is_rate: bool,  # noqa: FBT001 - as above
) -> tuple[Floats, Bools]:
    """Return anchored or smoothed rate, increase or delta: nothing is extrapolated."""
    series, steps = lo.shape
    out = np.full((series, steps), np.nan)
    present = np.zeros((series, steps), np.bool_)
    for s in range(series):
        for t in range(steps):
            start, end = ends[t] - range_ms, ends[t]
            first, last, good = edges(ts, lo[s, t], hi[s, t], start, end, smoothed)
            if not good:
                continue
            left, right = values[first], values[last]
            if smoothed and ts[first] < start:
                left = _between(
                    left, ts[first], values[first + 1], ts[first + 1], start, is_counter
                )
            if smoothed and last > lo[s, t] and ts[last] > end:
                right = _between(values[last - 1], ts[last - 1], right, ts[last], end, is_counter)
            result = right - left
            if is_counter:
                first += ts[first] <= start
                last -= ts[last] >= end
                before = left
                for i in range(first, last + 1):
                    if values[i] < before:
                        result += before
                    before = values[i]
                if right < before:
                    result += before
            out[s, t] = result / (range_ms / 1000) if is_rate else result
            present[s, t] = True
    return out, present


@compiled
def anchored(ts: Ints, lo: Ints, hi: Ints, ends: Ints, range_ms: int) -> tuple[Ints, Ints]:
    """Return windows that begin with the last sample at or before their left edge."""
    first, after = lo.copy(), hi.copy()
    for s in range(lo.shape[0]):
        for t in range(lo.shape[1]):
            start = ends[t] - range_ms
            while first[s, t] + 1 < hi[s, t] and ts[first[s, t] + 1] <= start:
                first[s, t] += 1
            if hi[s, t] > lo[s, t] and ts[hi[s, t] - 1] <= start:
                after[s, t] = first[s, t]
    return first, after


@compiled
def neighbours(ts: Ints, offsets: Ints, ends: Ints, lookback_ms: int) -> tuple[Ints, Ints]:
    """Return the samples around each step: the last at or before, the first at or behind it."""
    series, steps = offsets.size - 1, ends.size
    before = np.full((series, steps), -1, np.int64)
    behind = np.full((series, steps), -1, np.int64)
    for s in range(series):
        after = offsets[s]
        for t in range(steps):
            while after < offsets[s + 1] and ts[after] < ends[t]:
                after += 1
            if after < offsets[s + 1] and ts[after] <= ends[t] + lookback_ms:
                behind[s, t] = after
                if ts[after] == ends[t]:
                    before[s, t] = after
                    continue
            if after > offsets[s] and ts[after - 1] > ends[t] - lookback_ms:
                before[s, t] = after - 1
    return before, behind
