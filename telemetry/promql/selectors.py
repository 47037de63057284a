"""Selectors: a metric's name, and matchers in braces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from telemetry.promql import labels as lb
from telemetry.promql import lex, nodes
from telemetry.promql import matchers as ms
from telemetry.promql.lex import Type


if TYPE_CHECKING:
    from telemetry.promql.cursor import Cursor


def read(cursor: Cursor) -> nodes.Selector:
    """
    Read a selector.

    Raises:
        InvalidInput: QUERY_INVALID: It isn't one.

    """
    token = cursor.next
    name = ""
    if token.type is Type.WORD:
        name = cursor.take().text
    groups: list[tuple[ms.Matcher, ...]] = []
    if cursor.accept("{"):
        groups = _alternatives(cursor)
    named = (ms.Matcher(lb.NAME, ms.MatchOp.EQUAL, name),) if name else ()
    for matcher in (m for group in groups for m in group):
        if name and matcher.name == lb.NAME:
            first, second = lex.quoted(name), lex.quoted(matcher.value)
            why = f"metric name must not be set twice: {first} or {second}"
            raise cursor.error(token.at, why)
    selection = tuple(named + group for group in groups or [()])
    return nodes.Selector(selection, nodes.When(), name=name, at=token.at)


def _alternatives(cursor: Cursor) -> list[tuple[ms.Matcher, ...]]:
    """Read matchers; `or` between them, which Prometheus doesn't have, parts alternatives."""
    groups: list[tuple[ms.Matcher, ...]] = []
    group: list[ms.Matcher] = []
    while not cursor.is_sign("}"):
        group.append(_matcher(cursor))
        if cursor.is_word("or"):
            cursor.take()
            groups.append(tuple(group))
            group = []
        elif not cursor.accept(","):
            break
    if groups and not group:
        raise cursor.unexpected("label matching", "identifier")
    cursor.expect("}", "label matching", '"," or "}"')
    return [*groups, tuple(group)]


def _matcher(cursor: Cursor) -> ms.Matcher:
    token = cursor.next
    if token.type not in (Type.WORD, Type.STRING):
        raise cursor.unexpected("label matching", 'identifier or "}"')
    cursor.take()
    name = lex.unquoted(cursor.text, token) if token.type is Type.STRING else token.text
    if not lex.is_valid(name) or not name:
        raise cursor.error(token.at, f"invalid label name: {lex.quoted(name)}")
    ops = {op.value: op for op in ms.MatchOp}
    if not cursor.is_sign(*ops):
        if token.type is Type.STRING:
            return ms.Matcher(lb.NAME, ms.MatchOp.EQUAL, name)
        raise cursor.unexpected("label matching", "label matching operator")
    op = ops[cursor.take().text]
    literal = cursor.next
    if literal.type is not Type.STRING:
        raise cursor.unexpected("label matching", "string")
    cursor.take()
    value = lex.unquoted(cursor.text, literal)
    if not lex.is_valid(value):
        raise cursor.error(literal.at, f"no UTF-8: {lex.quoted(value)}")
    return ms.Matcher(name, op, value)
