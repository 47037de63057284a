"""Kernels that need an order: quantiles of windows and groups, and of classic histograms."""

from __future__ import annotations

import math

import numpy as np

from telemetry.promql.kernels import Bools, Floats, Ints, compiled


@compiled
def quantile_of(q: float, values: Floats) -> float:
    """Return the quantile *q* of *values*, weighted between neighbours."""
    if values.size == 0 or math.isnan(q):
        return math.nan
    if q < 0:
        return -math.inf
    if q > 1:
        return math.inf
    nans = 0
    for i in range(values.size):
        nans += math.isnan(values[i])
    ordered = np.sort(values)  # NaN comes last here,
    n = ordered.size
    rank = q * (n - 1)
    below = max(0, math.floor(rank))
    above = min(n - 1, below + 1)
    weight = rank - math.floor(rank)
    # and first in PromQL: turn the order by the number of NaN.
    low, high = ordered[(below - nans) % n], ordered[(above - nans) % n]
    return float(low * (1 - weight) + high * weight)


@compiled
def quantile_windows(values: Floats, lo: Ints, hi: Ints, q: Floats) -> tuple[Floats, Bools]:
    """Return the quantile `q[t]` of each window."""
    series, steps = lo.shape
    out = np.full((series, steps), np.nan)
    for s in range(series):
        for t in range(steps):
            if hi[s, t] > lo[s, t]:
                out[s, t] = quantile_of(q[t], values[lo[s, t] : hi[s, t]])
    return out, hi > lo


@compiled
def mad_windows(values: Floats, lo: Ints, hi: Ints) -> tuple[Floats, Bools]:
    """Return the median absolute deviation of each window."""
    series, steps = lo.shape
    out = np.full((series, steps), np.nan)
    for s in range(series):
        for t in range(steps):
            if hi[s, t] > lo[s, t]:
                window = values[lo[s, t] : hi[s, t]]
                if np.isnan(window).any():
                    continue
                median = quantile_of(0.5, window)
                out[s, t] = quantile_of(0.5, np.abs(window - median))
    return out, hi > lo


@compiled
def quantile_groups(
    values: Floats, present: Bools, order: Ints, bounds: Ints, q: Floats
) -> tuple[Floats, Bools]:
    """
    Return the quantile `q[t]` across the series of each group.

    The rows of group `g` are `order[bounds[g]:bounds[g+1]]`.
    """
    series, steps = values.shape
    groups = bounds.size - 1
    out = np.full((groups, steps), np.nan)
    there = np.zeros((groups, steps), np.bool_)
    members = np.empty(series)
    for g in range(groups):
        for t in range(steps):
            n = 0
            for k in range(bounds[g], bounds[g + 1]):
                if present[order[k], t]:
                    members[n] = values[order[k], t]
                    n += 1
            if n > 0:
                out[g, t] = quantile_of(q[t], members[:n].copy())
                there[g, t] = True
    return out, there


_SMALL = 1e-12
"""Relative differences between buckets below this come from rounding."""


@compiled
def _buckets(  # noqa: PLR0917 - numba's functions take positions
    upper: Floats, values: Floats, present: Bools, t: int, bound: Floats, count: Floats
) -> int:
    """Gather one step's buckets, ascending and distinct, into *bound* and *count*."""
    n = 0
    for b in range(upper.size):
        if not present[b, t]:
            continue
        if n > 0 and bound[n - 1] == upper[b]:
            count[n - 1] += values[b, t]
        else:
            bound[n], count[n] = upper[b], values[b, t]
            n += 1
    return n


@compiled
def _make_monotonic(count: Floats, n: int) -> tuple[int, int, float]:
    """Raise what fell; return the first and last that fell by more than rounding, or -1."""
    first = last = -1
    worst = 0.0
    before = count[0]
    for i in range(1, n):
        now = count[i]
        if now == before:
            continue
        size = abs(now) + abs(before)
        if abs(now - before) / min(size, 1.7976931348623157e308) < _SMALL:
            count[i] = before
        elif now < before:
            count[i] = before
            first = i if first < 0 else first
            last = i
            worst = max(worst, before - now)
        else:
            before = now
    return first, last, worst


@compiled
def bucket_quantile(
    upper: Floats, values: Floats, present: Bools, q: Floats
) -> tuple[Floats, Bools, Floats]:
    """
    Return the quantile `q[t]` of one classic histogram at each step.

    *upper* ascends, `values` is `buckets x steps`. The last array has, for each step whose
    buckets fell, the lowest and highest such bound and the largest fall; NaN elsewhere.
    """
    steps = values.shape[1]
    out = np.full(steps, np.nan)
    there = np.zeros(steps, np.bool_)
    forced = np.full((steps, 3), np.nan)
    bound, count = np.empty(upper.size), np.empty(upper.size)
    for t in range(steps):
        n = _buckets(upper, values, present, t, bound, count)
        if n == 0:
            continue
        there[t] = True
        if math.isnan(q[t]):
            continue
        if q[t] < 0 or q[t] > 1:
            out[t] = -math.inf if q[t] < 0 else math.inf
            continue
        if bound[n - 1] != math.inf:
            continue
        first, last, worst = _make_monotonic(count, n)
        if first >= 0:
            forced[t, 0], forced[t, 1], forced[t, 2] = bound[first], bound[last], worst
        if n < 2 or count[n - 1] == 0 or math.isnan(count[n - 1]):
            continue
        out[t] = _interpolate(bound, count, n, q[t] * count[n - 1])
    return out, there, forced


@compiled
def _interpolate(bound: Floats, count: Floats, n: int, rank: float) -> float:
    b = 0
    while b < n - 1 and not count[b] >= rank:
        b += 1
    if b == n - 1:
        return float(bound[n - 2])
    if b == 0 and bound[0] <= 0:
        return float(bound[0])
    start, inside = 0.0, count[b]
    if b > 0:
        start = bound[b - 1]
        inside -= count[b - 1]
        rank -= count[b - 1]
    return float(start + (bound[b] - start) * (rank / inside))


@compiled
def bucket_fraction(
    upper: Floats, values: Floats, present: Bools, low: Floats, high: Floats
) -> tuple[Floats, Bools]:
    """Return the share of observations between `low[t]` and `high[t]` at each step."""
    steps = values.shape[1]
    out = np.full(steps, np.nan)
    there = np.zeros(steps, np.bool_)
    bound, count = np.empty(upper.size), np.empty(upper.size)
    for t in range(steps):
        n = _buckets(upper, values, present, t, bound, count)
        if n == 0:
            continue
        there[t] = True
        total = count[n - 1]
        if bound[n - 1] != math.inf or total == 0 or math.isnan(low[t] + high[t] + total):
            if not (math.isinf(low[t]) and math.isinf(high[t])) or total == 0:
                continue
            if bound[n - 1] != math.inf or math.isnan(total):
                continue
        if low[t] >= high[t]:
            out[t] = 0.0
            continue
        out[t] = (_rank(bound, count, n, high[t]) - _rank(bound, count, n, low[t])) / total
    return out, there


@compiled
def _rank(bound: Floats, count: Floats, n: int, at: float) -> float:
    """Return how many observations lie at or below *at*."""
    below = 0.0
    start = 0.0 if bound[0] > 0 else -math.inf
    for b in range(n):
        if start >= at:
            return float(min(below, count[n - 1]))
        if bound[b] > at:
            if math.isinf(start):
                return float(min(count[b], count[n - 1]))
            rank = below + (count[b] - below) * (at - start) / (bound[b] - start)
            return float(min(rank, count[n - 1]))
        below, start = count[b], bound[b]
    return float(count[n - 1])
