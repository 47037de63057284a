"""Types: what each node of a query is, and whether it may stand where it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from telemetry.promql import lex, matchers, nodes
from telemetry.promql.binary import COMPARISON
from telemetry.promql.errors import bad_query
from telemetry.promql.functions.table import FUNCTIONS, Function
from telemetry.promql.grammar import SET_OPERATORS
from telemetry.promql.nodes import Edge, Kind, Node


if TYPE_CHECKING:
    from collections.abc import Mapping

_SAID = {
    Kind.SCALAR: "scalar",
    Kind.VECTOR: "instant vector",
    Kind.MATRIX: "range vector",
    Kind.STRING: "string",
}
_EDGES: Mapping[Edge, tuple[str, ...]] = {
    Edge.ANCHORED: ("changes", "delta", "increase", "rate", "resets"),
    Edge.SMOOTHED: ("delta", "increase", "rate"),
}
"""Which functions know the modifiers of range vectors."""


def check(text: str, node: Node) -> Kind:
    """
    Return what *node* is, having looked at everything in it.

    Raises:
        InvalidInput: QUERY_INVALID: Something stands where it may not.

    """
    match node:
        case nodes.Number():
            return Kind.SCALAR
        case nodes.String():
            return Kind.STRING
        case nodes.Selector():
            return _selector(text, node)
        case nodes.Range():
            _selector(text, node.selector)
            return Kind.MATRIX
        case nodes.Subquery():
            kind = check(text, node.expr)
            if kind is not Kind.VECTOR:
                raise lex.error(
                    text,
                    node.at,
                    f"subquery is only allowed on instant vector, got {kind.value} instead",
                )
            return Kind.MATRIX
        case nodes.Unary():
            kind = check(text, node.expr)
            if kind not in (Kind.SCALAR, Kind.VECTOR):
                raise lex.error(
                    text,
                    node.at,
                    "unary expression only allowed on expressions of type scalar or instant "
                    f'vector, got "{_SAID[kind]}"',
                )
            return kind
        case nodes.Call():
            return _call(text, node)
        case nodes.Aggregate():
            return _aggregate(text, node)
        case nodes.Binary():
            return _binary(text, node)


def _selector(text: str, node: nodes.Selector, *, may_be_empty: bool = False) -> Kind:
    matchers.check(node.selection)
    if not may_be_empty and not all(
        any(not matchers.matches([""], matcher)[0] for matcher in group) for group in node.selection
    ):
        why = "vector selector must contain at least one non-empty matcher"
        raise lex.error(text, node.at, why)
    return Kind.VECTOR


def _expect(text: str, node: Node, wanted: Kind, context: str) -> None:
    kind = check(text, node)
    if kind is not wanted:
        why = f"expected type {_SAID[wanted]} in {context}, got {_SAID[kind]}"
        raise lex.error(text, node.at, why)


def _aggregate(text: str, node: nodes.Aggregate) -> Kind:
    _expect(text, node.expr, Kind.VECTOR, "aggregation expression")
    if node.param is not None:
        wanted = Kind.STRING if node.op == "count_values" else Kind.SCALAR
        _expect(text, node.param, wanted, "aggregation parameter")
    return Kind.VECTOR


def _call(text: str, node: nodes.Call) -> Kind:
    function = FUNCTIONS.get(node.name)
    if function is None:
        why = f"unknown function with name {lex.quoted(node.name)}"
        raise lex.error(text, node.at, why)
    _count(text, node, function)
    if node.name == "info" and len(node.args) > 1:
        which = node.args[1]
        if not isinstance(which, nodes.Selector) or which.name or len(which.selection) != 1:
            raise lex.error(text, which.at, "expected label selectors only")
        _selector(text, which, may_be_empty=True)
        return check(text, node.args[0])
    for i, arg in enumerate(node.args):
        wanted = function.takes[min(i, len(function.takes) - 1)]
        kind = check(text, arg)
        if kind is not wanted:
            raise lex.error(
                text,
                arg.at,
                f"expected type {_SAID[wanted]} in call to function {lex.quoted(node.name)}, "
                f"got {_SAID[kind]}",
            )
        if isinstance(arg, nodes.Range) and arg.selector.edge is not None:
            allowed = _EDGES[arg.selector.edge]
            if node.name not in allowed:
                raise bad_query(
                    f"{arg.selector.edge.value} modifier can only be used with: "
                    f"{', '.join(allowed)} - not with {node.name}"
                )
    return function.returns


def _count(text: str, node: nodes.Call, function: Function) -> None:
    given, known = len(node.args), len(function.takes)
    least = known if function.variadic == 0 else known - 1
    most = least + function.variadic if function.variadic >= 0 else given
    if least <= given <= most:
        return
    bound = "" if function.variadic == 0 else "at least " if given < least else "at most "
    raise lex.error(
        text,
        node.at,
        f"expected {bound}{least if given < least else most} argument(s) in call to "
        f"{lex.quoted(node.name)}, got {given}",
    )


def _binary(text: str, node: nodes.Binary) -> Kind:
    left, right = check(text, node.left), check(text, node.right)
    at, matching = node.op_at, node.matching
    scalars = (left, right) == (Kind.SCALAR, Kind.SCALAR)
    for side, kind in ((node.left, left), (node.right, right)):
        if kind not in (Kind.SCALAR, Kind.VECTOR):
            why = "binary expression must contain only scalar and instant vector types"
            raise lex.error(text, side.at, why)
    if node.returns_bool and node.op not in COMPARISON:
        raise lex.error(text, at, "bool modifier can only be used on comparison operators")
    if scalars and node.op in COMPARISON and not node.returns_bool:
        raise lex.error(text, at, "comparisons between scalars must use BOOL modifier")
    for name in matching.names:
        if matching.on and name in matching.include:
            why = f"label {lex.quoted(name)} must not occur in ON and GROUP clause at once"
            raise lex.error(text, at, why)
    filled = matching.fill_left is not None or matching.fill_right is not None
    if (left, right) != (Kind.VECTOR, Kind.VECTOR):
        if node.op in SET_OPERATORS:
            why = f"set operator {lex.quoted(node.op)} not allowed in binary scalar expression"
            raise lex.error(text, node.at, why)
        if matching.names:
            raise lex.error(text, node.at, "vector matching only allowed between instant vectors")
        if filled:
            why = "filling in missing series only allowed between instant vectors"
            raise lex.error(text, node.at, why)
    elif node.op in SET_OPERATORS:
        if matching.card is not nodes.Card.MANY_TO_MANY:
            raise lex.error(
                text, node.at, f"no grouping allowed for {lex.quoted(node.op)} operation"
            )
        if filled:
            raise lex.error(
                text, node.at, "filling in missing series not allowed for set operators"
            )
    return Kind.SCALAR if scalars else Kind.VECTOR
