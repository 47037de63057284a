"""Sums, differences and means of native histograms, and whether a counter was reset."""

from __future__ import annotations

import math

import numpy as np

from telemetry.promql.kernels import compiled, kahan
from telemetry.promql.native.columns import CUSTOM, Floats, Histograms, Indexes, Ints
from telemetry.promql.native.rows import (
    COLLISION,
    INCOMPATIBLE,
    RECONCILED,
    Row,
    common_bounds,
    compact,
    divided,
    merged_hint,
    row,
    same_bounds,
    scaled,
    upper,
    with_bounds,
    with_schema,
)


@compiled
def widened(r: Row, threshold: float) -> tuple[float, float]:
    """
    Return the count of a zero bucket up to *threshold*, which is no lower than *r*'s own.

    A populated bucket on the threshold is counted whole; the second number is the
    threshold that this makes.
    """
    if threshold == r.zero_threshold:
        return r.zero_count, threshold
    while True:
        count, c = r.zero_count, 0.0
        for i in range(r.pos.size):
            if upper(r, r.pos_index[i] - 1) >= threshold:
                break
            count, c = kahan(r.pos[i], count, c)
            top = upper(r, r.pos_index[i])
            if top > threshold:
                if r.pos[i] != 0:
                    threshold = top
                break
        again = False
        for i in range(r.neg.size):
            if upper(r, r.neg_index[i] - 1) >= threshold:
                break
            count, c = kahan(r.neg[i], count, c)
            top = upper(r, r.neg_index[i])
            if top > threshold:
                if r.neg[i] != 0:
                    threshold = top
                    again = True
                break
        if not again:
            return count + c, threshold


@compiled
def _inside(r: Row, index: Indexes, threshold: float) -> int:
    """Return how many buckets lie within the zero bucket."""
    n = 0
    while n < index.size and upper(r, index[n] - 1) < threshold:
        n += 1
    return n


@compiled
def with_threshold(r: Row, threshold: float) -> Row:
    """Return *r* with a zero bucket up to *threshold*, which must be on a bucket's edge."""
    if r.zero_threshold == threshold:
        return r
    count, _ = widened(r, threshold)
    p = _inside(r, r.pos_index, threshold)
    n = _inside(r, r.neg_index, threshold)
    return Row(
        r.schema,
        r.hint,
        threshold,
        count,
        r.count_,
        r.sum_,
        r.pos_index[p:],
        r.pos[p:],
        r.neg_index[n:],
        r.neg[n:],
        r.bounds,
    )


@compiled
def _common_threshold(rows: list[Row]) -> float:
    threshold = 0.0
    for r in rows:
        threshold = max(threshold, r.zero_threshold)
    settled = False
    while not settled:
        settled = True
        for r in rows:
            _, needed = widened(r, threshold)
            if needed > threshold:
                threshold = needed
                settled = False
    return threshold


@compiled
def alike(rows: list[Row]) -> tuple[list[Row], int]:
    """
    Return *rows* in a layout that they all can have, and flags.

    That is the lowest resolution, the widest zero bucket, or the common custom bounds.
    """
    first = rows[0]
    custom = first.schema == CUSTOM
    schema, bounds, flags = first.schema, first.bounds, 0
    same_threshold = True
    for r in rows:
        if (r.schema == CUSTOM) != custom:
            return rows, INCOMPATIBLE
        schema = min(schema, r.schema)
        same_threshold = same_threshold and r.zero_threshold == first.zero_threshold
        if custom and not same_bounds(bounds, r.bounds):
            bounds = common_bounds(bounds, r.bounds)
            flags = RECONCILED
    if custom:
        return [with_bounds(r, bounds) for r in rows], flags
    if same_threshold:
        return [with_schema(r, schema) for r in rows], flags
    threshold = _common_threshold(rows)
    return [with_schema(with_threshold(r, threshold), schema) for r in rows], flags


@compiled
def merged(ai: Indexes, a: Floats, bi: Indexes, b: Floats, sign: float) -> tuple[Indexes, Floats]:
    """Return the buckets of two sides, those of the second times *sign*."""
    index, out = np.empty(ai.size + bi.size, np.int32), np.empty(ai.size + bi.size)
    i = j = n = 0
    while i < ai.size or j < bi.size:
        if j >= bi.size or (i < ai.size and ai[i] < bi[j]):
            index[n], out[n] = ai[i], a[i]
            i += 1
        elif i >= ai.size or bi[j] < ai[i]:
            index[n], out[n] = bi[j], sign * b[j]
            j += 1
        else:
            index[n], out[n] = ai[i], a[i] + sign * b[j]
            i, j = i + 1, j + 1
        n += 1
    return index[:n], out[:n]


@compiled
def combined(a: Row, b: Row, sign: float) -> tuple[Row, int]:
    """Return `a + sign * b`, where *sign* is 1 or -1, and flags."""
    if a.schema == b.schema and a.zero_threshold == b.zero_threshold and a.schema != CUSTOM:
        flags = 0
    else:
        both, flags = alike([a, b])
        if flags & INCOMPATIBLE:
            return a, flags
        a, b = both[0], both[1]
    hint, collision = merged_hint(a.hint, b.hint)
    pos_index, pos = merged(a.pos_index, a.pos, b.pos_index, b.pos, sign)
    neg_index, neg = merged(a.neg_index, a.neg, b.neg_index, b.neg, sign)
    return (
        Row(
            a.schema,
            hint,
            a.zero_threshold,
            a.zero_count + sign * b.zero_count,
            a.count_ + sign * b.count_,
            a.sum_ + sign * b.sum_,
            pos_index,
            pos,
            neg_index,
            neg,
            a.bounds,
        ),
        flags | collision,
    )


@compiled
def _union(rows: list[Row], negative: bool) -> Indexes:  # noqa: FBT001 - numba takes positions
    size = 0
    for r in rows:
        size += r.neg_index.size if negative else r.pos_index.size
    every = np.empty(size, np.int32)
    n = 0
    for r in rows:
        index = r.neg_index if negative else r.pos_index
        every[n : n + index.size] = index
        n += index.size
    return np.unique(every)


@compiled
def _added(rows: list[Row], index: Indexes, negative: bool) -> Floats:  # noqa: FBT001 - as above
    total, c = np.zeros(index.size), np.zeros(index.size)
    for r in rows:
        own = r.neg_index if negative else r.pos_index
        population = r.neg if negative else r.pos
        at = 0
        for i in range(own.size):
            while index[at] != own[i]:
                at += 1
            total[at], c[at] = kahan(population[i], total[at], c[at])
    return total + c


@compiled
def _sum(rows: list[Row]) -> Row:
    count = c_count = sum_ = c_sum = zeros = c_zeros = 0.0
    for r in rows:
        count, c_count = kahan(r.count_, count, c_count)
        sum_, c_sum = kahan(r.sum_, sum_, c_sum)
        zeros, c_zeros = kahan(r.zero_count, zeros, c_zeros)
    pos_index, neg_index = _union(rows, False), _union(rows, True)
    first = rows[0]
    return Row(
        first.schema,
        first.hint,
        first.zero_threshold,
        zeros + c_zeros,
        count + c_count,
        sum_ + c_sum,
        pos_index,
        _added(rows, pos_index, False),
        neg_index,
        _added(rows, neg_index, True),
        first.bounds,
    )


@compiled
def _overflows(r: Row) -> bool:
    if math.isinf(r.zero_count) or math.isinf(r.count_) or math.isinf(r.sum_):
        return True
    return bool(np.isinf(r.pos).any() or np.isinf(r.neg).any())


@compiled
def total(rows: list[Row], mean: bool) -> tuple[Row, int]:  # noqa: FBT001 - as above
    """Return the compensated sum of *rows*, or their mean, and flags."""
    same, flags = alike(rows)
    if flags & INCOMPATIBLE:
        return rows[0], flags
    hint = rows[0].hint
    reset = not_reset = False
    for r in rows:
        hint, _ = merged_hint(hint, r.hint)
        reset = reset or r.hint == 1
        not_reset = not_reset or r.hint == 2
    if reset and not_reset:
        flags |= COLLISION
    n = float(len(rows))
    result = _sum(same)
    if mean and _overflows(result):
        result = _sum([divided(r, n) for r in same])
    elif mean:
        result = divided(result, n)
    result = compact(result)
    return (
        Row(
            result.schema,
            hint,
            result.zero_threshold,
            result.zero_count,
            result.count_,
            result.sum_,
            result.pos_index,
            result.pos,
            result.neg_index,
            result.neg,
            result.bounds,
        ),
        flags,
    )


@compiled
def was_reset(now: Row, before: Row) -> bool:
    """Return whether a counter began anew between two histograms."""
    if now.hint == 1:
        return True
    if now.hint == 2:
        return False
    if now.count_ < before.count_:
        return True
    if now.schema == CUSTOM:
        if before.schema != CUSTOM:
            return True
        if not same_bounds(now.bounds, before.bounds):
            bounds = common_bounds(now.bounds, before.bounds)
            now, before = with_bounds(now, bounds), with_bounds(before, bounds)
        return _fell(now.pos_index, now.pos, before.pos_index, before.pos)
    if now.schema > before.schema or now.zero_threshold < before.zero_threshold:
        return True
    zeros, threshold = widened(before, now.zero_threshold)
    if threshold != now.zero_threshold or now.zero_count < zeros:
        return True
    older = with_schema(with_threshold(before, threshold), now.schema)
    return _fell(now.pos_index, now.pos, older.pos_index, older.pos) or _fell(
        now.neg_index, now.neg, older.neg_index, older.neg
    )


@compiled
def hints(pool: Histograms, histogram: Ints, offsets: Ints) -> Ints:
    """Return the hints of samples in columns, where a histogram follows one by what they hold."""
    out = pool.hint.copy()
    for s in range(offsets.size - 1):
        for i in range(offsets[s] + 1, offsets[s + 1]):
            before, now = histogram[i - 1], histogram[i]
            if before >= 0 and now >= 0 and pool.hint[now] == 0:
                out[now] = 1 if was_reset(row(pool, now), row(pool, before)) else 2
    return out


@compiled
def _fell(now_index: Indexes, now: Floats, index: Indexes, before: Floats) -> bool:
    """Return whether a bucket is less populated than before."""
    j = 0
    for i in range(index.size):
        while j < now_index.size and now_index[j] < index[i]:
            j += 1
        there = now[j] if j < now_index.size and now_index[j] == index[i] else 0.0
        if there < before[i]:
            return True
    return False


@compiled
def between(a: Row, a_ms: int, b: Row, b_ms: int, at_ms: int, is_counter: bool) -> tuple[Row, int]:  # noqa: FBT001, PLR0917 - as above
    """Return the histogram on the line from *a* to *b*, and flags."""
    if at_ms == a_ms:
        return a, 0
    if at_ms == b_ms:
        return b, 0
    share = (at_ms - a_ms) / (b_ms - a_ms)
    if is_counter and was_reset(b, a):
        return scaled(b, share), 0
    rise, flags = combined(b, a, -1.0)
    if flags & INCOMPATIBLE:
        return a, flags
    result, more = combined(scaled(rise, share), a, 1.0)
    return result, flags | more
