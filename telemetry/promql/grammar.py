"""PromQL's grammar: operators by their power to bind, the rest by descent."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from telemetry.promql import durations, lex, nodes, selectors
from telemetry.promql.lex import Type


if TYPE_CHECKING:
    from telemetry.promql.cursor import Cursor

POWERS = {
    "or": 1,
    "and": 2,
    "unless": 2,
    "==": 3,
    "!=": 3,
    "<": 3,
    "<=": 3,
    ">": 3,
    ">=": 3,
    "</": 3,
    ">/": 3,
    "+": 4,
    "-": 4,
    "*": 5,
    "/": 5,
    "%": 5,
    "atan2": 5,
    "^": 6,
}
"""How strong each operator binds; all but `^` from the left."""

SET_OPERATORS = frozenset({"and", "or", "unless"})
_SIGN_POWER = 5
_NO_METRICS = frozenset(["atan2", "bool", "group_left", "group_right", "ignoring", "on"])
"""Keywords that can't name a metric outside braces."""

_NO_LABELS = frozenset({"without"})
_LONGEST_S = float(1 << 63)


def expression(cursor: Cursor, power: int = 0) -> nodes.Node:
    """
    Read an expression whose operators bind stronger than *power*.

    Raises:
        InvalidInput: QUERY_INVALID: The text isn't PromQL.

    """
    left = _with_modifiers(cursor, _prefix(cursor))
    while (op := _operator(cursor)) and POWERS[op] > power:
        op_at = cursor.take().at
        returns_bool, matching = _modifiers(cursor)
        if op in SET_OPERATORS and matching.card is nodes.Card.ONE_TO_ONE:
            matching = replace(matching, card=nodes.Card.MANY_TO_MANY)
        right = expression(cursor, POWERS[op] - 1 if op == "^" else POWERS[op])
        left = nodes.Binary(
            op=op,
            left=left,
            right=right,
            returns_bool=returns_bool,
            matching=matching,
            at=left.at,
            op_at=op_at,
        )
    return left


def _operator(cursor: Cursor) -> str:
    token = cursor.next
    if token.type is Type.SIGN:
        return token.text if token.text in POWERS else ""
    word = token.text.lower()
    return word if token.type is Type.WORD and word in POWERS else ""


def _prefix(cursor: Cursor) -> nodes.Node:
    token = cursor.next
    match token.type:
        case Type.NUMBER | Type.DURATION:
            value = cursor.number()
            return nodes.Number(value, is_duration=token.type is Type.DURATION, at=token.at)
        case Type.STRING:
            cursor.take()
            return nodes.String(lex.unquoted(cursor.text, token), at=token.at)
        case Type.WORD:
            return _word(cursor)
    if cursor.is_sign("+", "-"):
        cursor.take()
        operand = expression(cursor, _SIGN_POWER)
        if isinstance(operand, nodes.Number) and not operand.parens:
            value = -operand.value if token.text == "-" else operand.value
            return replace(operand, value=value, at=token.at)
        return nodes.Unary(token.text, operand, at=token.at)
    if cursor.accept("("):
        inner = expression(cursor)
        cursor.expect(")", "", "")
        return replace(inner, at=token.at, parens=inner.parens + 1)
    if cursor.is_sign("{"):
        return selectors.read(cursor)
    if token.type is Type.END and cursor.position == 0:
        raise cursor.error(token.at, "no expression found in input")
    raise cursor.unexpected()


def _word(cursor: Cursor) -> nodes.Node:
    token = cursor.next
    word = token.text.lower()
    after = cursor.after()
    called = after.type is Type.SIGN and after.text == "("
    grouped = after.type is Type.WORD and after.text.lower() in ("by", "without")
    if word in lex.AGGREGATORS and (called or grouped):
        return _aggregation(cursor)
    if called and word not in lex.KEYWORDS - lex.AGGREGATORS - _CALLED:
        return _call(cursor)
    if word in _NO_METRICS:
        raise cursor.unexpected()
    return selectors.read(cursor)


_CALLED = frozenset(["start", "end", "step", "range", "max_of", "min_of"])


def _call(cursor: Cursor) -> nodes.Node:
    name = cursor.take()
    text = name.text.lower() if name.text.lower() in _CALLED else name.text
    return nodes.Call(text, _arguments(cursor), at=name.at)


def _arguments(cursor: Cursor) -> tuple[nodes.Node, ...]:
    cursor.expect("(", "")
    found: list[nodes.Node] = []
    while not cursor.is_sign(")"):
        found.append(expression(cursor))
        if not cursor.is_sign(","):
            break
        comma = cursor.take()
        if cursor.is_sign(")"):
            raise cursor.error(comma.at, "trailing commas not allowed in function call args")
    if not cursor.accept(")"):
        raise cursor.unexpected()
    return tuple(found)


def _aggregation(cursor: Cursor) -> nodes.Node:
    name = cursor.take()
    op = name.text.lower()
    grouping = _grouping(cursor)
    args = _arguments(cursor)
    if grouping is None:
        grouping = _grouping(cursor)
    names, without = grouping or ((), False)
    wanted = 2 if op in lex.WITH_PARAMETER else 1
    if not args:
        raise cursor.error(name.at, "no arguments for aggregate expression provided")
    if len(args) != wanted:
        raise cursor.error(
            name.at,
            "wrong number of arguments for aggregate expression provided, "
            f"expected {wanted}, got {len(args)}",
        )
    return nodes.Aggregate(
        op, args[-1], args[0] if wanted == 2 else None, names, without, at=name.at
    )


def _grouping(cursor: Cursor) -> tuple[tuple[str, ...], bool] | None:
    if not cursor.is_word("by", "without"):
        return None
    without = cursor.take().text.lower() == "without"
    return _names(cursor), without


def _names(cursor: Cursor) -> tuple[str, ...]:
    cursor.expect("(", "grouping opts")
    found: list[str] = []
    while not cursor.is_sign(")"):
        token = cursor.take()
        if token.type is Type.STRING:
            name = lex.unquoted(cursor.text, token)
            if not name or not lex.is_valid(name):
                why = f"invalid label name for grouping: {lex.quoted(name)}"
                raise cursor.error(token.at, why)
        elif (token.type is Type.WORD and ":" not in token.text) or (
            token.type is Type.NUMBER and token.text.isalpha()
        ):
            name = token.text
        else:
            cursor.position -= token.type is not Type.END
            raise cursor.unexpected("grouping opts", "label")
        found.append(name)
        if not cursor.accept(","):
            break
    cursor.expect(")", "grouping opts", '"," or ")"')
    return tuple(found)


def _modifiers(cursor: Cursor) -> tuple[bool, nodes.Matching]:
    returns_bool = cursor.is_word("bool")
    if returns_bool:
        cursor.take()
    matching = nodes.Matching()
    if cursor.is_word("on", "ignoring"):
        on = cursor.take().text.lower() == "on"
        matching = replace(matching, on=on, names=_names(cursor))
        if cursor.is_word("group_left", "group_right"):
            left = cursor.take().text.lower() == "group_left"
            card = nodes.Card.MANY_TO_ONE if left else nodes.Card.ONE_TO_MANY
            include = _names(cursor) if cursor.is_sign("(") else ()
            matching = replace(matching, card=card, include=include)
    while cursor.is_word("fill", "fill_left", "fill_right") and cursor.after().text == "(":
        side = cursor.take().text.lower()
        value = _fill_value(cursor)
        if side != "fill_right":
            matching = replace(matching, fill_left=value)
        if side != "fill_left":
            matching = replace(matching, fill_right=value)
    return returns_bool, matching


def _fill_value(cursor: Cursor) -> float:
    cursor.expect("(", "fill")
    value = _signed_number(cursor, "fill", "number")
    cursor.expect(")", "fill")
    return value


def _signed_number(cursor: Cursor, context: str, expected: str) -> float:
    negative = cursor.is_sign("-")
    if cursor.is_sign("+", "-"):
        cursor.take()
    if cursor.next.type not in (Type.NUMBER, Type.DURATION):
        raise cursor.unexpected(context, expected)
    value = cursor.number()
    return -value if negative else value


def _with_modifiers(cursor: Cursor, node: nodes.Node) -> nodes.Node:
    """Read what stands behind *node*: ranges, `@`, `offset`, `anchored` and `smoothed`."""
    while True:
        if cursor.is_sign("["):
            node = _bracket(cursor, node)
        elif cursor.is_sign("@"):
            cursor.take()
            node = _at(cursor, node)
        elif cursor.is_word("offset"):
            cursor.take()
            offset = durations.read_offset(cursor)
            when = _when(cursor, node, "offset modifier")
            if when.offset != 0:
                raise cursor.error(node.at, "offset may not be set multiple times")
            node = _moved(node, replace(when, offset=offset))
        elif cursor.is_word("anchored", "smoothed"):
            node = _edged(cursor, node, nodes.Edge(cursor.take().text.lower()))
        else:
            return node


def _bracket(cursor: Cursor, node: nodes.Node) -> nodes.Node:
    bracket = cursor.take()
    start = "number, duration, step(), or range()"
    length = durations.read(cursor, start, "subquery or range selector")
    if cursor.accept(":"):
        step: nodes.Duration = 0
        if not cursor.is_sign("]"):
            step = durations.read(
                cursor, 'number, duration, step(), range(), or "]"', "subquery selector"
            )
        cursor.expect("]", "subquery selector")
        return nodes.Subquery(node, length, step, nodes.When(), at=node.at)
    cursor.expect("]", "subquery or range", '":" or "]"')
    if not isinstance(node, nodes.Selector) or node.parens:
        raise cursor.error(bracket.at, "ranges only allowed for vector selectors")
    if node.when.offset != 0:
        raise cursor.error(bracket.at, "no offset modifiers allowed before range")
    if node.when.at is not None:
        raise cursor.error(bracket.at, "no @ modifiers allowed before range")
    return nodes.Range(node, length, at=node.at)


def _when(cursor: Cursor, node: nodes.Node, what: str) -> nodes.When:
    if not node.parens:
        if isinstance(node, nodes.Range):
            return node.selector.when
        if isinstance(node, nodes.Selector | nodes.Subquery):
            return node.when
    raise cursor.error(
        node.at,
        f"{what} must be preceded by an instant vector selector or range vector selector or a "
        "subquery",
    )


def _moved(node: nodes.Node, when: nodes.When) -> nodes.Node:
    if isinstance(node, nodes.Range):
        return replace(node, selector=replace(node.selector, when=when))
    assert isinstance(node, nodes.Selector | nodes.Subquery)
    return replace(node, when=when)


def _at(cursor: Cursor, node: nodes.Node) -> nodes.Node:
    at: int | nodes.Anchor
    if cursor.is_word("start", "end") and cursor.after().text == "(":
        at = nodes.Anchor(cursor.take().text.lower())
        cursor.expect("(", "@")
        cursor.expect(")", "@")
    else:
        seconds = _signed_number(cursor, "@", "timestamp")
        if not abs(seconds) < _LONGEST_S:
            why = f"timestamp out of bounds for @ modifier: {seconds:f}"
            raise cursor.error(node.at, why)
        at = math.floor(seconds * 1000 + 0.5) if seconds >= 0 else -math.floor(0.5 - seconds * 1000)
    when = _when(cursor, node, "@ modifier")
    if when.at is not None:
        raise cursor.error(node.at, "@ <timestamp> may not be set multiple times")
    return _moved(node, replace(when, at=at))


def _edged(cursor: Cursor, node: nodes.Node, edge: nodes.Edge) -> nodes.Node:
    selector = node.selector if isinstance(node, nodes.Range) else node
    if isinstance(node, nodes.Subquery):
        raise cursor.error(node.at, f"{edge.value} modifier is not supported for subqueries")
    if not isinstance(selector, nodes.Selector):
        raise cursor.error(node.at, f"{edge.value} modifier not implemented")
    if selector.edge not in (None, edge):
        why = "anchored and smoothed modifiers cannot be used together"
        raise cursor.error(node.at, why)
    selector = replace(selector, edge=edge)
    return replace(node, selector=selector) if isinstance(node, nodes.Range) else selector
