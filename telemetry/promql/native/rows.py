"""One native histogram at a time, in numba: what it is, and what can be done with two."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from telemetry.promql.kernels import compiled
from telemetry.promql.native.columns import CUSTOM, Floats, Histograms, Indexes


INCOMPATIBLE = 1
"""Custom buckets met exponential ones: there is no result."""

RECONCILED = 2
"""Custom buckets with different bounds: only the common bounds are left."""

COLLISION = 4
"""One said that there was a counter reset, the other that there wasn't."""

_MAX = 1.7976931348623157e308


class Row(NamedTuple):
    """A native histogram; the fields mean what they do in `Histograms`."""

    schema: int
    hint: int
    zero_threshold: float
    zero_count: float
    count_: float
    sum_: float
    pos_index: Indexes
    pos: Floats
    neg_index: Indexes
    neg: Floats
    bounds: Floats


@compiled
def row(pool: Histograms, i: int) -> Row:
    """Return row *i* of *pool*, without copying its buckets."""
    p, q = pool.pos_offsets[i], pool.pos_offsets[i + 1]
    n, m = pool.neg_offsets[i], pool.neg_offsets[i + 1]
    b, c = pool.bounds_offsets[i], pool.bounds_offsets[i + 1]
    return Row(
        pool.schema[i],
        pool.hint[i],
        pool.zero_threshold[i],
        pool.zero_count[i],
        pool.counts[i],
        pool.sums[i],
        pool.pos_index[p:q],
        pool.pos[p:q],
        pool.neg_index[n:m],
        pool.neg[n:m],
        pool.bounds[b:c],
    )


@compiled
def empty(schema: int, bounds: Floats) -> Row:
    """Return a histogram without observations."""
    index, population = np.empty(0, np.int32), np.empty(0)
    return Row(schema, 0, 0.0, 0.0, 0.0, 0.0, index, population, index, population, bounds)


@compiled
def packed(rows: list[Row]) -> Histograms:
    """Return *rows* in columns."""
    n = len(rows)
    schema, hint = np.empty(n, np.int64), np.empty(n, np.int64)
    threshold, zeros = np.empty(n), np.empty(n)
    counts, sums = np.empty(n), np.empty(n)
    pos_offsets, neg_offsets = np.zeros(n + 1, np.int64), np.zeros(n + 1, np.int64)
    bounds_offsets = np.zeros(n + 1, np.int64)
    for i in range(n):
        r = rows[i]
        schema[i], hint[i] = r.schema, r.hint
        threshold[i], zeros[i] = r.zero_threshold, r.zero_count
        counts[i], sums[i] = r.count_, r.sum_
        pos_offsets[i + 1] = pos_offsets[i] + r.pos.size
        neg_offsets[i + 1] = neg_offsets[i] + r.neg.size
        bounds_offsets[i + 1] = bounds_offsets[i] + r.bounds.size
    pos_index, pos = np.empty(pos_offsets[n], np.int32), np.empty(pos_offsets[n])
    neg_index, neg = np.empty(neg_offsets[n], np.int32), np.empty(neg_offsets[n])
    bounds = np.empty(bounds_offsets[n])
    for i in range(n):
        r = rows[i]
        pos_index[pos_offsets[i] : pos_offsets[i + 1]] = r.pos_index
        pos[pos_offsets[i] : pos_offsets[i + 1]] = r.pos
        neg_index[neg_offsets[i] : neg_offsets[i + 1]] = r.neg_index
        neg[neg_offsets[i] : neg_offsets[i + 1]] = r.neg
        bounds[bounds_offsets[i] : bounds_offsets[i + 1]] = r.bounds
    return Histograms(
        schema,
        hint,
        threshold,
        zeros,
        counts,
        sums,
        pos_offsets,
        pos_index,
        pos,
        neg_offsets,
        neg_index,
        neg,
        bounds_offsets,
        bounds,
    )


@compiled
def upper(r: Row, index: int) -> float:
    """Return the upper bound of a bucket, of its absolute values if it is negative."""
    if r.schema == CUSTOM:
        if index < 0:
            return -math.inf
        return r.bounds[index] if index < r.bounds.size else math.inf
    if r.schema < 0:
        exponent = index << -r.schema
        return _MAX if exponent == 1024 else math.ldexp(1.0, exponent)
    within = index & ((1 << r.schema) - 1)
    exponent = index >> r.schema
    if within == 0 and exponent == 1024:
        return _MAX
    return math.ldexp(2.0 ** (within / (1 << r.schema)), exponent)


@compiled
def with_hint(r: Row, hint: int) -> Row:
    """Return *r* with another counter reset hint."""
    return Row(
        r.schema,
        hint,
        r.zero_threshold,
        r.zero_count,
        r.count_,
        r.sum_,
        r.pos_index,
        r.pos,
        r.neg_index,
        r.neg,
        r.bounds,
    )


@compiled
def scaled(r: Row, factor: float) -> Row:
    """Return *r* with everything multiplied; what is negative is no counter."""
    return Row(
        r.schema,
        3 if factor < 0 else r.hint,
        r.zero_threshold,
        r.zero_count * factor,
        r.count_ * factor,
        r.sum_ * factor,
        r.pos_index,
        r.pos * factor,
        r.neg_index,
        r.neg * factor,
        r.bounds,
    )


@compiled
def divided(r: Row, by: float) -> Row:
    """Return *r* with everything divided; division by 0 leaves no buckets."""
    pos_index, pos, neg_index, neg = r.pos_index, r.pos / by, r.neg_index, r.neg / by
    if by == 0:
        pos_index, pos, neg_index, neg = pos_index[:0], pos[:0], neg_index[:0], neg[:0]
    return Row(
        r.schema,
        3 if by < 0 else r.hint,
        r.zero_threshold,
        r.zero_count / by,
        r.count_ / by,
        r.sum_ / by,
        pos_index,
        pos,
        neg_index,
        neg,
        r.bounds,
    )


@compiled
def compact(r: Row) -> Row:
    """Return *r* without its empty buckets."""
    pos, neg = r.pos != 0, r.neg != 0
    if pos.all() and neg.all():
        return r
    return Row(
        r.schema,
        r.hint,
        r.zero_threshold,
        r.zero_count,
        r.count_,
        r.sum_,
        r.pos_index[pos],
        r.pos[pos],
        r.neg_index[neg],
        r.neg[neg],
        r.bounds,
    )


@compiled
def coarser(index: Indexes, population: Floats, shift: int) -> tuple[Indexes, Floats]:
    """Return buckets of a schema that is lower by *shift*."""
    if shift == 0 or index.size == 0:
        return index, population
    out_index, out = np.empty(index.size, np.int32), np.empty(index.size)
    n = 0
    for i in range(index.size):
        target = ((index[i] - 1) >> shift) + 1
        if n > 0 and out_index[n - 1] == target:
            out[n - 1] += population[i]
        else:
            out_index[n], out[n] = target, population[i]
            n += 1
    return out_index[:n], out[:n]


@compiled
def with_schema(r: Row, schema: int) -> Row:
    """Return *r* in the resolution of *schema*, which must not be finer than its own."""
    if r.schema in (schema, CUSTOM):
        return r
    shift = r.schema - schema
    pos_index, pos = coarser(r.pos_index, r.pos, shift)
    neg_index, neg = coarser(r.neg_index, r.neg, shift)
    return Row(
        schema,
        r.hint,
        r.zero_threshold,
        r.zero_count,
        r.count_,
        r.sum_,
        pos_index,
        pos,
        neg_index,
        neg,
        r.bounds,
    )


@compiled
def common_bounds(a: Floats, b: Floats) -> Floats:
    """Return the bounds that are in both."""
    out = np.empty(min(a.size, b.size))
    i = j = n = 0
    while i < a.size and j < b.size:
        if a[i] == b[j]:
            out[n] = a[i]
            i, j, n = i + 1, j + 1, n + 1
        elif a[i] < b[j]:
            i += 1
        else:
            j += 1
    return out[:n]


@compiled
def same_bounds(a: Floats, b: Floats) -> bool:
    """Return whether custom bounds are equal."""
    return a.size == b.size and bool((a == b).all())


@compiled
def with_bounds(r: Row, bounds: Floats) -> Row:
    """Return *r*, of custom buckets, in those that *bounds*, some of its own, make."""
    if same_bounds(r.bounds, bounds):
        return r
    target = np.zeros(bounds.size + 1)
    for i in range(r.pos.size):
        at = np.searchsorted(bounds, upper(r, r.pos_index[i]))
        target[at] += r.pos[i]
    index = np.flatnonzero(target != 0)
    return Row(
        r.schema,
        r.hint,
        r.zero_threshold,
        r.zero_count,
        r.count_,
        r.sum_,
        index.astype(np.int32),
        target[index],
        r.neg_index,
        r.neg,
        bounds,
    )


@compiled
def merged_hint(a: int, b: int) -> tuple[int, int]:
    """Return the hint of two histograms' sum, and `COLLISION` or 0."""
    if a in (b, 3):
        return a, 0
    if b == 3:
        return 3, 0
    if a == 0 or b == 0:
        return 0, 0
    return 0, COLLISION


@compiled
def equal(a: Row, b: Row) -> bool:
    """Return whether two histograms are the same, to the bit; hints don't count."""
    if a.schema != b.schema or a.zero_threshold != b.zero_threshold:
        return False
    if not (_same(a.count_, b.count_) and _same(a.sum_, b.sum_)):
        return False
    if not _same(a.zero_count, b.zero_count) or not same_bounds(a.bounds, b.bounds):
        return False
    if a.pos.size != b.pos.size or a.neg.size != b.neg.size:
        return False
    for i in range(a.pos.size):
        if a.pos_index[i] != b.pos_index[i] or not _same(a.pos[i], b.pos[i]):
            return False
    for i in range(a.neg.size):
        if a.neg_index[i] != b.neg_index[i] or not _same(a.neg[i], b.neg[i]):
            return False
    return True


@compiled
def _same(a: float, b: float) -> bool:
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    return a == b and math.copysign(1.0, a) == math.copysign(1.0, b)
