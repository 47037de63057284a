"""What most alerts look like: a simple expression, compared with a number. Pure."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from telemetry.promql import nodes


if TYPE_CHECKING:
    from telemetry.promql.matchers import Selection

_SWAPPED = {">": "<", "<": ">", ">=": "<=", "<=": ">=", "==": "==", "!=": "!="}
_COMPARE = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}
_RATES = frozenset({"rate", "increase", "delta"})
_FOLDS = frozenset({"sum", "avg", "min", "max"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """`[fold by (...)] ([rate] (selector[range])) op limit`."""

    selection: Selection
    rate: str
    """`rate`, `increase`, `delta`; empty: the newest samples."""

    range_ms: int
    fold: str
    """`sum`, `avg`, `min`, `max`; empty: each series for itself."""

    op: str
    limit: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """`series op limit`."""

    series: nodes.Node
    op: str
    limit: float

    def holds(self, value: float) -> bool:
        """Whether *value* satisfies it."""
        return bool(_COMPARE[self.op](value, self.limit))


def comparison_of(node: nodes.Node) -> Comparison | None:
    """Return how *node* compares series with a number; None if it does not."""
    if not isinstance(node, nodes.Binary) or node.op not in _SWAPPED or node.returns_bool:
        return None
    left, right, op = node.left, node.right, node.op
    limit = _number(right)
    if limit is None:
        left, limit, op = right, _number(node.left), _SWAPPED[op]
    if limit is None or limit != limit:  # noqa: PLR0124 - a NaN is never itself
        return None
    return Comparison(series=left, op=op, limit=limit)


def shape_of(node: nodes.Node) -> Shape | None:
    """Return the shape of *node*; None if it has another."""
    compared = comparison_of(node)
    if compared is None:
        return None
    left, op, limit = compared.series, compared.op, compared.limit
    fold = ""
    if isinstance(left, nodes.Aggregate):
        if left.op not in _FOLDS or left.param is not None:
            return None
        fold, left = left.op, left.expr
    rate, range_ms = "", 0
    if isinstance(left, nodes.Call):
        inner = left.args[0] if left.name in _RATES else None
        if not isinstance(inner, nodes.Range) or not isinstance(inner.length, int):
            return None
        rate, range_ms, left = left.name, inner.length, inner.selector
    if not isinstance(left, nodes.Selector) or left.when != nodes.When() or left.edge is not None:
        return None
    return Shape(
        selection=left.selection, rate=rate, range_ms=range_ms, fold=fold, op=op, limit=limit
    )


def may_hold(shape: Shape, low: float, high: float) -> bool:
    """Whether any value from *low* to *high* can satisfy the comparison."""
    limit = shape.limit
    match shape.op:
        case ">":
            return high > limit
        case ">=":
            return high >= limit
        case "<":
            return low < limit
        case "<=":
            return low <= limit
        case "==":
            return low <= limit <= high
    return not low == high == limit


def _number(node: nodes.Node) -> float | None:
    if isinstance(node, nodes.Number):
        return node.value
    if isinstance(node, nodes.Unary) and isinstance(node.expr, nodes.Number):
        return -node.expr.value if node.op == "-" else node.expr.value
    return None
