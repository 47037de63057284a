"""Histograms cut at a value: `</` keeps what is below, `>/` what is above."""

from __future__ import annotations

import math

from telemetry.promql.kernels import compiled
from telemetry.promql.native.columns import CUSTOM, Floats, Indexes
from telemetry.promql.native.quantiles import share_below
from telemetry.promql.native.rows import Row, compact, upper


@compiled
def _middle(low: float, high: float, positive: bool, linear: bool) -> float:  # noqa: FBT001 - numba
    if math.isinf(low):
        if math.isinf(high):
            return 0.0
        return high / 2 if high > 0 else high
    if math.isinf(high):
        return low
    if linear:
        return (low + high) / 2
    mean = math.sqrt(abs(low * high))
    return mean if positive else -mean


@compiled
def _finite(x: float) -> float:
    return 0.0 if math.isinf(x) else x


@compiled
def _endless(
    low: float,
    high: float,
    population: float,
    at: float,
    below: bool,  # noqa: FBT001 - as above
) -> tuple[float, float]:
    """Return what is kept of a bucket without a bound, and the middle of that."""
    if low == -math.inf:
        if below:
            if at >= high:
                return population, 0.0
            if at > 0 and 0 < high < math.inf:
                return population * at / high, at / 2
            return (population, at) if high <= 0 else (0.0, _finite(high))
        if at <= low:
            return population, 0.0
        if at >= 0 and at < high < math.inf:
            return population * (1 - at / high), (at + high) / 2
        return 0.0, _finite(high)
    if below or at < low:
        return 0.0, _finite(low)
    return population, at


@compiled
def _kept(  # noqa: PLR0917 - numba's functions take positions
    low: float,
    high: float,
    population: float,
    at: float,
    below: bool,  # noqa: FBT001 - as above
    positive: bool,  # noqa: FBT001 - as above
    linear: bool,  # noqa: FBT001 - as above
) -> tuple[float, float]:
    """Return what is kept of a bucket, and the middle of that."""
    if (high <= at) if below else (low >= at):
        return population, _middle(low, high, positive, linear)
    if (low >= at) if below else (high <= at):
        return 0.0, 0.0
    if math.isinf(low) or math.isinf(high):
        return _endless(low, high, population, at, below)
    under = population * share_below(low, high, at, linear)
    if below:
        return under, _middle(low, at, positive, linear)
    return population - under, _middle(at, high, positive, linear)


@compiled
def _side(  # noqa: PLR0917 - numba's functions take positions
    r: Row,
    index: Indexes,
    population: Floats,
    at: float,
    below: bool,  # noqa: FBT001 - numba's functions take positions
    positive: bool,  # noqa: FBT001 - as above
) -> tuple[Floats, float, float, bool, bool]:
    """Return one side's kept populations, their count and sum, whether any was, and is cut."""
    out = population.copy()
    count = sum_ = 0.0
    seen = cut = False
    for i in range(index.size):
        if population[i] == 0:
            continue
        seen = True
        near, far = upper(r, index[i] - 1), upper(r, index[i])
        low, high = (near, far) if positive else (-far, -near)
        kept, middle = _kept(low, high, population[i], at, below, positive, r.schema == CUSTOM)
        count += kept
        if kept != 0:
            sum_ += middle * kept
        if kept != population[i]:
            out[i] = kept
            cut = True
    return out, count, sum_, seen, cut


@compiled
def _zero(r: Row, at: float, below: bool, has_pos: bool, has_neg: bool) -> tuple[float, float]:  # noqa: FBT001 - as above
    low, high = -r.zero_threshold, r.zero_threshold
    if has_neg and not has_pos:
        high = 0.0
    if has_pos and not has_neg:
        low = 0.0
    whole = at >= high if below else at <= low
    nothing = at <= low if below else at >= high
    if nothing:
        return (r.zero_count, (low + high) / 2) if not below and whole else (0.0, 0.0)
    if whole:
        return r.zero_count, (low + high) / 2
    if below:
        return r.zero_count * ((at - low) / (high - low)), (low + at) / 2
    return r.zero_count * ((high - at) / (high - low)), (at + high) / 2


@compiled
def trimmed(r: Row, at: float, below: bool) -> Row:  # noqa: FBT001 - as above
    """Return *r* without the observations above *at*, or those below."""
    pos, count, sum_, has_pos, cut = _side(r, r.pos_index, r.pos, at, below, True)
    neg, more, more_sum, has_neg, cut_neg = _side(r, r.neg_index, r.neg, at, below, False)
    zeros = r.zero_count
    if zeros > 0:
        zeros, middle = _zero(r, at, below, has_pos, has_neg)
        count += zeros
        sum_ += middle * zeros
    if not (cut or cut_neg or zeros != r.zero_count):
        return r
    return compact(
        Row(
            r.schema,
            r.hint,
            r.zero_threshold,
            zeros,
            count + more,
            sum_ + more_sum,
            r.pos_index,
            pos,
            r.neg_index,
            neg,
            r.bounds,
        )
    )
