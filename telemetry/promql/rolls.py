"""
Roll-ups: rows that say what the samples of a stretch of time come to; compiled.

A row's stretch is left-open, and rows of a series don't overlap. So rows that adjoin are put
together to exactly what their samples come to: growth from one row's last sample to the next
one's first is known, and `fell` has what was lost by resets within a row.
"""

# ruff: noqa: PLR0917 - compiled: no keyword arguments

from __future__ import annotations

import math

import numpy as np

from telemetry.promql.kernels import Bools, Floats, Ints, compiled, stretch


WHOLE = ("end_ms", "first_ms", "last_ms", "count", "resets", "ended")
"""Columns of whole numbers: times of first and last sample; 1 where a marker is the newest."""

REAL = ("sum", "min", "max", "first", "last", "fell")
"""Columns of floats; `fell` is the sum of the values before the resets."""

_END, _FIRST_MS, _LAST_MS, _COUNT, _RESETS, _ENDED = range(6)
_SUM, _MIN, _MAX, _FIRST, _LAST, _FELL = range(6)


@compiled
def roll(
    ts: Ints, values: Floats, stale: Bools, offsets: Ints, width_ms: int
) -> tuple[Ints, Ints, Floats]:
    """
    Return what samples come to in windows that end at multiples of *width_ms*.

    Returns:
        Where each series' rows begin, and the end; rows of `WHOLE`; rows of `REAL`.

    """
    series = offsets.size - 1
    begins = np.zeros(series + 1, np.int64)
    rows = 0
    for s in range(series):
        end = np.iinfo(np.int64).min
        for i in range(offsets[s], offsets[s + 1]):
            if not stale[i] and ts[i] > end:
                end = -(-ts[i] // width_ms) * width_ms
                rows += 1
        begins[s + 1] = rows
    whole = np.zeros((6, rows), np.int64)
    real = np.zeros((6, rows))
    for s in range(series):
        row = begins[s] - 1
        end = np.iinfo(np.int64).min
        for i in range(offsets[s], offsets[s + 1]):
            value = values[i]
            if stale[i]:
                if ts[i] <= end:
                    whole[_ENDED, row] = 1
                continue
            if ts[i] > end:
                end = -(-ts[i] // width_ms) * width_ms
                row += 1
                whole[_END, row], whole[_FIRST_MS, row] = end, ts[i]
                real[_FIRST, row], real[_MIN, row], real[_MAX, row] = value, value, value
                real[_SUM, row] = value
            else:
                real[_SUM, row] += value
                if value < real[_MIN, row] or math.isnan(real[_MIN, row]):
                    real[_MIN, row] = value
                if value > real[_MAX, row] or math.isnan(real[_MAX, row]):
                    real[_MAX, row] = value
                if value < real[_LAST, row]:
                    whole[_RESETS, row] += 1
                    real[_FELL, row] += real[_LAST, row]
            whole[_ENDED, row] = 0
            whole[_COUNT, row] += 1
            whole[_LAST_MS, row], real[_LAST, row] = ts[i], value
    return begins, whole, real


@compiled
def grown(
    offsets: Ints,
    ends: Ints,
    range_ms: int,
    lo: Ints,
    hi: Ints,
    first_ms: Ints,
    last_ms: Ints,
    count: Ints,
    first: Floats,
    last: Floats,
    fell: Floats,
    is_counter: bool,  # noqa: FBT001 - as above
    is_rate: bool,  # noqa: FBT001 - as above
) -> tuple[Floats, Bools]:
    """Return rate, increase or delta of windows of the rows `lo[s, t]:hi[s, t]`."""
    series, steps = lo.shape
    out, present = np.empty((series, steps)), np.zeros((series, steps), np.bool_)
    change, lowest, gaps = np.empty(steps), np.empty(steps), np.empty(steps)
    sampled, before, behind = np.empty(steps), np.empty(steps), np.empty(steps)
    # Sums up to each row, of one series at a time: they stay close to the processor.
    longest = np.diff(offsets).max() if series else 0
    samples, odd = np.zeros(longest + 1, np.int64), np.zeros(longest + 1, np.int64)
    seconds = range_ms / 1000.0 if is_rate else 1.0
    for s in range(series):
        base = offsets[s]
        for i in range(base, offsets[s + 1]):
            fewer = i > base and first[i] < last[i - 1]
            samples[i - base + 1] = samples[i - base] + count[i]
            odd[i - base + 1] = odd[i - base] + (fewer or fell[i] != 0.0)
        for t in range(steps):
            a, b = lo[s, t], hi[s, t]
            size = samples[b - base] - samples[a - base]
            if size < 2:
                change[t] = lowest[t] = gaps[t] = sampled[t] = before[t] = behind[t] = 0.0
                continue
            present[s, t] = True
            result = last[b - 1] - first[a]
            if is_counter and odd[b - base] > odd[a - base]:
                for i in range(a, b):
                    if i > a and first[i] < last[i - 1]:
                        result += last[i - 1]
                    if fell[i] != 0.0:
                        result += fell[i]
            change[t], lowest[t], gaps[t] = result, first[a], size - 1
            sampled[t], before[t], behind[t] = (
                last_ms[b - 1] - first_ms[a],
                first_ms[a] - (ends[t] - range_ms),
                ends[t] - last_ms[b - 1],
            )
        stretch(change, lowest, gaps, sampled, before, behind, is_counter, seconds, out[s])
    return out, present


@compiled
def resets(lo: Ints, hi: Ints, inner: Ints, first: Floats, last: Floats) -> tuple[Floats, Bools]:
    """Return how often the counter began anew in windows of the rows `lo[s, t]:hi[s, t]`."""
    out = np.zeros(lo.shape)
    for s in range(lo.shape[0]):
        for t in range(lo.shape[1]):
            for i in range(lo[s, t], hi[s, t]):
                out[s, t] += inner[i] + (i > lo[s, t] and first[i] < last[i - 1])
    return out, hi > lo
