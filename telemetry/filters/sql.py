"""A filter as a condition in SQL. Every text of its goes through `quote`. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from telemetry.filters.fields import Type
from telemetry.filters.model import Comparison, Every, Line, LineOp, Op, Some
from telemetry.store.engine import quote
from telemetry.store.values import stored_forms


if TYPE_CHECKING:
    from telemetry.filters.fields import Vocabulary
    from telemetry.filters.model import Filter

RECORD, RESOURCE = "attributes.", "resource."
"""Prefixes of names that say where the attribute is, whatever else has that name."""


def condition(one: Filter, vocabulary: Vocabulary) -> str:
    """Return the SQL that is 1 for the rows that *one* lets through."""
    match one:
        case Every(parts):
            return _joined(" AND ", [condition(part, vocabulary) for part in parts]) or "1"
        case Some(parts):
            return _joined(" OR ", [condition(part, vocabulary) for part in parts]) or "0"
        case Line():
            return _line(one, vocabulary.body)
        case Comparison():
            return _comparison(one, vocabulary)


def _joined(word: str, parts: list[str]) -> str:
    return f"({word.join(parts)})" if parts else ""


def _line(line: Line, body: str) -> str:
    match line.op:
        case LineOp.CONTAINS:
            return f"position({body}, {quote(line.text)}) > 0"
        case LineOp.CONTAINS_NOT:
            return f"position({body}, {quote(line.text)}) = 0"
        case LineOp.MATCHES:
            return f"match({body}, {quote(f'(?s:{line.text})')})"
        case LineOp.MATCHES_NOT:
            return f"NOT match({body}, {quote(f'(?s:{line.text})')})"


def _comparison(one: Comparison, vocabulary: Vocabulary) -> str:
    known = vocabulary.fields.get(one.key)
    value = known.sql if known is not None else _attribute(one.key)
    if isinstance(one.value, float):
        if known is not None and known.type is not Type.TEXT:
            return f"{value} {one.op} {_number(one.value)}"
        missing = int(one.op is Op.NOT_EQUAL)
        return f"ifNull(toFloat64OrNull({value}) {one.op} {_number(one.value)}, {missing})"
    anchored = quote(f"^(?s:{one.value})$")
    match one.op:
        case Op.REGEX:
            return f"match({value}, {anchored})"
        case Op.NOT_REGEX:
            return f"NOT match({value}, {anchored})"
        case op:
            forms = ", ".join(map(quote, stored_forms(one.value)))
            return f"{value} {'NOT IN' if op is Op.NOT_EQUAL else 'IN'} ({forms})"


def _attribute(key: str) -> str:
    for prefix, column in ((RECORD, "attributes"), (RESOURCE, "resource")):
        if key.startswith(prefix) and key != prefix:
            return f"{column}[{quote(key.removeprefix(prefix))}]"
    name = quote(key)
    return f"if(mapContains(attributes, {name}), attributes[{name}], resource[{name}])"


def _number(number: float) -> str:
    if math.isinf(number):
        return "inf" if number > 0 else "-inf"
    return str(int(number)) if number.is_integer() and abs(number) < 2**53 else repr(number)
