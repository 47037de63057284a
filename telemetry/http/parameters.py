"""Parameters as Prometheus's API takes them: in the query string, in a form, or in both."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

from multidict import MultiDict

from meshkit.errors import InvalidInput
from telemetry.http import formats
from telemetry.promql.errors import QUERY_INVALID


if TYPE_CHECKING:
    from aiohttp import web

_DIGITS = re.compile(r"\d{1,9}", re.ASCII)
EARLIEST_MS, LATEST_MS = -(1 << 52), 1 << 52


def bad_parameter(name: str, why: str) -> InvalidInput:
    """Return the error of a parameter that is missing or can't be read."""
    return InvalidInput(
        "INVALID_PARAMETER", f'invalid parameter "{name}": {why}', field_violations={name: why}
    )


class Naming:
    """Says which parameter it was, where a query's text can't be read."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, InvalidInput) and error.reason == QUERY_INVALID:
            raise bad_parameter(self._name, str(error)) from error


async def read(request: web.Request) -> MultiDict[str]:
    """Return the form's parameters, and behind them the query string's."""
    given: MultiDict[str] = MultiDict()
    if request.method == "POST":
        form = await request.post()
        given.extend([(name, value) for name, value in form.items() if isinstance(value, str)])
    given.extend(request.query)
    return given


def time(given: MultiDict[str], name: str, default: int | None = None) -> int:
    """
    Return a time in milliseconds since 1970.

    Raises:
        InvalidInput: INVALID_PARAMETER: It can't be read, or is missing and has no *default*.

    """
    text = given.get(name, "")
    if not text and default is not None:
        return default
    try:
        return formats.time_ms(text)
    except ValueError as error:
        raise bad_parameter(name, str(error)) from error


def duration(given: MultiDict[str], name: str) -> int:
    """
    Return a length in milliseconds.

    Raises:
        InvalidInput: INVALID_PARAMETER: It is missing or can't be read.

    """
    try:
        return formats.duration_ms(given.get(name, ""))
    except ValueError as error:
        raise bad_parameter(name, str(error)) from error


def length(given: MultiDict[str], name: str) -> timedelta | None:
    """
    Return a length that may be missing.

    Raises:
        InvalidInput: INVALID_PARAMETER: It can't be read, or isn't longer than 0.

    """
    if not given.get(name):
        return None
    found = timedelta(milliseconds=duration(given, name))
    if found <= timedelta(0):
        raise bad_parameter(name, "must be longer than 0")
    return found


def limit(given: MultiDict[str], name: str = "limit") -> int:
    """
    Return a number of things; 0: as many as there are.

    Raises:
        InvalidInput: INVALID_PARAMETER: It isn't a number.

    """
    text = given.get(name, "")
    if not text:
        return 0
    if not _DIGITS.fullmatch(text):
        raise bad_parameter(name, f"{name} must be a non-negative number")
    return int(text)


def times(given: MultiDict[str]) -> tuple[int, int]:
    """
    Return `start` and `end` in milliseconds, each as far out as can be where it isn't given.

    Raises:
        InvalidInput: INVALID_PARAMETER: The end is before the start, or one can't be read.

    """
    start_ms, end_ms = time(given, "start", EARLIEST_MS), time(given, "end", LATEST_MS)
    if end_ms < start_ms:
        raise bad_parameter("end", "end timestamp must not be before start timestamp")
    return start_ms, end_ms
