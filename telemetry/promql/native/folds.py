"""Windows and groups of native histograms made one, and operators on many at once."""

from __future__ import annotations

import numpy as np

from telemetry.promql.kernels import Floats, Ints, compiled
from telemetry.promql.native.columns import Histograms
from telemetry.promql.native.rows import (
    INCOMPATIBLE,
    compact,
    divided,
    empty,
    equal,
    packed,
    row,
    scaled,
    with_hint,
)
from telemetry.promql.native.sums import between, combined, total
from telemetry.promql.native.trims import trimmed


@compiled
def fold_windows(
    pool: Histograms,
    histogram: Ints,
    lo: Ints,
    hi: Ints,
    mean: bool,  # noqa: FBT001 - numba's functions take positions
) -> tuple[Histograms, Ints, Ints]:
    """Return the sum or mean of each window's histograms as rows, -1 for none, and flags."""
    rows = np.full(lo.shape, -1, np.int64)
    flags = np.zeros(lo.shape, np.int64)
    out = [empty(0, np.empty(0))]
    for s in range(lo.shape[0]):
        for t in range(lo.shape[1]):
            first, stop = lo[s, t], hi[s, t]
            if stop == first:
                continue
            result, flags[s, t] = total([row(pool, histogram[i]) for i in range(first, stop)], mean)
            if not flags[s, t] & INCOMPATIBLE:
                rows[s, t] = len(out) - 1
                out.append(result)
    return packed(out[1:]), rows, flags


@compiled
def fold_groups(
    pool: Histograms,
    rows: Ints,
    order: Ints,
    bounds: Ints,
    mean: bool,  # noqa: FBT001 - numba's functions take positions
) -> tuple[Histograms, Ints, Ints]:
    """Return the sum or mean over each group's series; group `g` is `order[bounds[g]:...]`."""
    groups, steps = bounds.size - 1, rows.shape[1]
    found = np.full((groups, steps), -1, np.int64)
    flags = np.zeros((groups, steps), np.int64)
    out = [empty(0, np.empty(0))]
    for g in range(groups):
        for t in range(steps):
            members = [empty(0, np.empty(0))]
            for k in range(bounds[g], bounds[g + 1]):
                if rows[order[k], t] >= 0:
                    members.append(row(pool, rows[order[k], t]))  # noqa: PERF401 - numba
            if len(members) == 1:
                continue
            result, flags[g, t] = total(members[1:], mean)
            if not flags[g, t] & INCOMPATIBLE:
                found[g, t] = len(out) - 1
                out.append(result)
    return packed(out[1:]), found, flags


@compiled
def pairwise(
    a: Histograms, a_rows: Ints, b: Histograms, b_rows: Ints, sign: float
) -> tuple[Histograms, Ints]:
    """Return `a + sign * b` of rows that stand beside one another, and flags."""
    flags = np.zeros(a_rows.size, np.int64)
    out = [empty(0, np.empty(0))]
    for i in range(a_rows.size):
        result, flags[i] = combined(row(a, a_rows[i]), row(b, b_rows[i]), sign)
        if sign < 0:
            result = with_hint(result, 3)
        out.append(compact(result))
    return packed(out[1:]), flags


@compiled
def scale(pool: Histograms, rows: Ints, by: Floats, divide: bool) -> Histograms:  # noqa: FBT001 - as above
    """Return each of *rows* times, or divided by, the number beside it."""
    out = [empty(0, np.empty(0))]
    for i in range(rows.size):
        r = row(pool, rows[i])
        out.append(compact(divided(r, by[i]) if divide else scaled(r, by[i])))
    return packed(out[1:])


@compiled
def trim(pool: Histograms, rows: Ints, at: Floats, below: bool) -> Histograms:  # noqa: FBT001 - as above
    """Return each of *rows* cut at the number beside it."""
    out = [empty(0, np.empty(0))]
    for i in range(rows.size):
        out.append(trimmed(row(pool, rows[i]), at[i], below))  # noqa: PERF401 - numba
    return packed(out[1:])


@compiled
def equals(a: Histograms, a_rows: Ints, b: Histograms, b_rows: Ints) -> np.ndarray:
    """Return which rows that stand beside one another are the same."""
    out = np.empty(a_rows.size, np.bool_)
    for i in range(a_rows.size):
        out[i] = equal(row(a, a_rows[i]), row(b, b_rows[i]))
    return out


@compiled
def interpolated(  # noqa: PLR0917 - as above
    pool: Histograms, before: Ints, behind: Ints, ts: Ints, at_ms: Ints, histogram: Ints
) -> tuple[Histograms, Ints]:
    """Return what lies between samples *before* and *behind* at times, and flags."""
    flags = np.zeros(before.size, np.int64)
    out = [empty(0, np.empty(0))]
    for i in range(before.size):
        a, b = row(pool, histogram[before[i]]), row(pool, histogram[behind[i]])
        is_counter = a.hint != 3 or b.hint != 3
        result, flags[i] = between(a, ts[before[i]], b, ts[behind[i]], at_ms[i], is_counter)
        out.append(result)
    return packed(out[1:]), flags
