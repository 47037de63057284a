"""A query's tree as text: on one line, or laid out where that would be too long."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from telemetry.promql import labels as lb
from telemetry.promql import nodes
from telemetry.promql.lex import quoted
from telemetry.promql.matchers import Matcher, MatchOp
from telemetry.promql.numbers import number


if TYPE_CHECKING:
    from collections.abc import Sequence

LINE_MAX = 100
"""A node longer than this many characters is laid out over several lines."""

_PLAIN = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_UNITS = (
    ("y", 31_536_000_000, True),
    ("w", 604_800_000, True),
    ("d", 86_400_000, False),
    ("h", 3_600_000, False),
    ("m", 60_000, False),
    ("s", 1_000, False),
    ("ms", 1, False),
)
"""Name, milliseconds, and whether the unit is used only where nothing is left over."""


def text(node: nodes.Node) -> str:
    """Return *node* on one line."""
    return _wrapped(node, _bare(node))


def pretty(node: nodes.Node, level: int = 0) -> str:
    """Return *node* with line breaks where it is too long, indented by *level*."""
    indent = "  " * level
    if len(text(node)) <= LINE_MAX:
        return indent + text(node)
    if node.parens:
        inner = _without_parens(node)
        return f"{indent}(\n{pretty(inner, level + 1)}\n{indent})"
    match node:
        case nodes.Aggregate():
            param = f"{pretty(node.param, level + 1)},\n" if node.param is not None else ""
            inner_text = pretty(node.expr, level + 1)
            return f"{indent}{_aggregation(node)}(\n{param}{inner_text}\n{indent})"
        case nodes.Binary():
            left, right = pretty(node.left, level + 1), pretty(node.right, level + 1)
            return f"{left}\n{indent}{_operator(node)}\n{right}"
        case nodes.Call():
            args = ",\n".join(pretty(arg, level + 1) for arg in node.args)
            return f"{indent}{node.name}(\n{args}\n{indent})"
        case nodes.Subquery():
            return pretty(node.expr, level) + _subquery(node)
        case nodes.Unary():
            return f"{indent}{node.op}{pretty(node.expr, level).strip()}"
    return indent + text(node)


def duration(ms: int) -> str:
    """Return milliseconds as `1h30m`."""
    if ms == 0:
        return "0s"
    out, rest = "-" if ms < 0 else "", abs(ms)
    for unit, size, exact in _UNITS:
        if exact and rest % size:
            continue
        if amount := rest // size:
            out += f"{amount}{unit}"
            rest -= amount * size
    return out


def _wrapped(node: nodes.Node | nodes.Length, inner: str) -> str:
    return "(" * node.parens + inner + ")" * node.parens


def _without_parens(node: nodes.Node) -> nodes.Node:
    return replace(node, parens=node.parens - 1)


def _bare(node: nodes.Node) -> str:
    match node:
        case nodes.Number():
            if node.is_duration:
                return duration(round(node.value * 1000))
            return number(node.value)
        case nodes.String():
            return quoted(node.value)
        case nodes.Selector():
            return _selector(node, "")
        case nodes.Range():
            return _selector(node.selector, f"[{_duration(node.length)}]")
        case nodes.Subquery():
            return text(node.expr) + _subquery(node)
        case nodes.Unary():
            return node.op + text(node.expr)
        case nodes.Call():
            return f"{node.name}({', '.join(text(arg) for arg in node.args)})"
        case nodes.Aggregate():
            param = f"{text(node.param)}, " if node.param is not None else ""
            return f"{_aggregation(node)}({param}{text(node.expr)})"
        case nodes.Binary():
            return f"{text(node.left)} {_operator(node)} {text(node.right)}"


def _aggregation(node: nodes.Aggregate) -> str:
    if node.without:
        return f"{node.op} without ({_names(node.names)}) "
    return f"{node.op} by ({_names(node.names)}) " if node.names else node.op


def _operator(node: nodes.Binary) -> str:
    rule = node.matching
    out = node.op + (" bool" if node.returns_bool else "")
    grouped = rule.card in (nodes.Card.MANY_TO_ONE, nodes.Card.ONE_TO_MANY)
    if rule.names or rule.on or grouped:
        out += f" {'on' if rule.on else 'ignoring'} ({_names(rule.names)})"
    if grouped:
        side = "left" if rule.card is nodes.Card.MANY_TO_ONE else "right"
        out += f" group_{side} ({_names(rule.include)})"
    if rule.fill_left is not None and rule.fill_left == rule.fill_right:
        return f"{out} fill ({number(rule.fill_left)})"
    if rule.fill_left is not None:
        out += f" fill_left ({number(rule.fill_left)})"
    if rule.fill_right is not None:
        out += f" fill_right ({number(rule.fill_right)})"
    return out


def _selector(node: nodes.Selector, length: str) -> str:
    groups = [
        ",".join(sorted(matcher(m) for m in group if not _is_name(m, node)))
        for group in node.selection
    ]
    inner = " or ".join(groups)
    out = node.name + (f"{{{inner}}}" if inner or not node.name else "") + length
    edge = f" {node.edge.value}" if node.edge else ""
    at, offset = _at(node.when), _offset(node.when)
    return f"{out}{edge}{at}{offset}" if length else f"{out}{at}{edge}{offset}"


def _is_name(m: Matcher, node: nodes.Selector) -> bool:
    return bool(node.name) and m == Matcher(lb.NAME, MatchOp.EQUAL, node.name)


def matcher(m: Matcher) -> str:
    """Return a matcher as it is written."""
    name = m.name if _PLAIN.fullmatch(m.name) else quoted(m.name)
    return f"{name}{m.op.value}{quoted(m.value)}"


def _names(names: Sequence[str]) -> str:
    return ", ".join(name if _PLAIN.fullmatch(name) else quoted(name) for name in names)


def _subquery(node: nodes.Subquery) -> str:
    step = _duration(node.step) if node.step != 0 else ""
    return f"[{_duration(node.length)}:{step}]{_at(node.when)}{_offset(node.when)}"


def _at(when: nodes.When) -> str:
    match when.at:
        case None:
            return ""
        case nodes.Anchor():
            return f" @ {when.at.value}()"
        case int():
            return f" @ {when.at / 1000:.3f}"


def _offset(when: nodes.When) -> str:
    return f" offset {_duration(when.offset)}" if when.offset != 0 else ""


def _duration(length: nodes.Duration | nodes.Number) -> str:
    if isinstance(length, int):
        return duration(length)
    if isinstance(length, nodes.Number):
        return _bare(length)
    return _wrapped(length, _length(length))


def _length(node: nodes.Length) -> str:
    left = _duration(node.left) if node.left is not None else ""
    right = _duration(node.right) if node.right is not None else ""
    match node.op:
        case "step" | "range":
            return f"{node.op}()"
        case "min_of" | "max_of":
            return f"{node.op}({left}, {right})"
        case "+" if not left:
            return right
        case "-" if not left:
            return f"-{right}"
    return f"{left} {node.op} {right}"
