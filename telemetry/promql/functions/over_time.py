"""Functions of range vectors: each window becomes one value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from telemetry.promql import folds, kernels, ordered
from telemetry.promql import labels as lb
from telemetry.promql.aggregate import number
from telemetry.promql.errors import query_failed
from telemetry.promql.values import Value, Vector, Windows


if TYPE_CHECKING:
    from collections.abc import Callable

    from telemetry.promql.evaluate import Evaluator
    from telemetry.promql.folds import Fold
    from telemetry.promql.kernels import Bools, Floats, Ints
    from telemetry.promql.nodes import Node

Args = tuple["Node", ...]
_COUNTER_SUFFIXES = ("_total", "_sum", "_count", "_bucket")


def _bounds(ev: Evaluator, windows: Windows) -> tuple[Ints, Ints]:
    lo, hi = kernels.bounds(windows.ts, windows.offsets, windows.ends, windows.range_ms)
    ev.query.budget.windows(int((hi - lo).sum()))
    return lo, hi


def _result(
    windows: Windows, values: Floats, present: Bools, *, keeps_name: bool = False
) -> Vector:
    drop = windows.drop_name if keeps_name else np.ones(len(windows.labels), np.bool_)
    return Vector(labels=windows.labels, values=values, present=present, drop_name=drop)


def folded(fold: Fold, *, keeps_name: bool = False) -> Callable[[Evaluator, Args], Value]:
    """Return the PromQL function that makes each window its *fold*."""

    def apply(ev: Evaluator, args: Args) -> Value:
        windows = ev.windows(args[0])
        lo, hi = _bounds(ev, windows)
        values, present = folds.fold_windows(int(fold), windows.ts, windows.values, lo, hi)
        return _result(windows, values, present, keeps_name=keeps_name)

    return apply


def stddev_over_time(ev: Evaluator, args: Args) -> Value:
    windows = ev.windows(args[0])
    lo, hi = _bounds(ev, windows)
    variance, present = folds.fold_windows(
        int(folds.Fold.STDVAR), windows.ts, windows.values, lo, hi
    )
    return _result(windows, np.sqrt(variance), present)


def present_over_time(ev: Evaluator, args: Args) -> Value:
    windows = ev.windows(args[0])
    lo, hi = _bounds(ev, windows)
    return _result(windows, np.ones(lo.shape), hi > lo)


def rate(ev: Evaluator, args: Args) -> Value:
    return _extrapolated(ev, args, is_counter=True, is_rate=True)


def increase(ev: Evaluator, args: Args) -> Value:
    return _extrapolated(ev, args, is_counter=True, is_rate=False)


def delta(ev: Evaluator, args: Args) -> Value:
    return _extrapolated(ev, args, is_counter=False, is_rate=False)


def _extrapolated(ev: Evaluator, args: Args, *, is_counter: bool, is_rate: bool) -> Value:
    windows = ev.windows(args[0])
    values, present = kernels.extrapolated(
        windows.ts,
        windows.values,
        windows.offsets,
        windows.ends,
        windows.range_ms,
        is_counter,
        is_rate,
    )
    if is_counter:
        _doubt_counters(ev, windows, present)
    return _result(windows, values, present)


def _doubt_counters(ev: Evaluator, windows: Windows, present: Bools) -> None:
    sampled = np.flatnonzero(present.any(axis=1)).tolist()
    names = {lb.get(windows.labels[i], lb.NAME) for i in sampled}
    for name in sorted(names):
        if name and not name.endswith(_COUNTER_SUFFIXES):
            ev.query.inform(
                "metric might not be a counter, name does not end in "
                f'_total/_sum/_count/_bucket: "{name}"'
            )


def irate(ev: Evaluator, args: Args) -> Value:
    return _instantaneous(ev, args, is_rate=True)


def idelta(ev: Evaluator, args: Args) -> Value:
    return _instantaneous(ev, args, is_rate=False)


def _instantaneous(ev: Evaluator, args: Args, *, is_rate: bool) -> Value:
    windows = ev.windows(args[0])
    lo, hi = _bounds(ev, windows)
    values, present = kernels.instantaneous(windows.ts, windows.values, lo, hi, is_rate)
    if is_rate:
        _doubt_counters(ev, windows, present)
    return _result(windows, values, present)


def deriv(ev: Evaluator, args: Args) -> Value:
    windows = ev.windows(args[0])
    lo, hi = _bounds(ev, windows)
    slope, _, present = kernels.regression(windows.ts, windows.values, lo, hi, ev.times, True)
    return _result(windows, slope, present)


def predict_linear(ev: Evaluator, args: Args) -> Value:
    windows = ev.windows(args[0])
    ahead = ev.scalar(args[1]).values
    lo, hi = _bounds(ev, windows)
    slope, intercept, present = kernels.regression(
        windows.ts, windows.values, lo, hi, ev.times, False
    )
    with np.errstate(all="ignore"):
        return _result(windows, slope * ahead + intercept, present)


def double_exponential_smoothing(ev: Evaluator, args: Args) -> Value:
    windows = ev.windows(args[0])
    smoothing, trend = ev.scalar(args[1]).values, ev.scalar(args[2]).values
    for name, factor, short in (("smoothing", smoothing, "sf"), ("trend", trend, "tf")):
        outside = factor[~((factor > 0) & (factor < 1))]
        if outside.size and windows.labels:
            raise query_failed(
                f"invalid {name} factor. Expected: 0 < {short} < 1, got: {outside[0]:f}"
            )
    lo, hi = _bounds(ev, windows)
    values, present = kernels.smoothed(windows.values, lo, hi, smoothing, trend)
    return _result(windows, values, present)


def quantile_over_time(ev: Evaluator, args: Args) -> Value:
    q = ev.scalar(args[0]).values
    windows = ev.windows(args[1])
    lo, hi = _bounds(ev, windows)
    values, present = ordered.quantile_windows(windows.values, lo, hi, q)
    if present.any():
        for wrong in np.unique(q[~((q >= 0) & (q <= 1))]):
            ev.query.warn(f"quantile value should be between 0 and 1, got {number(wrong)}")
    return _result(windows, values, present)


def mad_over_time(ev: Evaluator, args: Args) -> Value:
    windows = ev.windows(args[0])
    lo, hi = _bounds(ev, windows)
    values, present = ordered.mad_windows(windows.values, lo, hi)
    return _result(windows, values, present)
