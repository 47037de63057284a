"""Messages of the contract to the model and back; every problem of a request at once."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from google.protobuf.timestamp_pb2 import Timestamp

from meshkit.errors import InvalidInput


if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.protobuf.struct_pb2 import ListValue, Struct, Value


class Problems:
    """Collects what is wrong with a request, by field."""

    def __init__(self, prefix: str = "") -> None:
        self.found: dict[str, str] = {}
        self._prefix = prefix

    def add(self, field: str, problem: str) -> None:
        self.found.setdefault(self._prefix + field, problem)

    def text(self, field: str, value: str, *, at_most: int) -> None:
        """Note a text that is too long, or holds the NUL that PostgreSQL can't store."""
        if len(value) > at_most:
            self.add(field, f"at most {at_most} characters")
        if "\0" in value:
            self.add(field, "must not contain NUL")

    def raise_if_any(self, reason: str, what: str) -> None:
        """
        Refuse the request if anything was noted.

        Raises:
            InvalidInput: *reason*, with all the problems.

        """
        if self.found:
            first = next(iter(self.found))
            raise InvalidInput(
                reason,
                f"{what} is invalid: {first}: {self.found[first]}.",
                field_violations=self.found,
            )


def timestamp(moment: datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    made = Timestamp()
    made.FromDatetime(moment)
    return made


def moment(stamp: Timestamp) -> datetime:
    """Return *stamp* as a time; raises ValueError outside the years 1 to 9999."""
    return stamp.ToDatetime(tzinfo=UTC)


def plain(struct: Struct, *, depth_max: int, bytes_max: int) -> tuple[dict[str, Any], str]:
    """
    Return *struct* as plain values, whole numbers as integers, and what is wrong with it ("").

    Sizes are of its JSON in UTF-8.
    """
    if struct.ByteSize() > 4 * bytes_max:
        return {}, f"at most {bytes_max} bytes as JSON"
    try:
        values = {key: _value(value, depth_max - 1) for key, value in struct.fields.items()}
    except ValueError as error:
        return {}, str(error)
    text = json.dumps(values, ensure_ascii=False)
    if len(text.encode()) > bytes_max:
        return {}, f"at most {bytes_max} bytes as JSON"
    if "\\u0000" in text:
        return {}, "must not contain NUL"
    return values, ""


def labels(given: Mapping[str, str], problems: Problems, *, number: int, chars: int) -> None:
    if len(given) > number:
        problems.add("labels", f"at most {number}")
    for key, value in given.items():
        problems.text("labels", key, at_most=chars)
        problems.text("labels", value, at_most=chars)


def _value(value: Value, depth: int) -> Any:
    match value.WhichOneof("kind"):
        case "number_value":
            number = value.number_value
            if not math.isfinite(number):
                raise ValueError("numbers must be finite")
            return int(number) if number.is_integer() and abs(number) < 2**53 else number
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "struct_value":
            _check(depth)
            return {k: _value(v, depth - 1) for k, v in value.struct_value.fields.items()}
        case "list_value":
            _check(depth)
            return _list(value.list_value, depth)
        case _:
            return None


def _list(values: ListValue, depth: int) -> list[Any]:
    return [_value(value, depth - 1) for value in values.values]


def _check(depth: int) -> None:
    if depth <= 0:
        raise ValueError("nested too deeply")
