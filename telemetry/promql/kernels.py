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


def own(array: Ints) -> Ints:
    """Return integers as kernels take them: another layout would have them compiled anew."""
    return np.require(array, np.int64, ["C", "W"])


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
def latest(ts: Ints, stale: Bools, offsets: Ints, ends: Ints, lookback_ms: int) -> Ints:
    """Return each step's newest sample, -1 where there is none."""
    series, steps = offsets.size - 1, ends.size
    out = np.full((series, steps), -1, np.int64)
    for s in range(series):
        last, stop = offsets[s], offsets[s + 1]
        for t in range(steps):
            while last < stop and ts[last] <= ends[t]:
                last += 1
            i = last - 1
            if i >= offsets[s] and ts[i] > ends[t] - lookback_ms and not stale[i]:
                out[s, t] = i
    return out


@compiled
def reset_by_start(starts: Ints, ts: Ints, i: int) -> bool:
    """Return whether a sample's start time says that its counter began after the last one."""
    start, before = starts[i], ts[i - 1]
    if start == 0 or start >= ts[i] or start < before:
        return False
    if start > before:
        return True
    # It began with the sample before: a delta, unless that one's own start is unknown.
    known: bool = starts[i - 1] != 0 and starts[i - 1] != before
    return known and bool(starts[i - 1] <= before)


@compiled
def overlaps(starts: Ints, ts: Ints, i: int) -> bool:
    """Return whether a sample began before the last one, and not when that began."""
    begin, before = starts[i], starts[i - 1]
    return bool(begin not in (0, before) and begin < ts[i - 1])


@compiled
def _falls(values: Floats) -> bool:
    """Return whether any value is below the one before it; without branches, so it is fast."""
    found = 0
    for i in range(1, values.size):
        found += values[i] < values[i - 1]
    return found > 0


@compiled
def _began_anew(values: Floats, starts: Ints, ts: Ints, i: int) -> bool:
    return bool(values[i] < values[i - 1]) or (starts.size > 0 and reset_by_start(starts, ts, i))


@compiled
def resets(ts: Ints, values: Floats, starts: Ints, lo: Ints, hi: Ints) -> tuple[Floats, Bools]:
    """Return how often the counter in each window began anew."""
    out = np.zeros(lo.shape)
    for s in range(lo.shape[0]):
        for t in range(lo.shape[1]):
            for i in range(lo[s, t] + 1, hi[s, t]):
                out[s, t] += _began_anew(values, starts, ts, i)
    return out, hi > lo


@compiled
def extrapolated(  # noqa: PLR0917 - numba's functions take positions
    ts: Ints,
    values: Floats,
    starts: Ints,
    offsets: Ints,
    ends: Ints,
    range_ms: int,
    is_counter: bool,  # noqa: FBT001 - as above
    is_rate: bool,  # noqa: FBT001 - as above
    out: Floats,
    present: Bools,
    overlap: Bools,
) -> None:
    """
    Write rate, increase or delta by Prometheus's rules of extrapolation.

    *starts* are the samples' start times, or nothing at all. *overlap* says in which windows
    a sample claims to have begun before the one before it, if it has room for that.

    The windows move along with the steps, without arrays of their bounds: this is the
    query that dashboards ask most. Each series is gone through twice: what its windows hold
    is found sample by sample, what follows from that is the same arithmetic for all.
    """
    steps = ends.size
    change, lowest, gaps = np.empty(steps), np.empty(steps), np.empty(steps)
    sampled, before, behind = np.empty(steps), np.empty(steps), np.empty(steps)
    begun = np.full(steps, -1, np.int64)
    seconds = range_ms / 1000.0 if is_rate else 1.0
    has_starts = starts.size > 0
    for s in range(offsets.size - 1):
        first = after = offsets[s]
        stop = offsets[s + 1]
        fell = -1  # The newest sample in the window before which the counter began anew,
        crossed = -1  # and the newest that claims to have begun before the one before it.
        may_fall = has_starts or _falls(values[first:stop])
        for t in range(steps):
            while after < stop and ts[after] <= ends[t]:
                if may_fall and after > offsets[s]:
                    if _began_anew(values, starts, ts, after):
                        fell = after
                    if has_starts and overlaps(starts, ts, after):
                        crossed = after
                after += 1
            left = ends[t] - range_ms
            while first < after and ts[first] <= left:
                first += 1
            last = after - 1
            began = (
                has_starts
                and is_counter
                and last >= first
                and _began_within(starts[first], left, ts[first])
            )
            begun[t] = first if began else -1
            present[s, t] = last > first or began
            if not present[s, t]:
                change[t] = lowest[t] = gaps[t] = sampled[t] = before[t] = behind[t] = 0.0
                continue
            result = values[last] - values[first]
            if is_counter and fell > first:
                for i in range(first + 1, fell + 1):
                    if _began_anew(values, starts, ts, i):
                        result += values[i - 1]
            if has_starts and is_counter and crossed > first:
                overlap[s, t] = True
            change[t], lowest[t], gaps[t] = result, values[first], last - first
            sampled[t], before[t], behind[t] = (
                ts[last] - ts[first],
                ts[first] - left,
                ends[t] - ts[last],
            )
        stretch(change, lowest, gaps, sampled, before, behind, is_counter, seconds, out[s])
        if has_starts:
            for t in range(steps):
                if begun[t] >= 0:
                    # It was 0 then, so nothing need be guessed to the left.
                    gap = sampled[t] / gaps[t] if gaps[t] > 0 else 0.0
                    whole = sampled[t] + ts[begun[t]] - starts[begun[t]]
                    factor = _stretch_right(whole, behind[t], gap) / seconds
                    out[s, t] = (change[t] + lowest[t]) * factor


@compiled
def _began_within(start: int, left_ms: int, ts_ms: int) -> bool:
    return start != 0 and left_ms < start < ts_ms


@compiled
def _stretch_right(sampled_ms: float, until_ms: float, gap_ms: float) -> float:
    """Return by how much a change grows when it is stretched to the right edge only."""
    behind = gap_ms / 2 if until_ms >= gap_ms * 1.1 else until_ms
    return (sampled_ms + behind) / sampled_ms


@compiled
def stretch(  # noqa: PLR0917 - numba's functions take positions
    change: Floats,
    lowest: Floats,
    gaps: Floats,
    sampled_ms: Floats,
    before_ms: Floats,
    behind_ms: Floats,
    is_counter: bool,  # noqa: FBT001 - as above
    seconds: float,
    out: Floats,
) -> None:
    """
    Write each window's change, stretched to the window's edges; without branches.

    Args:
        change: From the first sample to the last, resets made up for.
        lowest: The first sample: a counter isn't stretched to below 0.
        gaps: Samples less one.
        sampled_ms: From the first sample to the last.
        before_ms: From the left edge to the first sample.
        behind_ms: From the last sample to the right edge.
        seconds: What the result is divided by.

    """
    for t in range(out.size):
        sampled = sampled_ms[t] / 1000.0
        before = before_ms[t] / 1000.0
        behind = behind_ms[t] / 1000.0
        average = sampled / gaps[t]
        threshold = average * 1.1
        before = average / 2 if before >= threshold else before
        behind = average / 2 if behind >= threshold else behind
        to_zero = sampled * (lowest[t] / change[t])
        falls = is_counter and change[t] > 0 and lowest[t] >= 0 and to_zero < before
        before = to_zero if falls else before
        factor = (sampled + before + behind) / sampled
        out[t] = change[t] * ((1.0 if sampled == 0 else factor) / seconds)


@compiled
def instantaneous(
    ts: Ints,
    values: Floats,
    starts: Ints,
    last: Ints,
    is_rate: bool,  # noqa: FBT001 - as above
) -> tuple[Floats, Bools]:
    """Return irate or idelta from the samples `last[s, t]`, -1 for none, and those before."""
    series, steps = last.shape
    out = np.full((series, steps), np.nan)
    present = np.zeros((series, steps), np.bool_)
    for s in range(series):
        for t in range(steps):
            i = last[s, t]
            if i < 0 or ts[i] == ts[i - 1]:
                continue
            result = values[i]
            fresh = starts.size > 0 and reset_by_start(starts, ts, i)
            if not (is_rate and (values[i] < values[i - 1] or fresh)):
                result -= values[i - 1]
            if is_rate:
                result /= (ts[i] - ts[i - 1]) / 1000.0
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
