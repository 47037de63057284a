"""
The loops over samples, compiled by numba; they run without the GIL.

Samples stand in concatenated columns: those of series `s` are `offsets[s]:offsets[s+1]`
in `ts` (milliseconds, ascending) and `values`. The window of step `t` is left-open:
`(ends[t] - range, ends[t]]`, as the half-open slice `lo[s, t]:hi[s, t]` of the columns.

Sums are compensated (Kahan, Neumaier's form) and taken in the order of time, so that
results agree with Prometheus to the bit wherever its own arithmetic is the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray


Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
_F = TypeVar("_F", bound=Callable[..., Any])


def compiled(function: _F) -> _F:
    """Compile *function* at its first call; the machine code is kept on disk."""
    decorate = numba.njit(cache=True, nogil=True, error_model="numpy")
    return cast("_F", decorate(function))


@compiled
def kahan(x: float, total: float, compensation: float) -> tuple[float, float]:
    """Add *x* to a compensated sum."""
    t = total + x
    if math.isinf(t):
        return t, 0.0
    if abs(total) >= abs(x):
        compensation += (total - t) + x
    else:
        compensation += (x - t) + total
    return t, compensation


@compiled
def bounds(ts: Ints, offsets: Ints, ends: Ints, range_ms: int) -> tuple[Ints, Ints]:
    """Return `lo` and `hi` of every series and step; *ends* must ascend."""
    series, steps = offsets.size - 1, ends.size
    lo = np.empty((series, steps), np.int64)
    hi = np.empty((series, steps), np.int64)
    for s in range(series):
        first = last = offsets[s]
        stop = offsets[s + 1]
        for t in range(steps):
            while last < stop and ts[last] <= ends[t]:
                last += 1
            while first < last and ts[first] <= ends[t] - range_ms:
                first += 1
            lo[s, t] = first
            hi[s, t] = last
    return lo, hi


@compiled
def latest(  # noqa: PLR0917 - numba's functions take positions
    ts: Ints, values: Floats, stale: Bools, offsets: Ints, ends: Ints, lookback_ms: int
) -> tuple[Floats, Bools, Ints]:
    """Return each step's newest value, whether there is one, and its time."""
    series, steps = offsets.size - 1, ends.size
    out = np.full((series, steps), np.nan)
    present = np.zeros((series, steps), np.bool_)
    times = np.zeros((series, steps), np.int64)
    for s in range(series):
        last, stop = offsets[s], offsets[s + 1]
        for t in range(steps):
            while last < stop and ts[last] <= ends[t]:
                last += 1
            i = last - 1
            if i >= offsets[s] and ts[i] > ends[t] - lookback_ms and not stale[i]:
                out[s, t] = values[i]
                present[s, t] = True
                times[s, t] = ts[i]
    return out, present, times


@compiled
def extrapolated(  # noqa: PLR0917 - numba's functions take positions
    ts: Ints,
    values: Floats,
    offsets: Ints,
    ends: Ints,
    range_ms: int,
    is_counter: bool,  # noqa: FBT001 - as above
    is_rate: bool,  # noqa: FBT001 - as above
) -> tuple[Floats, Bools]:
    """
    Return rate, increase or delta by Prometheus's rules of extrapolation.

    The windows move along with the steps, without arrays of their bounds: this is the
    query that dashboards ask most.
    """
    series, steps = offsets.size - 1, ends.size
    out = np.empty((series, steps))
    present = np.empty((series, steps), np.bool_)
    for s in range(series):
        first = after = offsets[s]
        stop = offsets[s + 1]
        fell = -1  # The newest sample in the window that is below the one before it.
        for t in range(steps):
            while after < stop and ts[after] <= ends[t]:
                if after > offsets[s] and values[after] < values[after - 1]:
                    fell = after
                after += 1
            while first < after and ts[first] <= ends[t] - range_ms:
                first += 1
            last = after - 1
            present[s, t] = last > first
            if last <= first:
                out[s, t] = np.nan
                continue
            result = values[last] - values[first]
            if is_counter and fell > first:
                for i in range(first + 1, fell + 1):
                    if values[i] < values[i - 1]:
                        result += values[i - 1]
            from_ms = ts[first] - (ends[t] - range_ms)
            until_ms = ends[t] - ts[last]
            factor = _stretch(
                ts[last] - ts[first],
                from_ms,
                until_ms,
                last - first,
                values[first] / result if is_counter and result > 0 else -1.0,
            )
            if is_rate:
                factor /= range_ms / 1000.0
            out[s, t] = result * factor
    return out, present


@compiled
def _stretch(sampled_ms: int, from_ms: int, until_ms: int, gaps: int, zero_at: float) -> float:
    """
    Return by how much a window's change grows when it is stretched to the window's edges.

    Args:
        sampled_ms: From the first sample to the last.
        from_ms: From the left edge to the first sample.
        until_ms: From the last sample to the right edge.
        gaps: Samples less one.
        zero_at: How many `sampled_ms` ago a counter would have been 0; negative: unknown.

    """
    sampled = sampled_ms / 1000.0
    before = from_ms / 1000.0
    behind = until_ms / 1000.0
    average = sampled / gaps
    threshold = average * 1.1
    if before >= threshold:
        before = average / 2
    if zero_at >= 0:
        before = min(before, sampled * zero_at)
    if behind >= threshold:
        behind = average / 2
    return 1.0 if sampled == 0 else (sampled + before + behind) / sampled


@compiled
def instantaneous(
    ts: Ints,
    values: Floats,
    lo: Ints,
    hi: Ints,
    is_rate: bool,  # noqa: FBT001 - as above
) -> tuple[Floats, Bools]:
    """Return irate or idelta: from the last two samples of the window."""
    series, steps = lo.shape
    out = np.full((series, steps), np.nan)
    present = np.zeros((series, steps), np.bool_)
    for s in range(series):
        for t in range(steps):
            last = hi[s, t] - 1
            if last - lo[s, t] < 1 or ts[last] == ts[last - 1]:
                continue
            result = values[last]
            if not (is_rate and values[last] < values[last - 1]):
                result -= values[last - 1]
            if is_rate:
                result /= (ts[last] - ts[last - 1]) / 1000.0
            out[s, t] = result
            present[s, t] = True
    return out, present


@compiled
def regression(  # noqa: PLR0917 - numba's functions take positions
    ts: Ints,
    values: Floats,
    lo: Ints,
    hi: Ints,
    at: Ints,
    at_first: bool,  # noqa: FBT001 - as above
) -> tuple[Floats, Floats, Bools]:
    """
    Return the least-squares line of each window: slope per second, intercept, presence.

    The intercept is at `at[t]`, or at the window's first sample if *at_first*.
    """
    series, steps = lo.shape
    slope = np.full((series, steps), np.nan)
    intercept = np.full((series, steps), np.nan)
    present = np.zeros((series, steps), np.bool_)
    for s in range(series):
        for t in range(steps):
            first, stop = lo[s, t], hi[s, t]
            n = stop - first
            if n < 2:
                continue
            origin = ts[first] if at_first else at[t]
            sx = cx = sy = cy = sxy = cxy = sx2 = cx2 = 0.0
            constant = True
            for i in range(first, stop):
                y = values[i]
                constant = constant and y == values[first]
                x = (ts[i] - origin) / 1e3
                sx, cx = kahan(x, sx, cx)
                sy, cy = kahan(y, sy, cy)
                sxy, cxy = kahan(x * y, sxy, cxy)
                sx2, cx2 = kahan(x * x, sx2, cx2)
            present[s, t] = True
            if constant:
                if not math.isinf(values[first]):
                    slope[s, t], intercept[s, t] = 0.0, values[first]
                continue
            sx, sy, sxy, sx2 = sx + cx, sy + cy, sxy + cxy, sx2 + cx2
            slope[s, t] = (sxy - sx * sy / n) / (sx2 - sx * sx / n)
            intercept[s, t] = sy / n - slope[s, t] * sx / n
    return slope, intercept, present


@compiled
def smoothed(
    values: Floats, lo: Ints, hi: Ints, smoothing: Floats, trend: Floats
) -> tuple[Floats, Bools]:
    """Return double exponential smoothing of each window; factors stand per step."""
    series, steps = lo.shape
    out = np.full((series, steps), np.nan)
    present = np.zeros((series, steps), np.bool_)
    for s in range(series):
        for t in range(steps):
            first, stop = lo[s, t], hi[s, t]
            if stop - first < 2:
                continue
            s0, s1 = 0.0, values[first]
            b = values[first + 1] - values[first]
            for i in range(first + 1, stop):
                x = smoothing[t] * values[i]
                if i > first + 1:
                    b = trend[t] * (s1 - s0) + (1 - trend[t]) * b
                s0, s1 = s1, x + (1 - smoothing[t]) * (s1 + b)
            out[s, t] = s1
            present[s, t] = True
    return out, present
