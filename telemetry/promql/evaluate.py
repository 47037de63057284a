"""Evaluates a tree over one grid of times; a subquery is the same thing on its own grid."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from telemetry.promql import aggregate, binary, kernels, nodes
from telemetry.promql.errors import bad_query
from telemetry.promql.functions.table import FUNCTIONS
from telemetry.promql.values import (
    Scalar,
    Text,
    Value,
    Vector,
    Windows,
    offsets_of,
    stale,
    vector,
)


if TYPE_CHECKING:
    from telemetry.promql.kernels import Ints
    from telemetry.promql.limits import Budget
    from telemetry.promql.source import Columns, Source


@dataclass(slots=True, kw_only=True)
class Evaluation:
    """What all nodes of one query share."""

    source: Source
    budget: Budget
    start_ms: int
    end_ms: int
    step_ms: int
    """0 for an instant query."""

    lookback_ms: int
    subquery_step_ms: int
    """Step of subqueries that name none."""

    warnings: dict[str, None] = field(default_factory=dict)
    infos: dict[str, None] = field(default_factory=dict)

    def warn(self, message: str) -> None:
        """Add a warning to the answer, once."""
        self.warnings[f"PromQL warning: {message}"] = None

    def inform(self, message: str) -> None:
        """Add a remark to the answer, once."""
        self.infos[f"PromQL info: {message}"] = None

    @property
    def is_instant(self) -> bool:
        """Whether the query has one step, so that the order of series is its own."""
        return self.start_ms == self.end_ms


@dataclass(frozen=True, slots=True)
class Evaluator:
    """Evaluates nodes at *times*."""

    query: Evaluation
    times: Ints
    """Milliseconds since 1970, ascending."""

    def value(self, node: nodes.Node) -> Value:
        """Return the value of *node* at all times."""
        self.query.budget.spend(0)
        match node:
            case nodes.Number():
                return Scalar(values=np.full(self.times.size, node.value))
            case nodes.String():
                return Text(value=node.value)
            case nodes.Selector():
                return self.selected(node)[0]
            case nodes.Range():
                return self._windows(node)
            case nodes.Subquery():
                return self._subquery(node)
            case nodes.Negate():
                return binary.negate(self.value(node.expr))
            case nodes.Call():
                if node.name not in FUNCTIONS:
                    raise bad_query(f"{node.name}() isn't supported", function=node.name)
                return FUNCTIONS[node.name].apply(self, node.args)
            case nodes.Aggregate():
                return aggregate.aggregate(self, node)
            case nodes.Binary():
                left, right = self.value(node.left), self.value(node.right)
                return binary.operate(node, left, right, self.query.budget)

    def vector(self, node: nodes.Node) -> Vector:
        """Return the value of a node that the parser knows to be an instant vector."""
        value = self.value(node)
        if not isinstance(value, Vector):
            raise bad_query("expected an instant vector")
        return value

    def scalar(self, node: nodes.Node) -> Scalar:
        """Return the value of a node that the parser knows to be a scalar."""
        value = self.value(node)
        if not isinstance(value, Scalar):
            raise bad_query("expected a scalar")
        return value

    def windows(self, node: nodes.Node) -> Windows:
        """Return the value of a node that the parser knows to be a range vector."""
        value = self.value(node)
        if not isinstance(value, Windows):
            raise bad_query("expected a range vector")
        return value

    def text(self, node: nodes.Node) -> str:
        """Return the value of a node that the parser knows to be a string."""
        value = self.value(node)
        if not isinstance(value, Text):
            raise bad_query("expected a string")
        return value.value

    def selected(self, node: nodes.Selector) -> tuple[Vector, Ints]:
        """Return each step's newest samples, and their times."""
        ends = self._ends(node.when)
        lookback = self.query.lookback_ms
        columns = self._select(node, int(ends[0]) - lookback + 1, int(ends[-1]))
        self.query.budget.spend(len(columns.labels) * ends.size)
        values, present, times = kernels.latest(
            columns.ts, columns.values, stale(columns.values), columns.offsets, ends, lookback
        )
        return vector(list(columns.labels), values, present), times

    def _windows(self, node: nodes.Range) -> Windows:
        ends = self._ends(node.selector.when)
        columns = self._select(node.selector, int(ends[0]) - node.range_ms + 1, int(ends[-1]))
        self.query.budget.spend(len(columns.labels) * ends.size)
        ts, values, offsets = columns.ts, columns.values, columns.offsets
        gone = stale(values)
        if gone.any():
            ts, values = ts[~gone], values[~gone]
            kept = np.concatenate(([0], np.cumsum(~gone)))
            offsets = kept[offsets]
        return Windows(
            labels=list(columns.labels),
            ts=ts,
            values=values,
            offsets=offsets,
            drop_name=np.zeros(len(columns.labels), np.bool_),
            ends=ends,
            range_ms=node.range_ms,
        )

    def _subquery(self, node: nodes.Subquery) -> Windows:
        ends = self._ends(node.when)
        step = node.step_ms or self.query.subquery_step_ms
        first = (int(ends[0]) - node.range_ms) // step * step + step
        last = int(ends[-1])
        count = max(0, (last - first) // step + 1)
        self.query.budget.spend(count)
        times = first + step * np.arange(count, dtype=np.int64)
        if count == 0:
            inner: Value = vector([], np.zeros((0, 0)), np.zeros((0, 0), np.bool_))
        else:
            inner = Evaluator(self.query, times).value(node.expr)
        if isinstance(inner, Scalar):
            inner = vector([()], inner.values[np.newaxis], np.ones((1, count), np.bool_))
        if not isinstance(inner, Vector):
            raise bad_query("a subquery needs an instant vector")
        self.query.budget.spend(inner.values.size + len(inner.labels) * ends.size)
        return Windows(
            labels=inner.labels,
            ts=np.broadcast_to(times, inner.values.shape)[inner.present],
            values=inner.values[inner.present],
            offsets=offsets_of(inner.present.sum(axis=1)),
            drop_name=inner.drop_name,
            ends=ends,
            range_ms=node.range_ms,
        )

    def _ends(self, when: nodes.When) -> Ints:
        match when.at:
            case None:
                return self.times - when.offset_ms
            case nodes.Anchor.START:
                at = self.query.start_ms
            case nodes.Anchor.END:
                at = self.query.end_ms
            case int():
                at = when.at
        return np.full(self.times.size, at - when.offset_ms, np.int64)

    def _select(self, node: nodes.Selector, start_ms: int, end_ms: int) -> Columns:
        budget = self.query.budget
        series_max = budget.limits.series_max
        columns = self.query.source.select(node.selection, start_ms, end_ms, series_max=series_max)
        budget.series(len(columns.labels))
        budget.spend(columns.ts.size)
        # Another layout, or read-only memory, would have the kernels compiled once more.
        return replace(
            columns,
            ts=np.require(columns.ts, np.int64, ["C", "W"]),
            values=np.require(columns.values, np.float64, ["C", "W"]),
            offsets=np.require(columns.offsets, np.int64, ["C", "W"]),
        )
