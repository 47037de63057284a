"""Rates of native histograms. Samples stand in columns; a histogram is a row of the pool."""

from __future__ import annotations

import numpy as np

from telemetry.promql.edges import edges
from telemetry.promql.kernels import Bools, Ints, compiled, overlaps, reset_by_start
from telemetry.promql.native.columns import CUSTOM, Histograms
from telemetry.promql.native.rows import (
    COLLISION,
    INCOMPATIBLE,
    RECONCILED,
    Row,
    compact,
    divided,
    empty,
    equal,
    packed,
    row,
    scaled,
    with_hint,
    with_schema,
)
from telemetry.promql.native.sums import between, combined, was_reset


NO_COUNTER = 8
"""A gauge was taken for a counter."""

NO_GAUGE = 16
"""A counter was taken for a gauge."""

OVERLAP = 32
"""A sample's start time is before the sample before it."""

RECONCILED_SUM = 64
"""As `RECONCILED`, in an addition."""


@compiled
def _start(starts: Ints, i: int) -> int:
    return starts[i] if starts.size else 0


@compiled
def _began_anew(starts: Ints, ts: Ints, i: int) -> bool:
    return starts.size > 0 and reset_by_start(starts, ts, i)


@compiled
def _change(  # noqa: PLR0917 - numba's functions take positions
    pool: Histograms,
    histogram: Ints,
    ts: Ints,
    starts: Ints,
    first: int,
    last: int,
    is_counter: bool,  # noqa: FBT001 - as above
) -> tuple[Row, int]:
    """Return the change from the first to the last sample, resets made up for, and flags."""
    before, final = row(pool, histogram[first]), row(pool, histogram[last])
    custom = before.schema == CUSTOM
    flags = 0
    if is_counter and (before.hint == 3 or final.hint == 3):
        flags |= NO_COUNTER
    if is_counter:
        second = row(pool, histogram[first + 1])
        if _began_anew(starts, ts, first + 1) or was_reset(second, before):
            # The first no longer counts, so its layout needn't fit either.
            before = empty(second.schema, second.bounds)
            custom = second.schema == CUSTOM
    if (final.schema == CUSTOM) != custom:
        return final, flags | INCOMPATIBLE
    schema = min(final.schema, before.schema)
    for i in range(first + 1, last):
        now = row(pool, histogram[i])
        if is_counter:
            flags |= NO_COUNTER if now.hint == 3 else 0
            schema = min(schema, now.schema)
            if (now.schema == CUSTOM) != custom:
                return final, INCOMPATIBLE
    result, more = combined(with_schema(final, schema), before, -1.0)
    flags |= more & RECONCILED
    if not is_counter:
        if row(pool, histogram[first]).hint != 3 or final.hint != 3:
            flags |= NO_GAUGE
        return compact(with_hint(result, 3)), flags
    for i in range(first + 1, last + 1):
        now = row(pool, histogram[i])
        if starts.size and overlaps(starts, ts, i):
            flags |= OVERLAP
        if _began_anew(starts, ts, i) or was_reset(now, before):
            result, more = combined(result, before, 1.0)
            if more & INCOMPATIBLE:
                return final, INCOMPATIBLE
            flags |= RECONCILED_SUM if more & RECONCILED else 0
        before = now
    return compact(with_hint(result, 3)), flags


@compiled
def extrapolated(  # noqa: PLR0917 - numba's functions take positions
    pool: Histograms,
    histogram: Ints,
    ts: Ints,
    starts: Ints,
    lo: Ints,
    hi: Ints,
    ends: Ints,
    range_ms: int,
    is_counter: bool,  # noqa: FBT001 - as above
    is_rate: bool,  # noqa: FBT001 - as above
) -> tuple[Histograms, Ints, Ints]:
    """Return rate, increase or delta of each window as rows, -1 for none, and flags."""
    series, steps = lo.shape
    rows = np.full((series, steps), -1, np.int64)
    flags = np.zeros((series, steps), np.int64)
    out = [empty(0, np.empty(0))]
    for s in range(series):
        for t in range(steps):
            first, last = lo[s, t], hi[s, t] - 1
            if last < first:
                continue
            begin = _start(starts, first)
            left = ends[t] - range_ms
            zero_known = is_counter and begin != 0 and left < begin < ts[first]
            if last == first and not zero_known:
                continue
            sampled = (ts[last] - ts[first]) / 1000
            before, behind = (ts[first] - left) / 1000, (ends[t] - ts[last]) / 1000
            gap = sampled / (last - first) if last > first else 0.0
            result = row(pool, histogram[first])
            if last > first:
                result, found = _change(pool, histogram, ts, starts, first, last, is_counter)
                flags[s, t] = found
                if found & INCOMPATIBLE:
                    continue
            if zero_known:
                if last > first:
                    result, more = combined(result, row(pool, histogram[first]), 1.0)
                    if more & INCOMPATIBLE:
                        flags[s, t] |= INCOMPATIBLE
                        continue
                    flags[s, t] |= RECONCILED_SUM if more & RECONCILED else 0
                before, sampled = 0.0, (ts[last] - begin) / 1000
            else:
                if before >= gap * 1.1:
                    before = gap / 2
                counted = pool.counts[histogram[first]]
                if is_counter and result.count_ > 0 and counted >= 0:
                    before = min(before, sampled * (counted / result.count_))
            if behind >= gap * 1.1:
                behind = gap / 2
            factor = (sampled + before + behind) / sampled if sampled != 0 else 1.0
            if is_rate:
                factor /= range_ms / 1000
            rows[s, t] = len(out) - 1
            out.append(scaled(result, factor))
    return packed(out[1:]), rows, flags


@compiled
def instantaneous(  # noqa: PLR0917 - numba's functions take positions
    pool: Histograms,
    histogram: Ints,
    ts: Ints,
    starts: Ints,
    last: Ints,
    is_rate: bool,  # noqa: FBT001 - as above
) -> tuple[Histograms, Ints, Ints]:
    """Return irate or idelta of samples `last` and the one before; -1 means none."""
    rows = np.full(last.shape, -1, np.int64)
    flags = np.zeros(last.shape, np.int64)
    out = [empty(0, np.empty(0))]
    for s in range(last.shape[0]):
        for t in range(last.shape[1]):
            i = last[s, t]
            if i < 0 or ts[i] == ts[i - 1]:
                continue
            before, now = row(pool, histogram[i - 1]), row(pool, histogram[i])
            gauges = (before.hint == 3) + (now.hint == 3)
            if is_rate and gauges > 0:
                flags[s, t] |= NO_COUNTER
            if not is_rate and gauges < 2:
                flags[s, t] |= NO_GAUGE
            result = now
            if not is_rate or not (_began_anew(starts, ts, i) or was_reset(now, before)):
                result, more = combined(now, before, -1.0)
                flags[s, t] |= more & (INCOMPATIBLE | RECONCILED)
                if more & INCOMPATIBLE:
                    continue
            result = compact(with_hint(result, 3))
            if is_rate:
                result = divided(result, (ts[i] - ts[i - 1]) / 1000)
            rows[s, t] = len(out) - 1
            out.append(result)
    return packed(out[1:]), rows, flags


@compiled
def _correction(  # noqa: PLR0917 - numba's functions take positions
    pool: Histograms,
    histogram: Ints,
    ts: Ints,
    first: int,
    last: int,
    left: Row,
    right: Row,
    start_ms: int,
    smoothed: bool,  # noqa: FBT001 - as above
) -> tuple[Row, bool, int]:
    """Return what resets between the edges hide, whether there is any, and flags."""
    at, before = first + 1, left
    if smoothed and ts[first] < start_ms and first < last:
        following = row(pool, histogram[first + 1])
        if was_reset(following, row(pool, histogram[first])):
            # The left edge lies on this reset and knows of it.
            before = following
            at += 1
    total, found, flags = left, False, 0
    if at > last:
        return total, found, flags
    for i in range(at, last + 1):
        now = right if i == last else row(pool, histogram[i])
        if was_reset(now, before):
            if found:
                total, more = combined(total, before, 1.0)
                flags |= more & INCOMPATIBLE
                flags |= RECONCILED_SUM if more & RECONCILED else 0
            else:
                total, found = before, True
        before = now
    return total, found, flags


@compiled
def edged(  # noqa: PLR0917 - numba's functions take positions
    pool: Histograms,
    histogram: Ints,
    ts: Ints,
    lo: Ints,
    hi: Ints,
    ends: Ints,
    range_ms: int,
    smoothed: bool,  # noqa: FBT001 - as above
    is_counter: bool,  # noqa: FBT001 - as above
    is_rate: bool,  # noqa: FBT001 - as above
) -> tuple[Histograms, Ints, Ints]:
    """Return anchored or smoothed rate, increase or delta; windows reach beyond their edges."""
    series, steps = lo.shape
    rows = np.full((series, steps), -1, np.int64)
    flags = np.zeros((series, steps), np.int64)
    out = [empty(0, np.empty(0))]
    for s in range(series):
        for t in range(steps):
            start, end = ends[t] - range_ms, ends[t]
            first, last, good = edges(ts, lo[s, t], hi[s, t], start, end, smoothed)
            if not good:
                continue
            custom = pool.schema[histogram[first]] == CUSTOM
            for i in range(first, last + 1):
                if (pool.schema[histogram[i]] == CUSTOM) != custom:
                    flags[s, t] |= INCOMPATIBLE
                if is_counter and pool.hint[histogram[i]] == 3:
                    flags[s, t] |= NO_COUNTER
            if flags[s, t] & INCOMPATIBLE:
                flags[s, t] = INCOMPATIBLE
                continue
            left, right = row(pool, histogram[first]), row(pool, histogram[last])
            if smoothed and ts[first] < start:
                following = row(pool, histogram[first + 1])
                left, more = between(left, ts[first], following, ts[first + 1], start, is_counter)
                flags[s, t] |= more & (INCOMPATIBLE | RECONCILED)
            if smoothed and last > lo[s, t] and ts[last] > end:
                older = row(pool, histogram[last - 1])
                right, more = between(older, ts[last - 1], right, ts[last], end, is_counter)
                flags[s, t] |= more & (INCOMPATIBLE | RECONCILED)
            if not is_counter and (left.hint != 3 or right.hint != 3):
                flags[s, t] |= NO_GAUGE
            result, more = combined(right, left, -1.0)
            flags[s, t] |= more & (INCOMPATIBLE | RECONCILED)
            if is_counter and not flags[s, t] & INCOMPATIBLE:
                hidden, found, more = _correction(
                    pool, histogram, ts, first, last, left, right, start, smoothed
                )
                flags[s, t] |= more
                if found:
                    result, more = combined(result, hidden, 1.0)
                    flags[s, t] |= more & ~COLLISION
            if flags[s, t] & INCOMPATIBLE:
                continue
            if is_rate:
                result = divided(result, range_ms / 1000)
            rows[s, t] = len(out) - 1
            out.append(compact(with_hint(result, 3)))
    return packed(out[1:]), rows, flags


@compiled
def transitions(  # noqa: PLR0917 - numba's functions take positions
    pool: Histograms,
    histogram: Ints,
    ts: Ints,
    starts: Ints,
    values: np.ndarray,
    lo: Ints,
    hi: Ints,
    resets: bool,  # noqa: FBT001 - as above
) -> tuple[np.ndarray, Bools]:
    """Return `resets` or `changes` of windows in which floats and histograms may alternate."""
    series, steps = lo.shape
    out = np.zeros((series, steps))
    for s in range(series):
        for t in range(steps):
            for i in range(lo[s, t] + 1, hi[s, t]):
                a, b = histogram[i - 1], histogram[i]
                if (a < 0) != (b < 0):
                    out[s, t] += 1
                    continue
                anew = resets and _began_anew(starts, ts, i)
                out[s, t] += anew or _differ(pool, a, b, values[i - 1], values[i], resets)
    return out, hi > lo


@compiled
def _differ(  # noqa: PLR0917 - numba's functions take positions
    pool: Histograms,
    a: int,
    b: int,
    before: float,
    now: float,
    resets: bool,  # noqa: FBT001 - as above
) -> bool:
    if a < 0:
        if resets:
            return now < before
        return now != before and not (np.isnan(now) and np.isnan(before))
    if resets:
        return was_reset(row(pool, b), row(pool, a))
    return not equal(row(pool, a), row(pool, b))
