"""A query's text to nodes. `promql-parser` reads it; this translates and checks."""

from __future__ import annotations

import functools
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import promql_parser as pp

from telemetry.promql import labels as lb
from telemetry.promql import matchers, nodes
from telemetry.promql.errors import bad_query
from telemetry.promql.limits import QueryLimits
from telemetry.promql.matchers import Matcher, MatchOp


SET_OPERATORS = frozenset({"and", "or", "unless"})
_MILLISECOND = timedelta(milliseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LITERAL = re.compile(r"#[^\n]*|\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|`[^`]*`", re.DOTALL)
_OPERATOR = re.compile(r"[-+*/%^<>]|[=!]=|\b(?:and|or|unless|atan2)\b", re.IGNORECASE)
_BEFORE_1970 = re.compile(r"@\s*-\s*[0-9]")


def parse(text: str, limits: QueryLimits) -> nodes.Node:
    """
    Return the tree of a query.

    Raises:
        InvalidInput: QUERY_INVALID: The text isn't PromQL, or has a part that isn't supported.

    """
    if len(text.encode()) > limits.text_bytes_max:
        raise bad_query("The query is too long.", text_bytes_max=str(limits.text_bytes_max))
    _check_shape(text, limits)
    return _parse(text)


def parse_selector(text: str, limits: QueryLimits) -> matchers.Selection:
    """
    Return which series a selector such as `up{job="edge"}` means.

    Raises:
        InvalidInput: QUERY_INVALID: The text is anything else.

    """
    node = parse(text, limits)
    if not isinstance(node, nodes.Selector) or node.when != nodes.When():
        raise bad_query('expected a series selector such as up{job="edge"}')
    return node.selection


def pretty(text: str, limits: QueryLimits) -> str:
    """
    Return a query's text laid out for reading.

    Raises:
        InvalidInput: QUERY_INVALID: The text isn't PromQL.

    """
    parse(text, limits)
    return str(pp.parse(text).prettify())


@functools.lru_cache(maxsize=1024)
def _parse(text: str) -> nodes.Node:
    if _BEFORE_1970.search(_LITERAL.sub("", text)):
        # promql-parser can't hand out such a time: it panics.
        raise bad_query("Times before 1970 aren't supported in @.")
    try:
        return _node(pp.parse(text))
    except ValueError as error:
        raise bad_query(f"invalid query: {error}") from error
    except RecursionError as error:
        raise bad_query("The query nests too deep.") from error
    except BaseException as error:
        # A panic of the parser's is no Exception; it says nothing that a user could use.
        if type(error).__name__ != "PanicException":
            raise
        raise bad_query("The query can't be read.") from error


def _check_shape(text: str, limits: QueryLimits) -> None:
    """Refuse, before parsing, what would overflow the stack of the parser and end the process."""
    bare = _LITERAL.sub("", text)
    if len(_OPERATOR.findall(bare)) > limits.operators_max:
        raise bad_query(
            "The query has too many operators.", operators_max=str(limits.operators_max)
        )
    depth = deepest = 0
    for char in bare:
        if char in "([{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in ")]}":
            depth -= 1
    if deepest > limits.depth_max:
        raise bad_query("The query nests too deep.", depth_max=str(limits.depth_max))


def _node(tree: Any) -> nodes.Node:
    match tree:
        case pp.ParenExpr():
            return _node(tree.expr)
        case pp.NumberLiteral():
            return nodes.Number(float(tree.val))
        case pp.StringLiteral():
            return nodes.String(str(tree.val))
        case pp.UnaryExpr():
            return nodes.Negate(_node(tree.expr))
        case pp.VectorSelector():
            return _selector(tree)
        case pp.MatrixSelector():
            return nodes.Range(_selector(tree.vector_selector), _ms(tree.range))
        case pp.SubqueryExpr():
            step_ms = _ms(tree.step) if tree.step is not None else 0
            return nodes.Subquery(_node(tree.expr), _ms(tree.range), step_ms, _when(tree))
        case pp.Call():
            return nodes.Call(str(tree.func.name), tuple(_node(arg) for arg in tree.args))
        case pp.AggregateExpr():
            return _aggregate(tree)
        case pp.BinaryExpr():
            return _binary(tree)
    raise bad_query(f"{type(tree).__name__} isn't supported")


def _selector(tree: Any) -> nodes.Selector:
    named = (Matcher(lb.NAME, MatchOp.EQUAL, tree.name),) if tree.name else ()
    groups = tree.matchers.or_matchers or [tree.matchers.matchers]
    selection = tuple(
        named + tuple(Matcher(m.name, _match_op(m.op), m.value) for m in group) for group in groups
    )
    matchers.check(selection)
    return nodes.Selector(selection, _when(tree))


def _match_op(op: Any) -> MatchOp:
    if op == pp.MatchOp.Equal:
        return MatchOp.EQUAL
    if op == pp.MatchOp.NotEqual:
        return MatchOp.NOT_EQUAL
    return MatchOp.REGEX if op == pp.MatchOp.Re else MatchOp.NOT_REGEX


def _when(tree: Any) -> nodes.When:
    at: int | nodes.Anchor | None = None
    if tree.at is not None:
        if tree.at.type == pp.AtModifierType.Start:
            at = nodes.Anchor.START
        elif tree.at.type == pp.AtModifierType.End:
            at = nodes.Anchor.END
        else:
            at = (tree.at.at - _EPOCH) // _MILLISECOND
    return nodes.When(offset_ms=_ms(tree.offset) if tree.offset is not None else 0, at=at)


def _aggregate(tree: Any) -> nodes.Aggregate:
    modifier = tree.modifier
    return nodes.Aggregate(
        str(tree.op),
        _node(tree.expr),
        _node(tree.param) if tree.param is not None else None,
        frozenset(modifier.labels) if modifier is not None else frozenset(),
        modifier is not None and modifier.type == pp.AggModifierType.Without,
    )


def _binary(tree: Any) -> nodes.Binary:
    modifier = tree.modifier
    op = str(tree.op)
    card = nodes.Card.MANY_TO_MANY if op in SET_OPERATORS else nodes.Card.ONE_TO_ONE
    matching = nodes.Matching(
        card=card, on=False, names=frozenset(), include=(), fill_left=None, fill_right=None
    )
    if modifier is not None:
        if modifier.card == pp.VectorMatchCardinality.ManyToOne:
            card = nodes.Card.MANY_TO_ONE
        elif modifier.card == pp.VectorMatchCardinality.OneToMany:
            card = nodes.Card.ONE_TO_MANY
        by = modifier.matching
        fill = modifier.fill_values
        matching = nodes.Matching(
            card=card,
            on=by is not None and by.type == pp.LabelModifierType.Include,
            names=frozenset(by.labels) if by is not None else frozenset(),
            include=tuple(modifier.group_labels or ()),
            fill_left=fill.lhs if fill is not None else None,
            fill_right=fill.rhs if fill is not None else None,
        )
    return nodes.Binary(
        op=op,
        left=_node(tree.lhs),
        right=_node(tree.rhs),
        returns_bool=modifier is not None and modifier.return_bool,
        matching=matching,
    )


def _ms(duration: timedelta | None) -> int:
    if duration is None:
        raise bad_query("a duration is missing")
    return duration // _MILLISECOND
