"""Functions of each value by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from telemetry.promql.binary import renamed
from telemetry.promql.values import Scalar, Value, Vector


if TYPE_CHECKING:
    from collections.abc import Callable

    from telemetry.promql.evaluate import Evaluator
    from telemetry.promql.kernels import Floats
    from telemetry.promql.nodes import Call


def each(
    function: Callable[[Any], Any],
) -> Callable[[Evaluator, Call], Value]:
    """Return the PromQL function that applies *function* to every value."""

    def apply(ev: Evaluator, call: Call) -> Value:
        of = ev.floats(call.args[0])
        with np.errstate(all="ignore"):
            return renamed(of, function(of.values))

    return apply


def degrees(values: Floats) -> Floats:
    return values * 180 / np.pi


def radians(values: Floats) -> Floats:
    return values * np.pi / 180


def clamp(ev: Evaluator, call: Call) -> Value:
    low, high = ev.scalar(call.args[1]).values, ev.scalar(call.args[2]).values
    clamped = _clamped(ev.floats(call.args[0]), low, high)
    return Vector(
        labels=clamped.labels,
        values=clamped.values,
        present=clamped.present & ~(high < low),
        drop_name=clamped.drop_name,
    )


def clamp_max(ev: Evaluator, call: Call) -> Value:
    return _clamped(ev.floats(call.args[0]), None, ev.scalar(call.args[1]).values)


def clamp_min(ev: Evaluator, call: Call) -> Value:
    return _clamped(ev.floats(call.args[0]), ev.scalar(call.args[1]).values, None)


def _clamped(of: Vector, low: Floats | None, high: Floats | None) -> Vector:
    values = of.values
    if high is not None:
        values = np.minimum(values, high)  # NaN on either side is NaN.
    if low is not None:
        values = np.maximum(values, low)
    return renamed(of, values)


def round_to(ev: Evaluator, call: Call) -> Value:
    """Round to the nearest multiple of the second argument, halves up."""
    of = ev.floats(call.args[0])
    with np.errstate(all="ignore"):
        inverse = 1.0 / (ev.scalar(call.args[1]).values if len(call.args) > 1 else 1.0)
        return renamed(of, np.floor(of.values * inverse + 0.5) / inverse)


def max_of(ev: Evaluator, call: Call) -> Value:
    return Scalar(values=np.maximum(ev.scalar(call.args[0]).values, ev.scalar(call.args[1]).values))


def min_of(ev: Evaluator, call: Call) -> Value:
    return Scalar(values=np.minimum(ev.scalar(call.args[0]).values, ev.scalar(call.args[1]).values))
