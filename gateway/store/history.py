"""SQL of the catalog's past: what it was at a revision, and who made an object what it was."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from gateway.kinds import kind_of
from gateway.model import Catalog
from gateway.store import codec
from meshkit.postgres import unavailable_on_lost_connection


if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import asyncpg


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The change that made an object what it was."""

    revision: int
    actor: str
    create_time: datetime


class History:
    """The catalog's revisions, for reading."""

    def __init__(self, pool: asyncpg.Pool[Any]) -> None:
        self._pool = pool

    async def revision_at(self, time: datetime) -> int:
        """Return the newest revision that was there at *time*; 0: none was."""
        with unavailable_on_lost_connection():
            found: int = await self._pool.fetchval(
                "SELECT coalesce(max(revision), 0) FROM revisions WHERE create_time <= $1", time
            )
        return found

    async def newest(self) -> int:
        """Return the newest revision; 0: there is none yet."""
        with unavailable_on_lost_connection():
            found: int = await self._pool.fetchval("SELECT revision FROM catalog_state")
        return found

    async def catalog_at(self, revision: int) -> Catalog:
        """Return the whole catalog as *revision* left it."""
        with unavailable_on_lost_connection():
            rows = await self._pool.fetch(
                "SELECT DISTINCT ON (r.object) r.object, r.content, d.content AS descriptor_set"
                " FROM revisions r"
                " LEFT JOIN descriptor_sets d ON d.sha256 = r.content->>'descriptor_set'"
                " WHERE r.revision <= $1 ORDER BY r.object, r.revision DESC",
                revision,
            )
        return Catalog.of(
            revision,
            (
                codec.decode(
                    kind_of(row["object"]).key,
                    row["object"],
                    row["content"],
                    row["descriptor_set"] or b"",
                )
                for row in rows
                if row["content"] is not None
            ),
        )

    async def origins(self, objects: Collection[str], revision: int) -> Mapping[str, Origin]:
        """Return for each of *objects* the last change up to *revision*; unknown ones are left out."""
        with unavailable_on_lost_connection():
            rows = await self._pool.fetch(
                "SELECT DISTINCT ON (object) object, revision, actor, create_time FROM revisions"
                " WHERE object = ANY($1) AND revision <= $2 ORDER BY object, revision DESC",
                list(objects),
                revision,
            )
        return {
            row["object"]: Origin(
                revision=row["revision"], actor=row["actor"], create_time=row["create_time"]
            )
            for row in rows
        }
