"""Functions of what changes within a window: `rate` and its kin, `changes` and `resets`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from telemetry.promql import edges, folds, kernels, notes, parts, windows
from telemetry.promql.native import rates
from telemetry.promql.nodes import Edge


if TYPE_CHECKING:
    from telemetry.promql.evaluate import Evaluator
    from telemetry.promql.kernels import Bools, Floats, Ints
    from telemetry.promql.nodes import Call
    from telemetry.promql.values import Value, Windows


def rate(ev: Evaluator, call: Call) -> Value:
    return _extrapolated(ev, call, is_counter=True, is_rate=True)


def increase(ev: Evaluator, call: Call) -> Value:
    return _extrapolated(ev, call, is_counter=True, is_rate=False)


def delta(ev: Evaluator, call: Call) -> Value:
    return _extrapolated(ev, call, is_counter=False, is_rate=False)


def _extrapolated(ev: Evaluator, call: Call, *, is_counter: bool, is_rate: bool) -> Value:
    given = ev.windows(call.args[0])
    at = call.args[0].at
    apart = windows.split(ev, given)
    of = given if apart is None else apart.floats
    if given.edge is not None:
        lo, hi = windows.bounds(ev, of) if apart is None else (apart.float_lo, apart.float_hi)
        values, present = edges.edged(
            of.ts, of.values, lo, hi, of.ends, of.range_ms, given.edge is Edge.SMOOTHED,
            is_counter, is_rate,
        )  # fmt: skip
    else:
        values, present = _stretched(ev, of, at, is_counter=is_counter, is_rate=is_rate)
    if apart is not None:
        present &= ~apart.mixed
    if is_counter:
        notes.doubtful_counters(ev, windows.result(given, values, present), call.args[0].at)
    if apart is None:
        return windows.result(given, values, present)
    lo, hi = apart.native_lo, np.where(apart.mixed, apart.native_lo, apart.native_hi)
    notes.mixed(ev, given, apart.mixed, at)
    natives = apart.natives
    if given.edge is not None:
        pool, rows, flags = rates.edged(
            apart.pool, apart.histogram, natives.ts, lo, hi, of.ends, of.range_ms,
            given.edge is Edge.SMOOTHED, is_counter, is_rate,
        )  # fmt: skip
    else:
        pool, rows, flags = rates.extrapolated(
            apart.pool, apart.histogram, natives.ts, windows.starts(natives), lo, hi,
            of.ends, of.range_ms, is_counter, is_rate,
        )  # fmt: skip
    notes.flagged(ev, given, flags, at)
    return windows.both(given, values, present, pool, rows)


def _stretched(
    ev: Evaluator, of: Windows, at: int, *, is_counter: bool, is_rate: bool
) -> tuple[Floats, Bools]:
    shape = (len(of.labels), of.ends.size)
    starts = windows.starts(of)
    values, present = np.empty(shape), np.empty(shape, np.bool_)
    overlap = np.zeros(shape if starts.size else (shape[0], 0), np.bool_)

    def some(rows: slice) -> None:
        offsets = of.offsets[rows.start : rows.stop + 1]
        kernels.extrapolated(
            of.ts, of.values, starts, offsets, of.ends, of.range_ms, is_counter, is_rate,
            values[rows], present[rows], overlap[rows],
        )  # fmt: skip

    parts.run(some, shape[0], shape[0] * shape[1])
    if overlap.any():
        notes.overlapping(ev, of, overlap, at)
    return values, present


def irate(ev: Evaluator, call: Call) -> Value:
    return _instantaneous(ev, call, is_rate=True)


def idelta(ev: Evaluator, call: Call) -> Value:
    return _instantaneous(ev, call, is_rate=False)


def _instantaneous(ev: Evaluator, call: Call, *, is_rate: bool) -> Value:
    of = ev.windows(call.args[0])
    lo, hi = windows.bounds(ev, of)
    last = np.where(hi - lo >= 2, hi - 1, -1)
    native_last = np.full_like(last, -1)
    mixed = np.zeros(last.shape, np.bool_)
    if of.histogram is not None and of.histogram.size:
        there = last >= 0
        now, before = of.histogram[last] >= 0, of.histogram[np.maximum(last - 1, 0)] >= 0
        mixed = there & (now != before)
        native_last = np.where(there & now & before, last, -1)
        last = np.where(there & ~now & ~before, last, -1)
        notes.mixed(ev, of, mixed, call.args[0].at)
    values, present = kernels.instantaneous(of.ts, of.values, windows.starts(of), last, is_rate)
    if is_rate:
        notes.doubtful_counters(ev, windows.result(of, values, present), call.args[0].at)
    if of.histogram is None or of.pool is None:
        return windows.result(of, values, present)
    pool, rows, flags = rates.instantaneous(
        of.pool, of.histogram, of.ts, windows.starts(of), native_last, is_rate
    )
    notes.flagged(ev, of, flags, call.args[0].at)
    return windows.both(of, values, present, pool, rows)


def changes(ev: Evaluator, call: Call) -> Value:
    return _transitions(ev, call, resets=False)


def resets(ev: Evaluator, call: Call) -> Value:
    return _transitions(ev, call, resets=True)


def _transitions(ev: Evaluator, call: Call, *, resets: bool) -> Value:
    of = ev.windows(call.args[0])
    lo, hi = _anchored(ev, of)
    if of.histogram is not None and of.pool is not None:
        values, present = rates.transitions(
            of.pool, of.histogram, of.ts, windows.starts(of), of.values, lo, hi, resets
        )
        return windows.result(of, values, present)
    if resets and of.starts is not None:
        values, present = kernels.resets(of.ts, of.values, of.starts, lo, hi)
        return windows.result(of, values, present)
    fold = folds.Fold.RESETS if resets else folds.Fold.CHANGES
    values, present = folds.fold_windows(int(fold), of.ts, of.values, lo, hi)
    return windows.result(of, values, present)


def _anchored(ev: Evaluator, of: Windows) -> tuple[Ints, Ints]:
    lo, hi = windows.bounds(ev, of)
    if of.edge is Edge.ANCHORED:
        return edges.anchored(of.ts, lo, hi, of.ends, of.range_ms)
    return lo, hi
