"""Why a query has no answer. The reason says what to do: fix it, ask for less, or wait."""

from __future__ import annotations

from datetime import timedelta

from meshkit.errors import InvalidInput, Unavailable


QUERY_INVALID = "QUERY_INVALID"
"""The query's text, or its times, can't be understood: fix the query."""

QUERY_FAILED = "QUERY_FAILED"
"""The query is well formed and has no answer over this data: fix the query."""

QUERY_TOO_LARGE = "QUERY_TOO_LARGE"
"""The answer would pass a bound: fewer series, a shorter range, a longer step."""

QUERY_TIMED_OUT = "QUERY_TIMED_OUT"
"""The answer took too long: ask for less, or wait until there is less load."""


def bad_query(message: str, **metadata: str) -> InvalidInput:
    """Return the error of a query that can't be understood."""
    return InvalidInput("QUERY_INVALID", message, field_violations=None, **metadata)


def query_failed(message: str, **metadata: str) -> InvalidInput:
    """Return the error of a query without an answer."""
    return InvalidInput("QUERY_FAILED", message, field_violations=None, **metadata)


def query_too_large(message: str, **metadata: str) -> InvalidInput:
    """Return the error of a query that would pass a bound."""
    return InvalidInput("QUERY_TOO_LARGE", message, field_violations=None, **metadata)


def query_timed_out(message: str, **metadata: str) -> Unavailable:
    """Return the error of a query whose time is up."""
    return Unavailable("QUERY_TIMED_OUT", message, retry_after=timedelta(seconds=5), **metadata)
