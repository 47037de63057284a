"""Functions of what isn't there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from telemetry.promql import kernels, nodes
from telemetry.promql import labels as lb
from telemetry.promql.matchers import MatchOp
from telemetry.promql.values import Value, vector


if TYPE_CHECKING:
    from telemetry.promql.evaluate import Evaluator
    from telemetry.promql.kernels import Bools


def absent(ev: Evaluator, call: nodes.Call) -> Value:
    return _one_where(call.args[0], np.logical_not(ev.vector(call.args[0]).present.any(axis=0)))


def absent_over_time(ev: Evaluator, call: nodes.Call) -> Value:
    windows = ev.windows(call.args[0])
    lo, hi = kernels.bounds(windows.ts, windows.offsets, windows.ends, windows.range_ms)
    return _one_where(call.args[0], np.logical_not((hi > lo).any(axis=0)))


def _one_where(node: nodes.Node, missing: Bools) -> Value:
    return vector([_labels(node)], np.ones((1, missing.size)), missing[np.newaxis])


def _labels(node: nodes.Node) -> lb.Labels:
    """Return what a selector says of its series: labels that must equal one value."""
    selector = node.selector if isinstance(node, nodes.Range) else node
    if not isinstance(selector, nodes.Selector) or len(selector.selection) != 1:
        return ()
    said: dict[str, str] = {}
    seen: set[str] = set()
    for matcher in selector.selection[0]:
        if matcher.name == lb.NAME:
            continue
        if matcher.op is MatchOp.EQUAL and matcher.name not in seen:
            said[matcher.name] = matcher.value
            seen.add(matcher.name)
        else:
            said.pop(matcher.name, None)
    return lb.make(said)
