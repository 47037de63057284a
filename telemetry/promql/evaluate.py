"""Evaluates a tree over one grid of times; a subquery is the same thing on its own grid."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from telemetry.promql import aggregate, binary, kernels, nodes, pieces, rolled, selecting
from telemetry.promql.durations import resolved
from telemetry.promql.errors import bad_query, query_failed
from telemetry.promql.functions.table import FUNCTIONS
from telemetry.promql.lex import is_valid, place, quoted
from telemetry.promql.native.columns import forgotten, owned
from telemetry.promql.native.sums import hints
from telemetry.promql.nodes import Edge
from telemetry.promql.values import (
    Scalar,
    Text,
    Value,
    Vector,
    Windows,
    floats,
    offsets_of,
    stale,
    vector,
)
from telemetry.promql.windows import only


if TYPE_CHECKING:
    from telemetry.promql.kernels import Ints
    from telemetry.promql.limits import Budget
    from telemetry.promql.native.columns import Histograms
    from telemetry.promql.selecting import Selected
    from telemetry.promql.source import Columns, Source


@dataclass(slots=True, kw_only=True)
class Evaluation:
    """What all nodes of one query share."""

    text: str
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

    def warn(self, message: str, at: int) -> None:
        """Add a warning about a place in the text to the answer, once."""
        self.warnings[f"PromQL warning: {message} ({place(self.text, at)})"] = None

    def inform(self, message: str, at: int) -> None:
        """Add a remark about a place in the text to the answer, once."""
        self.infos[f"PromQL info: {message} ({place(self.text, at)})"] = None

    def ms(self, duration: nodes.Duration, *, positive: bool = False) -> int:
        """
        Return a duration of the query in milliseconds.

        Raises:
            InvalidInput: QUERY_INVALID: It comes to nothing that could be one.

        """
        return resolved(
            duration,
            step_ms=0 if self.is_instant else self.step_ms,
            range_ms=self.end_ms - self.start_ms,
            positive=positive,
        )

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

    detects_resets: bool = False
    """Whether histograms are told by their buckets which of them begin anew."""

    def value(self, node: nodes.Node) -> Value:
        """Return the value of *node* at all times."""
        self.query.budget.spend(0)
        match node:
            case nodes.Number():
                return Scalar(values=np.full(self.times.size, node.value))
            case nodes.String():
                return Text(value=node.value)
            case nodes.Selector():
                return rolled.selected(self, node) or self.selected(node).vector
            case nodes.Range():
                return self._windows(node)
            case nodes.Subquery():
                return self._subquery(node)
            case nodes.Unary():
                inner = self.value(node.expr)
                return binary.negate(inner) if node.op == "-" else inner
            case nodes.Call():
                return self._called(node)
            case nodes.Aggregate():
                return aggregate.aggregate(self, node)
            case nodes.Binary():
                left, right = self.value(node.left), self.value(node.right)
                return binary.operate(self, node, left, right)

    def vector(self, node: nodes.Node) -> Vector:
        """Return the value of a node that the parser knows to be an instant vector."""
        value = self.value(node)
        if not isinstance(value, Vector):
            raise bad_query("expected an instant vector")
        return value

    def floats(self, node: nodes.Node) -> Vector:
        """Return the value of an instant vector without its native histograms."""
        return floats(self.vector(node))

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
        """
        Return the value of a node that the parser knows to be a string.

        Raises:
            InvalidInput: QUERY_FAILED: It isn't UTF-8.

        """
        text = self.raw_text(node)
        if not is_valid(text):
            raise query_failed(f"no UTF-8: {quoted(text)}")
        return text

    def raw_text(self, node: nodes.Node) -> str:
        """Return the value of a string, with surrogates for what isn't UTF-8."""
        value = self.value(node)
        if not isinstance(value, Text):
            raise bad_query("expected a string")
        return value.value

    def selected(self, node: nodes.Selector) -> Selected:
        """Return each step's newest samples, when they were taken and when they began."""
        ends = self.ends(node.when)
        lookback = self.query.lookback_ms
        reach = lookback if node.edge is Edge.SMOOTHED else 0
        columns = self._select(node, int(ends[0]) - lookback + 1, int(ends[-1]) + reach)
        self.query.budget.spend(len(columns.labels) * ends.size)
        if node.edge is Edge.SMOOTHED:
            return selecting.smoothed(self, node, columns, ends, lookback)
        return selecting.latest(columns, ends, lookback)

    def _called(self, node: nodes.Call) -> Value:
        apply = FUNCTIONS[node.name].apply
        found = rolled.called(self, node) or pieces.called(self, node, apply)
        return apply(self, node) if found is None else found

    def _windows(self, node: nodes.Range) -> Windows:
        ends = self.ends(node.selector.when)
        range_ms = self.query.ms(node.length, positive=True)
        edge = node.selector.edge
        reach = self.query.lookback_ms if edge else 0
        first, last = int(ends[0]) - range_ms - reach + 1, int(ends[-1])
        columns = self._select(node.selector, first, last + (reach if edge is Edge.SMOOTHED else 0))
        self.query.budget.spend(len(columns.labels) * ends.size)
        windows = Windows(
            labels=list(columns.labels),
            ts=columns.ts,
            values=columns.values,
            offsets=columns.offsets,
            drop_name=np.zeros(len(columns.labels), np.bool_),
            ends=ends,
            range_ms=range_ms,
            edge=edge,
            reach_ms=reach,
            starts=columns.starts,
            histogram=columns.histogram,
            pool=columns.histograms,
        )
        gone = stale(columns.values)
        return only(windows, ~gone) if gone.any() else windows

    def _subquery(self, node: nodes.Subquery) -> Windows:
        ends = self.ends(node.when)
        range_ms = self.query.ms(node.length, positive=True)
        step = self.query.subquery_step_ms
        if node.step != 0:
            step = self.query.ms(node.step, positive=True)
        first = (int(ends[0]) - range_ms) // step * step + step
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
            range_ms=range_ms,
            histogram=None if inner.native is None else inner.native.rows[inner.present],
            pool=None if inner.native is None else forgotten(inner.native.pool),
        )

    def ends(self, when: nodes.When) -> Ints:
        """Return which time a selector looks at, at each step."""
        offset_ms = self.query.ms(when.offset)
        match when.at:
            case None:
                return self.times - offset_ms
            case nodes.Anchor.START:
                at = self.query.start_ms
            case nodes.Anchor.END:
                at = self.query.end_ms
            case int():
                at = when.at
        return np.full(self.times.size, at - offset_ms, np.int64)

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
            starts=None if columns.starts is None else kernels.own(columns.starts),
            histogram=None if columns.histogram is None else kernels.own(columns.histogram),
            histograms=None if columns.histograms is None else self._pool(columns),
        )

    def _pool(self, columns: Columns) -> Histograms:
        assert columns.histograms is not None
        assert columns.histogram is not None
        pool = owned(columns.histograms)
        self.query.budget.spend(pool.pos.size + pool.neg.size + pool.bounds.size)
        if not self.detects_resets:
            return pool
        histogram, offsets = kernels.own(columns.histogram), kernels.own(columns.offsets)
        return pool._replace(hint=hints(pool, histogram, offsets))
