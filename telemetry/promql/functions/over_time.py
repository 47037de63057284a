"""Functions of range vectors: each window becomes one value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from telemetry.promql import folds, kernels, notes, ordered, windows
from telemetry.promql.errors import query_failed
from telemetry.promql.folds import Fold
from telemetry.promql.native import folds as native_folds
from telemetry.promql.numbers import general
from telemetry.promql.values import Native, Value


if TYPE_CHECKING:
    from collections.abc import Callable

    from telemetry.promql.evaluate import Evaluator
    from telemetry.promql.kernels import Floats
    from telemetry.promql.nodes import Call


def folded(fold: Fold) -> Callable[[Evaluator, Call], Value]:
    """Return the PromQL function that makes each window the *fold* of its floats."""

    def apply(ev: Evaluator, call: Call) -> Value:
        of = windows.floats_of(ev, ev.windows(call.args[0]), call.args[0].at)
        lo, hi = windows.bounds(ev, of)
        values, present = folds.fold_windows(int(fold), of.ts, of.values, lo, hi)
        return windows.result(of, values, present)

    return apply


def counted(fold: Fold) -> Callable[[Evaluator, Call], Value]:
    """Return the PromQL function that makes each window the *fold* of all its samples."""

    def apply(ev: Evaluator, call: Call) -> Value:
        of = ev.windows(call.args[0])
        lo, hi = windows.bounds(ev, of)
        values, present = folds.fold_windows(int(fold), of.ts, of.values, lo, hi)
        return windows.result(of, values, present)

    return apply


def summed(fold: Fold) -> Callable[[Evaluator, Call], Value]:
    """Return the PromQL function that adds or averages floats, or histograms, of each window."""

    def apply(ev: Evaluator, call: Call) -> Value:
        given, at = ev.windows(call.args[0]), call.args[0].at
        parts = windows.split(ev, given)
        if parts is None:
            lo, hi = windows.bounds(ev, given)
            return windows.result(
                given, *folds.fold_windows(int(fold), given.ts, given.values, lo, hi)
            )
        of = parts.floats
        notes.mixed(ev, given, parts.mixed, at)
        values, present = folds.fold_windows(
            int(fold), of.ts, of.values, parts.float_lo, parts.float_hi
        )
        stop = np.where(parts.mixed, parts.native_lo, parts.native_hi)
        pool, rows, flags = native_folds.fold_windows(
            parts.pool, parts.histogram, parts.native_lo, stop, fold is Fold.AVG
        )
        notes.flagged(ev, given, flags, at, "aggregation")
        return windows.both(given, values, present & ~parts.mixed, pool, rows)

    return apply


def picked(which: Fold) -> Callable[[Evaluator, Call], Value]:
    """Return the PromQL function that takes each window's first or last sample as it is."""

    def apply(ev: Evaluator, call: Call) -> Value:
        of = ev.windows(call.args[0])
        lo, hi = windows.bounds(ev, of)
        present = hi > lo
        if not of.ts.size:
            return windows.result(of, np.full(lo.shape, np.nan), present, keeps_name=True)
        index = np.where(present, lo if which is Fold.FIRST else hi - 1, 0)
        native = None
        if of.histogram is not None and of.pool is not None:
            native = Native(of.pool, np.where(present, of.histogram[index], -1))
        return windows.result(of, of.values[index], present, native=native, keeps_name=True)

    return apply


def stddev_over_time(ev: Evaluator, call: Call) -> Value:
    of = windows.floats_of(ev, ev.windows(call.args[0]), call.args[0].at)
    lo, hi = windows.bounds(ev, of)
    variance, present = folds.fold_windows(int(Fold.STDVAR), of.ts, of.values, lo, hi)
    return windows.result(of, np.sqrt(variance), present)


def present_over_time(ev: Evaluator, call: Call) -> Value:
    of = ev.windows(call.args[0])
    lo, hi = windows.bounds(ev, of)
    return windows.result(of, np.ones(lo.shape), hi > lo)


def deriv(ev: Evaluator, call: Call) -> Value:
    of = windows.floats_of(ev, ev.windows(call.args[0]), call.args[0].at)
    lo, hi = windows.bounds(ev, of)
    slope, _, present = kernels.regression(of.ts, of.values, lo, hi, ev.times, True)
    return windows.result(of, slope, present)


def predict_linear(ev: Evaluator, call: Call) -> Value:
    of = windows.floats_of(ev, ev.windows(call.args[0]), call.args[0].at)
    ahead = ev.scalar(call.args[1]).values
    lo, hi = windows.bounds(ev, of)
    slope, intercept, present = kernels.regression(of.ts, of.values, lo, hi, ev.times, False)
    with np.errstate(all="ignore"):
        return windows.result(of, slope * ahead + intercept, present)


def double_exponential_smoothing(ev: Evaluator, call: Call) -> Value:
    given = ev.windows(call.args[0])
    of = windows.floats_of(ev, given, call.args[0].at)
    smoothing, trend = ev.scalar(call.args[1]).values, ev.scalar(call.args[2]).values
    for name, factor, short in (("smoothing", smoothing, "sf"), ("trend", trend, "tf")):
        outside = factor[~((factor > 0) & (factor < 1))]
        if outside.size and of.labels:
            raise query_failed(
                f"invalid {name} factor. Expected: 0 < {short} < 1, got: {outside[0]:f}"
            )
    lo, hi = windows.bounds(ev, of)
    values, present = kernels.smoothed(of.values, lo, hi, smoothing, trend)
    return windows.result(of, values, present)


def quantile_over_time(ev: Evaluator, call: Call) -> Value:
    q = ev.scalar(call.args[0]).values
    of = windows.floats_of(ev, ev.windows(call.args[1]), call.args[0].at)
    lo, hi = windows.bounds(ev, of)
    values, present = ordered.quantile_windows(of.values, lo, hi, q)
    if present.any():
        _warn_of_quantiles(ev, q, call.args[0].at)
    return windows.result(of, values, present)


def _warn_of_quantiles(ev: Evaluator, q: Floats, at: int) -> None:
    for wrong in np.unique(q[~((q >= 0) & (q <= 1))]):
        ev.query.warn(f"quantile value should be between 0 and 1, got {general(wrong)}", at)


def mad_over_time(ev: Evaluator, call: Call) -> Value:
    of = windows.floats_of(ev, ev.windows(call.args[0]), call.args[0].at)
    lo, hi = windows.bounds(ev, of)
    values, present = ordered.mad_windows(of.values, lo, hi)
    return windows.result(of, values, present)
