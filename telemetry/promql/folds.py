"""Windows and groups folded to one value: `*_over_time`, and aggregation across series."""

from __future__ import annotations

import enum
import math

import numpy as np

from telemetry.promql import parts
from telemetry.promql.kernels import Bools, Floats, Ints, compiled, kahan


class Fold(enum.IntEnum):
    """What a window or a group becomes. Numbers, since numba's code branches on them."""

    SUM = 0
    AVG = 1
    MIN = 2
    MAX = 3
    COUNT = 4
    STDVAR = 5
    FIRST = 6
    LAST = 7
    CHANGES = 8
    RESETS = 9
    TS_OF_FIRST = 10
    TS_OF_LAST = 11
    TS_OF_MIN = 12
    TS_OF_MAX = 13


@compiled
def fold_windows(fold: int, ts: Ints, values: Floats, lo: Ints, hi: Ints) -> tuple[Floats, Bools]:
    """Return *fold* of each window that has a sample."""
    series, steps = lo.shape
    out = np.full((series, steps), np.nan)
    present = np.zeros((series, steps), np.bool_)
    for s in range(series):
        for t in range(steps):
            first, stop = lo[s, t], hi[s, t]
            if stop == first:
                continue
            present[s, t] = True
            if t > 0 and lo[s, t - 1] == first and hi[s, t - 1] == stop:
                out[s, t] = out[s, t - 1]
            elif fold == 0:
                out[s, t] = _sum(values, first, stop)
            elif fold == 1:
                out[s, t] = _average(values, first, stop)
            elif fold == 4:
                out[s, t] = stop - first
            elif fold == 5:
                out[s, t] = _variance(values, first, stop)
            elif fold == 6:
                out[s, t] = values[first]
            elif fold == 7:
                out[s, t] = values[stop - 1]
            elif fold in (8, 9):
                out[s, t] = _transitions(fold, values, first, stop)
            elif fold == 10:
                out[s, t] = ts[first] / 1000.0
            elif fold == 11:
                out[s, t] = ts[stop - 1] / 1000.0
            else:
                out[s, t] = _extreme(fold, ts, values, first, stop)
    return out, present


@compiled
def _sum(values: Floats, first: int, stop: int) -> float:
    total = c = 0.0
    for i in range(first, stop):
        total, c = kahan(values[i], total, c)
    return total if math.isinf(total) else total + c


@compiled
def _average(values: Floats, first: int, stop: int) -> float:
    total, c, mean = values[first], 0.0, 0.0
    incremental = False
    count = 1.0
    for i in range(first + 1, stop):
        count += 1.0
        if not incremental:
            new_total, new_c = kahan(values[i], total, c)
            if not math.isinf(new_total):
                total, c = new_total, new_c
                continue
            # The sum would overflow; the mean need not.
            incremental = True
            mean = total / (count - 1)
            c /= count - 1
        q = (count - 1) / count
        mean, c = kahan(values[i] / count, q * mean, q * c)
    return mean + c if incremental else total / count + c / count


@compiled
def _variance(values: Floats, first: int, stop: int) -> float:
    count = mean = c_mean = total = c_total = 0.0
    for i in range(first, stop):
        count += 1.0
        delta = values[i] - (mean + c_mean)
        mean, c_mean = kahan(delta / count, mean, c_mean)
        total, c_total = kahan(delta * (values[i] - (mean + c_mean)), total, c_total)
    return (total + c_total) / count


@compiled
def _transitions(fold: int, values: Floats, first: int, stop: int) -> float:
    n = 0
    for i in range(first + 1, stop):
        before, now = values[i - 1], values[i]
        if fold == 9:
            n += now < before
        elif now != before and not (math.isnan(now) and math.isnan(before)):
            n += 1
    return float(n)


@compiled
def _extreme(fold: int, ts: Ints, values: Floats, first: int, stop: int) -> float:
    best, when = values[first], ts[first]
    for i in range(first, stop):
        x = values[i]
        if fold == 2:
            better = x < best
        elif fold == 3:
            better = x > best
        elif fold == 12:
            better = x <= best
        else:
            better = x >= best
        if better or math.isnan(best):
            best, when = x, ts[i]
    return float(best if fold <= 3 else when / 1000.0)


def fold_groups(
    fold: int, values: Floats, present: Bools, group: Ints, groups: int
) -> tuple[Floats, Bools]:
    """Return *fold* over the series of each group, step by step, in the order of series."""
    shape = (groups, values.shape[1])
    total, count, mean, lost = (np.zeros(shape) for _ in range(4))
    incremental = np.zeros(shape, np.bool_)

    def some(steps: slice) -> None:
        _fold_steps(
            fold, values, present, group, total, count, mean, lost, incremental,
            steps.start, steps.stop,
        )  # fmt: skip

    parts.run(some, values.shape[1], values.size)
    return total, count > 0


@compiled
def _add(values: Floats, present: Bools, total: Floats, c: Floats, count: Floats) -> None:
    """Add a series to its group's sums, as `kahan` does; without branches, so it is fast."""
    for t in range(values.size):
        x, before, lost, n, there = values[t], total[t], c[t], count[t], present[t]
        after = before + x
        larger = abs(before) >= abs(x)
        rest = ((before if larger else x) - after) + (x if larger else before)
        rest = 0.0 if abs(after) == math.inf else lost + rest
        begun = there & (n > 0.0)
        total[t] = after if begun else (x if there else before)
        c[t] = rest if begun else lost
        count[t] = n + there


@compiled
def _fold_steps(  # noqa: PLR0917 - numba's functions take positions
    fold: int,
    values: Floats,
    present: Bools,
    group: Ints,
    total: Floats,
    count: Floats,
    mean: Floats,
    c: Floats,
    incremental: Bools,
    first: int,
    stop: int,
) -> None:
    for s in range(values.shape[0]):
        g = group[s]
        if fold == 0:
            row, there = values[s, first:stop], present[s, first:stop]
            _add(row, there, total[g, first:stop], c[g, first:stop], count[g, first:stop])
            continue
        for t in range(first, stop):
            if not present[s, t]:
                continue
            x = values[s, t]
            n = count[g, t] + 1.0
            count[g, t] = n
            if n == 1.0 and fold <= 3:
                total[g, t] = x
            elif fold == 2:
                if total[g, t] > x or math.isnan(total[g, t]):
                    total[g, t] = x
            elif fold == 3:
                if total[g, t] < x or math.isnan(total[g, t]):
                    total[g, t] = x
            elif fold == 5:
                if n == 1.0:
                    mean[g, t] = x
                    total[g, t] = math.nan if math.isnan(x) or math.isinf(x) else 0.0
                else:
                    delta = x - mean[g, t]
                    mean[g, t] += delta / n
                    total[g, t] += delta * (x - mean[g, t])
            elif fold == 1:
                if not incremental[g, t]:
                    new_total, new_c = kahan(x, total[g, t], c[g, t])
                    if not math.isinf(new_total):
                        total[g, t], c[g, t] = new_total, new_c
                        continue
                    incremental[g, t] = True
                    mean[g, t] = total[g, t] / (n - 1)
                    c[g, t] /= n - 1
                q = (n - 1) / n
                mean[g, t], c[g, t] = kahan(x / n, q * mean[g, t], q * c[g, t])
    for g in range(total.shape[0]):
        for t in range(first, stop):
            if fold == 0:
                total[g, t] += c[g, t]
            elif fold == 1 and incremental[g, t]:
                total[g, t] = mean[g, t] + c[g, t]
            elif fold == 1 and count[g, t] > 0:
                total[g, t] = total[g, t] / count[g, t] + c[g, t] / count[g, t]
            elif fold == 4:
                total[g, t] = count[g, t]
            elif fold == 5:
                total[g, t] /= count[g, t]
