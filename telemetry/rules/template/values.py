"""How Go prints, compares and judges values."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime


class TemplateError(Exception):
    """A template can't be read or run; the message says why."""


_VERB = re.compile(r"%([-+# 0]*)(\d+)?(?:\.(\d+))?([a-zA-Z%])")


def float_text(value: float) -> str:
    """Return *value* as Go's `%v` prints a float64."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    short = next(text for text in _exponents(value) if float(text) == value)
    power = int(short.partition("e")[2])
    if -4 <= power < 6 or value == 0:
        return f"{value!r}".removesuffix(".0")
    return short


def _exponents(value: float) -> Iterator[str]:
    return (f"{value:.{digits}e}" for digits in range(18))


def text_of(value: object) -> str:
    """Return *value* as Go's `%v` prints it."""
    match value:
        case None:
            return "<no value>"
        case bool():
            return "true" if value else "false"
        case float():
            return float_text(value)
        case datetime():
            return time_text(value)
        case Mapping():
            inner = " ".join(f"{key}:{text_of(value[key])}" for key in sorted(value))
            return f"map[{inner}]"
        case str() | int():
            return str(value)
        case Sequence():
            return f"[{' '.join(text_of(one) for one in value)}]"
    return str(value)


def time_text(when: datetime) -> str:
    """Return *when* as Go's time.Time prints itself."""
    fraction = f".{when.microsecond:06d}".rstrip("0").rstrip(".")
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%S}{fraction} +0000 UTC"


def is_true(value: object) -> bool:
    """Return whether `if` takes *value*: whether it is not its type's empty value."""
    if isinstance(value, float):
        return value != 0
    return bool(value)


def compare(left: object, right: object) -> int:
    """
    Return -1, 0 or 1.

    Raises:
        TemplateError: The two have no common order.

    """
    if isinstance(left, str) and isinstance(right, str):
        return (left > right) - (left < right)
    if isinstance(left, bool) and isinstance(right, bool):
        return 0 if left == right else 1
    if isinstance(left, bool) or isinstance(right, bool):
        raise TemplateError("incompatible types for comparison")
    if isinstance(left, int | float) and isinstance(right, int | float):
        return (left > right) - (left < right)
    raise TemplateError("incompatible types for comparison")


def printf(pattern: str, values: Sequence[object]) -> str:
    """Return Go's Sprintf, for the verbs v s q d f g e t x."""
    waiting = list(values)

    def put(found: re.Match[str]) -> str:
        flags, width, precision, verb = found.groups()
        if verb == "%":
            return "%"
        if not waiting:
            return f"%!{verb}(MISSING)"
        return _padded(_formatted(waiting.pop(0), flags, precision, verb), flags, width)

    out = _VERB.sub(put, pattern)
    extra = ", ".join(f"{_kind(one)}={text_of(one)}" for one in waiting)
    return f"{out}%!(EXTRA {extra})" if extra else out


def _formatted(value: object, flags: str, precision: str | None, verb: str) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match verb:
        case "v" | "s" if not (verb == "s" and number) and precision is None:
            return text_of(value)
        case "s" if isinstance(value, str):
            return value[: int(precision or 0)]
        case "q" if isinstance(value, str):
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        case "d" if isinstance(value, int) and number:
            return f"{value:+d}" if "+" in flags else str(value)
        case "x" if isinstance(value, int) and number:
            return f"{value:x}"
        case "t" if isinstance(value, bool):
            return text_of(value)
        case "e" | "f" | "g" | "v" if isinstance(value, float):
            sign = "+" if "+" in flags else ""
            if not math.isfinite(value):
                return float_text(value)
            if precision is None and verb in {"g", "v"}:
                return float_text(value)
            kind = "g" if verb == "v" else verb
            return format(value, f"{sign}.{precision or '6'}{kind}")
    return f"%!{verb}({_kind(value)}={text_of(value)})"


def _padded(text: str, flags: str, width: str | None) -> str:
    if width is None:
        return text
    if "-" in flags:
        return text.ljust(int(width[:4]))
    return text.zfill(int(width[:4])) if "0" in flags else text.rjust(int(width[:4]))


def _kind(value: object) -> str:
    names = {str: "string", float: "float64", int: "int", bool: "bool"}
    return names.get(type(value), "map[string]string")
