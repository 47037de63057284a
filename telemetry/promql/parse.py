"""A query's text to its tree, checked."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from telemetry.promql import nodes
from telemetry.promql.check import check
from telemetry.promql.cursor import Cursor
from telemetry.promql.errors import bad_query
from telemetry.promql.grammar import POWERS, expression
from telemetry.promql.lex import Token, Type, tokens


if TYPE_CHECKING:
    from telemetry.promql import matchers
    from telemetry.promql.limits import QueryLimits


def parse(text: str, limits: QueryLimits) -> nodes.Node:
    """
    Return the tree of a query.

    Raises:
        InvalidInput: QUERY_INVALID: The text isn't PromQL; the message begins with line and
            column.

    """
    if len(text.encode(errors="replace")) > limits.text_bytes_max:
        raise bad_query("The query is too long.", text_bytes_max=str(limits.text_bytes_max))
    return _parse(text, limits.operators_max, limits.depth_max)


def parse_selector(text: str, limits: QueryLimits) -> matchers.Selection:
    """
    Return which series a selector such as `up{job="edge"}` means.

    Raises:
        InvalidInput: QUERY_INVALID: The text is anything else.

    """
    node = parse(text, limits)
    if (
        not isinstance(node, nodes.Selector)
        or node.when != nodes.When()
        or node.edge
        or node.parens
    ):
        raise bad_query('expected a series selector such as up{job="edge"}')
    return node.selection


def selectors(node: nodes.Node) -> list[matchers.Selection]:
    """Return what all selectors in a query mean, in their order."""
    match node:
        case nodes.Selector():
            return [node.selection]
        case nodes.Range():
            return [node.selector.selection]
        case nodes.Subquery() | nodes.Unary():
            return selectors(node.expr)
        case nodes.Call():
            return [found for arg in node.args for found in selectors(arg)]
        case nodes.Aggregate():
            return (selectors(node.param) if node.param else []) + selectors(node.expr)
        case nodes.Binary():
            return selectors(node.left) + selectors(node.right)
        case _:
            return []


@functools.lru_cache(maxsize=1024)
def _parse(text: str, operators_max: int, depth_max: int) -> nodes.Node:
    found = tokens(text)
    _check_shape(found, operators_max, depth_max)
    cursor = Cursor(text, found)
    try:
        node = expression(cursor)
        if cursor.next.type is not Type.END:
            raise cursor.unexpected()
        check(text, node)
    except RecursionError as error:
        raise bad_query("The query nests too deep.") from error
    return node


def _check_shape(found: list[Token], operators_max: int, depth_max: int) -> None:
    """Refuse what would take the stack too deep: parsing and evaluation recurse."""
    if sum(token.text.lower() in POWERS for token in found) > operators_max:
        raise bad_query("The query has too many operators.", operators_max=str(operators_max))
    depth = deepest = 0
    for token in found:
        if token.type is Type.SIGN and token.text in "([{":
            depth += 1
            deepest = max(deepest, depth)
        elif token.type is Type.SIGN and token.text in ")]}":
            depth -= 1
    if deepest > depth_max:
        raise bad_query("The query nests too deep.", depth_max=str(depth_max))
