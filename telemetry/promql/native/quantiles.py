"""What native histograms tell: quantiles, fractions, variance."""

from __future__ import annotations

import math

import numpy as np

from telemetry.promql.kernels import Floats, Ints, compiled, kahan
from telemetry.promql.native.columns import CUSTOM, Histograms
from telemetry.promql.native.rows import Row, row, upper


NO_ANSWER = 1
"""The quantile lies among observations that are NaN."""

SKEWED = 2
"""There are observations that are NaN, and they count as the highest."""


@compiled
def buckets(r: Row) -> tuple[Floats, Floats, Floats]:
    """Return lower bound, upper bound and population of all buckets, ascending."""
    size = r.neg.size + r.pos.size + (1 if r.zero_count > 0 else 0)
    low, high, population = np.empty(size), np.empty(size), np.empty(size)
    n, threshold = 0, r.zero_threshold
    for i in range(r.neg.size - 1, -1, -1):
        low[n] = -upper(r, r.neg_index[i])
        high[n] = min(-upper(r, r.neg_index[i] - 1), -threshold)
        population[n] = r.neg[i]
        n += 1
    if r.zero_count > 0:
        low[n], high[n], population[n] = -threshold, threshold, r.zero_count
        n += 1
    for i in range(r.pos.size):
        low[n] = upper(r, r.pos_index[i] - 1)
        if r.schema != CUSTOM:
            low[n] = max(low[n], threshold)
        high[n] = upper(r, r.pos_index[i])
        population[n] = r.pos[i]
        n += 1
    return low, high, population


@compiled
def share_below(low: float, high: float, at: float, linear: bool) -> float:  # noqa: FBT001 - numba
    """Return the share of a bucket's observations that is taken to lie below *at*."""
    if linear:
        return (at - low) / (high - low)
    bottom, top, here = math.log2(abs(low)), math.log2(abs(high)), math.log2(abs(at))
    if at > 0:
        return (here - bottom) / (top - bottom)
    return 1 - (here - top) / (bottom - top)


@compiled
def quantile(r: Row, q: float) -> tuple[float, int]:
    """Return the quantile of a histogram, and flags."""
    if q < 0:
        return -math.inf, 0
    if q > 1:
        return math.inf, 0
    if r.count_ == 0 or math.isnan(q):
        return math.nan, 0
    low, high, population = buckets(r)
    forward = math.isnan(r.sum_) or q < 0.5
    rank = q * r.count_ if forward else (1 - q) * r.count_
    reached, at = 0.0, -1
    for k in range(low.size):
        i = k if forward else low.size - 1 - k
        if population[i] == 0:
            continue
        at = i
        reached += population[i]
        if reached >= rank:
            break
    bottom = top = inside = 0.0
    if at >= 0:
        bottom, top, inside = low[at], high[at], population[at]
    if r.schema == CUSTOM:
        if bottom == -math.inf:
            if top <= 0:
                return top, 0
            bottom = 0.0
        elif top == math.inf:
            return bottom, 0
    elif bottom < 0 < top:
        if r.neg.size == 0 and r.pos.size > 0:
            bottom = 0.0
        elif r.pos.size == 0 and r.neg.size > 0:
            top = 0.0
    reached = min(reached, r.count_)
    if reached < rank:
        if math.isnan(r.sum_):
            return math.nan, NO_ANSWER
        return top, 0
    rank = rank - (reached - inside) if forward else reached - rank
    flags = 0
    if math.isnan(r.sum_) and population.sum() < r.count_:
        flags = SKEWED
    share = rank / inside if inside != 0 else math.nan
    if r.schema == CUSTOM or (bottom <= 0 <= top):
        return bottom + (top - bottom) * share, flags
    a, b = math.log2(abs(bottom)), math.log2(abs(top))
    if bottom > 0:
        return 2.0 ** (a + (b - a) * share), flags
    return -(2.0 ** (b + (a - b) * (1 - share))), flags


@compiled
def fraction(r: Row, lower: float, higher: float) -> tuple[float, int]:
    """Return the share of observations between two values, and flags."""
    if r.count_ == 0 or math.isnan(lower) or math.isnan(higher):
        return math.nan, 0
    if lower >= higher:
        return 0.0, 0
    low, high, population = buckets(r)
    total = population.sum() if math.isnan(r.sum_) else r.count_
    ranks = np.array([math.nan, math.nan])
    rank = 0.0
    for i in range(low.size):
        bottom, top = low[i], high[i]
        around_zero = bottom <= 0 <= top
        if around_zero and r.neg.size == 0 and r.pos.size > 0:
            bottom = 0.0
        elif around_zero and r.pos.size == 0 and r.neg.size > 0:
            top = 0.0
        for k, at in enumerate((lower, higher)):
            if not math.isnan(ranks[k]):
                continue
            if bottom >= at:
                ranks[k] = rank
            elif top > at:
                if bottom == -math.inf:
                    ranks[k] = population[i]
                else:
                    linear = r.schema == CUSTOM or around_zero
                    ranks[k] = rank + population[i] * share_below(bottom, top, at, linear)
        rank += population[i]
    for k in range(2):
        if math.isnan(ranks[k]) or ranks[k] > total:
            ranks[k] = total
    skewed = math.isnan(r.sum_) and population.sum() < r.count_
    return (ranks[1] - ranks[0]) / r.count_, SKEWED if skewed else 0


@compiled
def variance(r: Row) -> float:
    """Return the variance, each bucket's observations taken as their middle."""
    low, high, population = buckets(r)
    mean = r.sum_ / r.count_
    total = c = 0.0
    for i in range(low.size):
        if population[i] == 0:
            continue
        if r.schema == CUSTOM:
            middle = (low[i] + high[i]) / 2
        elif low[i] <= 0 <= high[i]:
            middle = 0.0
        else:
            middle = math.copysign(math.sqrt(low[i] * high[i]), high[i])
        delta = middle - mean
        total, c = kahan(population[i] * delta * delta, total, c)
    return (total + c) / r.count_


@compiled
def quantiles(pool: Histograms, rows: Ints, q: Floats) -> tuple[Floats, Ints]:
    """Return the quantile `q[t]` of each row of `series x steps`, NaN for none, and flags."""
    out, flags = np.full(rows.shape, np.nan), np.zeros(rows.shape, np.int64)
    for s in range(rows.shape[0]):
        for t in range(rows.shape[1]):
            if rows[s, t] >= 0:
                out[s, t], flags[s, t] = quantile(row(pool, rows[s, t]), q[t])
    return out, flags


@compiled
def fractions(pool: Histograms, rows: Ints, lower: Floats, higher: Floats) -> tuple[Floats, Ints]:
    """Return the share between two values of each row of `series x steps`, and flags."""
    out, flags = np.full(rows.shape, np.nan), np.zeros(rows.shape, np.int64)
    for s in range(rows.shape[0]):
        for t in range(rows.shape[1]):
            if rows[s, t] >= 0:
                out[s, t], flags[s, t] = fraction(row(pool, rows[s, t]), lower[t], higher[t])
    return out, flags


@compiled
def variances(pool: Histograms) -> Floats:
    """Return the variance of each row."""
    out = np.empty(pool.schema.size)
    for i in range(out.size):
        out[i] = variance(row(pool, i))
    return out
