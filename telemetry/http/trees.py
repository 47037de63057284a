"""A query's tree as Prometheus's `parse_query` gives it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from telemetry.promql import nodes
from telemetry.promql.functions.table import FUNCTIONS
from telemetry.promql.numbers import number


if TYPE_CHECKING:
    from telemetry.promql.matchers import Selection


def tree(node: nodes.Node | None) -> Any:
    """Return *node* as JSON has it."""
    if node is not None and node.parens:
        return {"type": "parenExpr", "expr": tree(replace(node, parens=node.parens - 1))}
    match node:
        case None:
            return None
        case nodes.Number():
            return {"type": "numberLiteral", "val": number(node.value)}
        case nodes.String():
            return {"type": "stringLiteral", "val": node.value}
        case nodes.Selector():
            return {"type": "vectorSelector", **_selector(node)}
        case nodes.Range():
            return {"type": "matrixSelector", **_selector(node.selector), **_range(node.length)}
        case nodes.Subquery():
            return {
                "type": "subquery",
                "expr": tree(node.expr),
                **_range(node.length),
                **_when(node.when),
                "step": node.step if isinstance(node.step, int) else 0,
                "stepExpr": None if isinstance(node.step, int) else _length(node.step),
            }
        case nodes.Unary():
            return {"type": "unaryExpr", "op": node.op, "expr": tree(node.expr)}
        case nodes.Call():
            return _call(node)
        case nodes.Aggregate():
            return {
                "type": "aggregation",
                "op": node.op,
                "expr": tree(node.expr),
                "param": tree(node.param),
                "grouping": list(node.names),
                "without": node.without,
            }
        case nodes.Binary():
            return {
                "type": "binaryExpr",
                "op": node.op,
                "lhs": tree(node.left),
                "rhs": tree(node.right),
                "matching": _matching(node),
                "bool": node.returns_bool,
            }


def _call(node: nodes.Call) -> Any:
    function = FUNCTIONS[node.name]
    return {
        "type": "call",
        "func": {
            "name": node.name,
            "argTypes": [kind.value for kind in function.takes],
            "variadic": function.variadic,
            "returnType": function.returns.value,
        },
        "args": [tree(arg) for arg in node.args],
    }


def _matching(node: nodes.Binary) -> Any:
    if any(_is_scalar(side) for side in (node.left, node.right)):
        return None
    rule = node.matching
    return {
        "card": rule.card.value,
        "labels": list(rule.names),
        "on": rule.on,
        "include": list(rule.include),
        "fillValues": {"lhs": rule.fill_left, "rhs": rule.fill_right},
    }


def _is_scalar(node: nodes.Node) -> bool:
    match node:
        case nodes.Number():
            return True
        case nodes.Unary():
            return _is_scalar(node.expr)
        case nodes.Call():
            return FUNCTIONS[node.name].returns is nodes.Kind.SCALAR
        case nodes.Binary():
            return _is_scalar(node.left) and _is_scalar(node.right)
    return False


def _selector(node: nodes.Selector) -> dict[str, Any]:
    return {
        "name": node.name,
        "matchers": _matchers(node.selection),
        **_when(node.when),
        "anchored": node.edge is nodes.Edge.ANCHORED,
        "smoothed": node.edge is nodes.Edge.SMOOTHED,
    }


def _matchers(selection: Selection) -> list[dict[str, str]]:
    """Return the matchers; of alternatives, which Prometheus doesn't have, all."""
    return [
        {"name": m.name, "value": m.value, "type": m.op.value} for group in selection for m in group
    ]


def _range(length: nodes.Duration) -> dict[str, Any]:
    known = isinstance(length, int)
    return {"range": length if known else 0, "rangeExpr": None if known else _length(length)}


def _when(when: nodes.When) -> dict[str, Any]:
    known = isinstance(when.offset, int)
    return {
        "offset": when.offset if known else 0,
        "offsetExpr": None if known else _length(when.offset),
        "timestamp": when.at if isinstance(when.at, int) else None,
        "startOrEnd": when.at.value if isinstance(when.at, nodes.Anchor) else None,
    }


def _length(node: nodes.Duration | nodes.Number | None) -> Any:
    match node:
        case None:
            return None
        case nodes.Number():
            return {
                "type": "numberLiteral",
                "val": number(node.value),
                "duration": node.is_duration,
            }
        case nodes.Length():
            return {
                "type": "durationExpr",
                "op": node.op,
                "lhs": _length(node.left),
                "rhs": _length(node.right),
                "wrapped": node.parens > 0,
            }
    return node
