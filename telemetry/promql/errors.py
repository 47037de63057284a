"""Why a query has no answer. The type says what to do: fix it, ask for less, or wait."""

from __future__ import annotations

from datetime import timedelta

from meshkit.errors import InvalidInput, Unavailable


class BadQuery(InvalidInput):
    """The query's text, or its times, can't be understood. Fix the query."""

    def __init__(self, message: str, **metadata: str) -> None:
        super().__init__("QUERY_INVALID", message, field_violations=None, **metadata)


class QueryFailed(InvalidInput):
    """The query is well formed and has no answer over this data. Fix the query."""

    def __init__(self, message: str, **metadata: str) -> None:
        super().__init__("QUERY_FAILED", message, field_violations=None, **metadata)


class QueryTooLarge(InvalidInput):
    """The answer would pass a bound. Ask for fewer series, a shorter range, a longer step."""

    def __init__(self, message: str, **metadata: str) -> None:
        super().__init__("QUERY_TOO_LARGE", message, field_violations=None, **metadata)


class QueryTimedOut(Unavailable):
    """The answer took too long. Ask for less, or wait until there is less load."""

    def __init__(self, message: str, **metadata: str) -> None:
        super().__init__("QUERY_TIMED_OUT", message, retry_after=timedelta(seconds=5), **metadata)
