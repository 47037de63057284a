"""SQL of changes that some edges have first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from gateway.store.rows import REVISIONS, revision_of
from meshkit.postgres import unavailable_on_lost_connection


if TYPE_CHECKING:
    from collections.abc import Collection

    import asyncpg

    from gateway.model import Object

    Connection = asyncpg.Connection[Any] | asyncpg.pool.PoolConnectionProxy[Any]

WATCHED = "watched"
PROMOTED = "promoted"
ROLLED_BACK = "rolled_back"


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryRow:
    """A change that some edges have first."""

    revision: int
    """Its last."""

    first_revision: int
    state: str
    reason: str
    edges: tuple[str, ...]
    acknowledged: tuple[str, ...]
    rules: dict[str, float]
    create_time: datetime
    end_revision: int
    """The last revision of its roll-back."""


class CanaryStore:
    """Reads, and notes besides the catalog's own changes."""

    def __init__(self, pool: asyncpg.Pool[Any]) -> None:
        self._pool = pool

    async def get(self, revision: int) -> CanaryRow | None:
        """Return one."""
        with unavailable_on_lost_connection():
            row = await self._pool.fetchrow("SELECT * FROM canaries WHERE revision = $1", revision)
        return _row(row) if row else None

    async def watched(self) -> CanaryRow | None:
        """Return the one that is watched."""
        with unavailable_on_lost_connection():
            row = await self._pool.fetchrow(
                "SELECT c.* FROM canaries c JOIN catalog_state s ON s.canary = c.revision"
            )
        return _row(row) if row else None

    async def before(self, canary: CanaryRow) -> dict[str, Object | None]:
        """Return what its objects were before it; None: not there."""
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection:
                return await before(connection, canary.first_revision, canary.revision)

    async def note(self, revision: int, acknowledged: Collection[str], reason: str) -> None:
        """Write down which edges have acknowledged it, and how it stands."""
        with unavailable_on_lost_connection():
            await self._pool.execute(
                "UPDATE canaries SET reason = $3, acknowledged ="
                " ARRAY(SELECT DISTINCT unnest(acknowledged || $2::text[]) ORDER BY 1)"
                " WHERE revision = $1 AND state = 'watched'",
                revision,
                list(acknowledged),
                reason[:1000],
            )


async def begin(
    connection: Connection,
    *,
    first: int,
    last: int,
    edges: Collection[str],
    rules: dict[str, float],
    now: datetime,
) -> None:
    """Have the change of these revisions reach *edges* first."""
    await connection.execute(
        "INSERT INTO canaries (revision, first_revision, state, edges, rules, create_time)"
        " VALUES ($1, $2, 'watched', $3, $4, $5)",
        last,
        first,
        list(edges),
        rules,
        now,
    )
    await connection.execute("UPDATE catalog_state SET canary = $1", last)


async def end(
    connection: Connection,
    revision: int,
    *,
    state: str,
    reason: str,
    end_revision: int,
    now: datetime,
) -> None:
    """Have the change reach all, or be none any more."""
    await connection.execute(
        "UPDATE canaries SET state = $2, reason = $3, end_revision = $4, end_time = $5"
        " WHERE revision = $1",
        revision,
        state,
        reason[:1000],
        end_revision,
        now,
    )
    await connection.execute("UPDATE catalog_state SET canary = NULL")


async def read(connection: Connection, revision: int) -> CanaryRow:
    """Return one within a change."""
    return _row(await connection.fetchrow("SELECT * FROM canaries WHERE revision = $1", revision))


async def before(connection: Connection, first: int, last: int) -> dict[str, Object | None]:
    """Return what the objects that these revisions changed were before them; None: not there."""
    names = await connection.fetch(
        "SELECT DISTINCT object FROM revisions WHERE change_first = $1 AND revision <= $2",
        first,
        last,
    )
    found: dict[str, Object | None] = {row["object"]: None for row in names}
    rows = await connection.fetch(
        f"{REVISIONS} WHERE r.revision IN (SELECT max(revision) FROM revisions"  # noqa: S608
        " WHERE object = ANY($1) AND revision < $2 GROUP BY object)",
        list(found),
        first,
    )
    for row in rows:
        stored = revision_of(row).stored
        found[row["object"]] = stored.value if stored else None
    return found


def _row(row: Any) -> CanaryRow:
    return CanaryRow(
        revision=row["revision"],
        first_revision=row["first_revision"],
        state=row["state"],
        reason=row["reason"],
        edges=tuple(row["edges"]),
        acknowledged=tuple(row["acknowledged"]),
        rules=dict(row["rules"]),
        create_time=row["create_time"],
        end_revision=row["end_revision"],
    )
