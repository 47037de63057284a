"""Pages of log records, newest first: none twice and none left out, whatever the clocks' grain."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from meshkit.errors import InvalidInput


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from telemetry.store.model import LogQuery, LogRecord

SAME_TIME_MAX = 10_000
"""Records of one and the same nanosecond that a page can end among."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page ended: among the records of *time_ns*, of which *sent* were sent."""

    time_ns: int
    sent: int


async def read_page(
    search: Callable[[LogQuery], Awaitable[list[LogRecord]]],
    query: LogQuery,
    size: int,
    after: Position | None,
) -> tuple[list[LogRecord], Position | None]:
    """
    Return a page of what *query* finds, and where the next one begins; None: there is none.

    The store gives records of one time in any order; here they have one by their content.

    Raises:
        InvalidInput: TOO_MANY_RECORDS_AT_ONCE: more than a page can end among.

    """
    page: list[LogRecord] = []
    end_ns = query.end_ns
    if after is not None:
        page = (await _all_of(search, query, after.time_ns))[after.sent :]
        end_ns = after.time_ns
        if len(page) > size:
            return page[:size], Position(after.time_ns, after.sent + size)
    missing = size - len(page)
    older = await search(replace(query, end_ns=end_ns, limit=missing + 1))
    older.sort(key=_order)
    if len(older) <= missing:
        return page + older, None
    if not missing:
        last = page[-1].time_ns
        return page, Position(last, size + (after.sent if after is not None else 0))
    cut_ns = older[missing - 1].time_ns
    whole = [record for record in older[:missing] if record.time_ns > cut_ns]
    among = (await _all_of(search, query, cut_ns))[: missing - len(whole)]
    return page + whole + among, Position(cut_ns, len(among))


async def _all_of(
    search: Callable[[LogQuery], Awaitable[list[LogRecord]]], query: LogQuery, time_ns: int
) -> list[LogRecord]:
    found = await search(
        replace(query, start_ns=time_ns, end_ns=time_ns + 1, limit=SAME_TIME_MAX + 1)
    )
    if len(found) > SAME_TIME_MAX:
        raise InvalidInput(
            "TOO_MANY_RECORDS_AT_ONCE",
            "Too many records have the same time; add conditions.",
            records_max=str(SAME_TIME_MAX),
        )
    return sorted(found, key=_order)


def _order(record: LogRecord) -> tuple[int, str, str, bytes, str]:
    content = repr(sorted(record.attributes.items())) + repr(sorted(record.resource.items()))
    return (-record.time_ns, record.service, record.body, record.span_id, content)
