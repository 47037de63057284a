"""
The feed of changes: a space's cells as they are now, by the `seq` that wrote them.

A page never parts one mutation, and tells all that a device at its beginning lacks: new
records (they are named once), removals, cells. Each of the three may bound it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshkit.errors import NotFound
from meshkit.postgres import unavailable_on_lost_connection
from syncd.model import Changes, FeedCell, Space
from syncd.store import rows


if TYPE_CHECKING:
    import asyncpg

    from syncd.limits import Limits

Connection = Any

NEW_RECORDS = (
    "SELECT created_seq AS seq, number, record_id FROM records WHERE space_key = $1"
    # Whoever begins at 0 needn't know of what is gone.
    " AND created_seq > $2 AND ($2 > 0 OR live) ORDER BY created_seq LIMIT $3"
)
REMOVALS = (
    "SELECT removed_seq AS seq, number FROM records WHERE space_key = $1"
    " AND removed_seq > $2 AND $2 > 0 ORDER BY removed_seq, number LIMIT $3"
)
CELLS = (
    "SELECT * FROM (SELECT seq, record, field, value, hlc,"
    " sum(octet_length(value)) OVER (ORDER BY seq, record, field) - octet_length(value) AS before"
    " FROM cells WHERE space_key = $1 AND seq > $2 ORDER BY seq, record, field LIMIT $3) AS page"
    " WHERE before < $4 ORDER BY seq, record, field"
)
CELLS_OF_ONE = (
    "SELECT seq, record, field, value, hlc FROM cells"
    " WHERE space_key = $1 AND seq = $2 ORDER BY record, field"
)


class ChangeReader:
    """Reads pages of changes."""

    def __init__(self, pool: asyncpg.Pool, limits: Limits) -> None:
        self._pool = pool
        self._limits = limits

    async def after(
        self, space_key: int, seq: int, *, cells_max: int | None = None
    ) -> tuple[Space, Changes]:
        """
        Return what changed after *seq*, up to a page, and the space at that same instant.

        Raises:
            NotFound: The space is gone.

        """
        with unavailable_on_lost_connection():
            async with (
                self._pool.acquire() as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                row = await connection.fetchrow(
                    "SELECT * FROM spaces WHERE space_key = $1", space_key
                )
                if row is None:
                    raise NotFound("SPACE_NOT_FOUND", "The space is gone.", key=str(space_key))
                space = rows.space(row)
                page_max = cells_max or self._limits.page_cells_max
                return space, await self._page(connection, space, seq, page_max)

    async def _page(
        self, connection: Connection, space: Space, after: int, cells_max: int
    ) -> Changes:
        if after >= space.head_seq:
            return changes_of(space, after=space.head_seq, end=space.head_seq)
        key, most = space.space_key, self._limits.page_cells_max
        new = await connection.fetch(NEW_RECORDS, key, after, most)
        removed = await connection.fetch(REMOVALS, key, after, most)
        cells = await connection.fetch(CELLS, key, after, cells_max, self._limits.page_bytes_max)
        end = space.head_seq
        for found, cut in ((new, most), (removed, most)):
            if len(found) == cut:
                end = min(end, found[-1]["seq"] - 1)
        if cells:
            first, last = cells[0]["seq"], cells[-1]["seq"]
            following = await self._seq_behind(connection, key, cells[-1])
            if following == last == first:
                cells = await connection.fetch(CELLS_OF_ONE, key, first)
                end = min(end, first)
            elif following is not None:
                end = min(end, last if following > last else last - 1)
        return changes_of(space, after=after, end=end, new=new, removed=removed, cells=cells)

    async def _seq_behind(self, connection: Connection, space_key: int, last: Any) -> int | None:
        """Return the seq of the cell behind *last*, where the page was cut; None at the end."""
        following: int | None = await connection.fetchval(
            "SELECT seq FROM cells WHERE space_key = $1 AND seq >= $2"
            " AND (seq, record, field) > ($2, $3, $4) ORDER BY seq, record, field LIMIT 1",
            space_key,
            last["seq"],
            last["record"],
            last["field"],
        )
        return following


def changes_of(
    space: Space, *, after: int, end: int, new: Any = (), removed: Any = (), cells: Any = ()
) -> Changes:
    """Return the changes in `(after, end]` among the rows given."""
    more = end < space.head_seq
    inside = [row for row in cells if row["seq"] <= end]
    return Changes(
        space_key=space.space_key,
        from_seq=after,
        to_seq=end,
        cells=[FeedCell(x["seq"], x["record"], x["field"], x["value"]) for x in inside],
        new_records=sorted((x["number"], x["record_id"]) for x in new if x["seq"] <= end),
        removals=[(x["number"], x["seq"]) for x in removed if x["seq"] <= end],
        more=more,
        state_hash=None if more else space.state_hash,
        hlc_max=max((x["hlc"] for x in inside), default=0),
    )
