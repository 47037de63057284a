"""The query's own times, and the ways between scalars and vectors."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from telemetry.promql import nodes
from telemetry.promql.binary import renamed
from telemetry.promql.values import Scalar, Value, vector


if TYPE_CHECKING:
    from telemetry.promql.evaluate import Evaluator


def time(ev: Evaluator, _call: nodes.Call) -> Value:
    return Scalar(values=ev.times / 1000.0)


def pi(ev: Evaluator, _call: nodes.Call) -> Value:
    return _constant(ev, np.pi)


def start(ev: Evaluator, _call: nodes.Call) -> Value:
    return _constant(ev, ev.query.start_ms / 1000)


def end(ev: Evaluator, _call: nodes.Call) -> Value:
    return _constant(ev, ev.query.end_ms / 1000)


def range_(ev: Evaluator, _call: nodes.Call) -> Value:
    return _constant(ev, (ev.query.end_ms - ev.query.start_ms) / 1000)


def step(ev: Evaluator, _call: nodes.Call) -> Value:
    return _constant(ev, 0.0 if ev.query.is_instant else ev.query.step_ms / 1000)


def _constant(ev: Evaluator, value: float) -> Scalar:
    return Scalar(values=np.full(ev.times.size, value))


def timestamp(ev: Evaluator, call: nodes.Call) -> Value:
    """Return the time of each sample; of anything but a selector, the step's time."""
    if isinstance(call.args[0], nodes.Selector):
        found = ev.selected(call.args[0])
        return renamed(found.vector, found.ts / 1000.0)
    of = ev.vector(call.args[0])
    return renamed(of, np.broadcast_to(ev.times / 1000.0, of.values.shape))


def start_timestamp(ev: Evaluator, call: nodes.Call) -> Value:
    """Return when the counter of each sample began; of anything but a selector, nothing."""
    if isinstance(call.args[0], nodes.Selector):
        found = ev.selected(call.args[0])
        return renamed(found.vector, found.starts / 1000.0)
    of = ev.vector(call.args[0])
    nothing = renamed(of, of.values)
    return replace(nothing, present=np.zeros_like(of.present))


def scalar(ev: Evaluator, call: nodes.Call) -> Value:
    """Return the value of the only series, NaN where there is none or several."""
    of = ev.floats(call.args[0])
    single = of.present.sum(axis=0) == 1
    values = np.where(of.present, of.values, 0.0).sum(axis=0)
    first = of.present.argmax(axis=0) if len(of.labels) else np.zeros(single.size, np.int64)
    if len(of.labels):
        values = np.take_along_axis(of.values, first[np.newaxis], axis=0)[0]
    return Scalar(values=np.where(single, values, np.nan))


def vector_of(ev: Evaluator, call: nodes.Call) -> Value:
    values = ev.scalar(call.args[0]).values[np.newaxis]
    return vector([()], values, np.ones(values.shape, np.bool_))
