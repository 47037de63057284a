"""Durations in brackets and behind `offset`: read, and reckoned when the query runs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from telemetry.promql.errors import bad_query
from telemetry.promql.lex import Type
from telemetry.promql.nodes import Duration, Length, Number


if TYPE_CHECKING:
    from telemetry.promql.cursor import Cursor

_POWER = {"+": 1, "-": 1, "*": 2, "/": 2, "%": 2, "^": 4}
_SIGN_POWER = 3
_SECONDS_MAX = float(1 << 63) / 1e9
_OF_THE_QUERY = ("step", "range")
_OF_TWO = ("min_of", "max_of")


def read(cursor: Cursor, expected: str, context: str) -> Duration:
    """
    Read a duration longer than 0, with operators.

    Raises:
        InvalidInput: QUERY_INVALID: It isn't one.

    """
    at = cursor.next.at
    length = _expression(cursor, 0, expected, context)
    if isinstance(length, Length):
        return length
    if length.value <= 0:
        raise cursor.error(at, "duration must be greater than 0")
    return _milliseconds(length.value)


def read_offset(cursor: Cursor) -> Duration:
    """
    Read what stands behind `offset`: operators only within parentheses.

    Raises:
        InvalidInput: QUERY_INVALID: It isn't a duration.

    """
    length = _signed(cursor, "number, duration, step(), or range()", "offset")
    return length if isinstance(length, Length) else _milliseconds(length.value)


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _expression(cursor: Cursor, power: int, expected: str, context: str) -> Number | Length:
    left = _signed(cursor, expected, context, operators=True)
    while cursor.is_sign(*_POWER) and _POWER[cursor.next.text] > power:
        op = cursor.take()
        own = _POWER[op.text]
        right = _expression(cursor, own - 1 if op.text == "^" else own, expected, context)
        if op.text in "/%" and isinstance(right, Number) and right.value == 0:
            what = "division" if op.text == "/" else "modulo"
            raise cursor.error(op.at, f"{what} by zero")
        left = Length(op.text, left, right, at=left.at)
    return left


def _signed(
    cursor: Cursor, expected: str, context: str, *, operators: bool = False
) -> Number | Length:
    if not cursor.is_sign("+", "-"):
        return _primary(cursor, expected, context)
    sign = cursor.take()
    if operators:
        operand = _expression(cursor, _SIGN_POWER, expected, context)
    else:
        operand = _primary(cursor, expected, context)
    if isinstance(operand, Number) and not operand.parens:
        value = -operand.value if sign.text == "-" else operand.value
        return Number(value, is_duration=operand.is_duration, at=sign.at)
    return Length(sign.text, None, operand, at=sign.at)


def _primary(cursor: Cursor, expected: str, context: str) -> Number | Length:
    token = cursor.next
    if token.type in (Type.NUMBER, Type.DURATION):
        seconds = cursor.number()
        if not abs(seconds) <= _SECONDS_MAX:
            raise cursor.error(token.at, "duration out of range")
        return Number(seconds, is_duration=token.type is Type.DURATION, at=token.at)
    if cursor.accept("("):
        inner = _expression(cursor, 0, expected, context)
        cursor.expect(")", context)
        if isinstance(inner, Number):
            inner = Length("+", None, inner, at=token.at)
        return Length(inner.op, inner.left, inner.right, at=token.at, parens=inner.parens + 1)
    if cursor.is_word(*_OF_THE_QUERY):
        cursor.take()
        cursor.expect("(", context)
        cursor.expect(")", context)
        return Length(token.text.lower(), at=token.at)
    if cursor.is_word(*_OF_TWO):
        cursor.take()
        cursor.expect("(", context)
        left = _expression(cursor, 0, expected, context)
        cursor.expect(",", context)
        right = _expression(cursor, 0, expected, context)
        cursor.expect(")", context)
        return Length(token.text.lower(), left, right, at=token.at)
    raise cursor.unexpected(context, expected)


def resolved(duration: Duration, *, step_ms: int, range_ms: int, positive: bool = False) -> int:
    """
    Return a duration in milliseconds.

    Args:
        step_ms: The query's step, 0 for an instant query.
        range_ms: From the query's start to its end.
        positive: Whether it must be longer than 0.

    Raises:
        InvalidInput: QUERY_INVALID: It comes to nothing that could be a duration.

    """
    if isinstance(duration, int):
        return duration
    seconds = _reckon(duration, step_ms / 1000, range_ms / 1000)
    if not math.isfinite(seconds):
        raise bad_query("duration is NaN or infinite")
    if positive and seconds <= 0:
        raise bad_query("duration must be greater than 0")
    if abs(seconds) > _SECONDS_MAX:
        raise bad_query("duration is out of range")
    return int(seconds * 1000)


def _reckon(node: Number | Length | None, step: float, range_: float) -> float:
    if node is None:
        return 0.0
    if isinstance(node, Number):
        return node.value
    left, right = _reckon(node.left, step, range_), _reckon(node.right, step, range_)
    match node.op:
        case "step":
            return step
        case "range":
            return range_
        case "min_of":
            return min(left, right)
        case "max_of":
            return max(left, right)
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case "^":
            return _power(left, right)
    if right == 0:
        raise bad_query("division by zero" if node.op == "/" else "modulo by zero")
    return left / right if node.op == "/" else math.fmod(left, right)


def _power(base: float, exponent: float) -> float:
    try:
        result = base**exponent
    except (OverflowError, ZeroDivisionError):
        return math.inf
    return result if isinstance(result, float) else math.nan
