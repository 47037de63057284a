"""Templates and their versions."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from meshkit.errors import AlreadyExists, Conflict, NotFound
from meshkit.ids import new_id
from meshkit.postgres import unavailable_on_lost_connection
from notifier.store import rows


if TYPE_CHECKING:
    from datetime import datetime

    import asyncpg

    from notifier.model import Template
    from notifier.store.rows import Connection

READ = (
    "SELECT t.id, v.version, v.display_name, v.default_locale, v.contents, t.etag,"
    " t.create_time, v.create_time AS update_time"
    " FROM templates t JOIN template_versions v ON v.tenant = t.tenant AND v.id = t.id"
)


def not_found(template: str) -> NotFound:
    return NotFound("TEMPLATE_NOT_FOUND", f"There is no template {template!r}.", template=template)


class TemplateStore:
    """Reads and writes templates. All methods raise `Unavailable` when the database is away."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def get(self, tenant: str, template: str, *, version: int = 0) -> Template:
        """Return a template's *version*, 0 for the newest; raises `NotFound` TEMPLATE_NOT_FOUND."""
        with unavailable_on_lost_connection():
            found = await self._pool.fetchrow(
                f"{READ} WHERE t.tenant = $1 AND t.id = $2"
                " AND v.version = CASE WHEN $3 = 0 THEN t.version ELSE $3 END",
                tenant,
                template,
                version,
            )
        if found is None:
            raise not_found(template)
        return rows.template(found)

    async def page(self, tenant: str, *, after: str, limit: int) -> list[Template]:
        """Return up to *limit* templates with ids behind *after*, newest versions, by id."""
        with unavailable_on_lost_connection():
            found = await self._pool.fetch(
                f"{READ} AND v.version = t.version"
                " WHERE t.tenant = $1 AND t.id > $2 ORDER BY t.id LIMIT $3",
                tenant,
                after,
                limit,
            )
        return [rows.template(row) for row in found]

    async def create(
        self, tenant: str, template: Template, *, now: datetime, repeat: bool
    ) -> Template:
        """
        Create version 1.

        Args:
            repeat: Whether one with the same content may be there already.

        Raises:
            AlreadyExists: TEMPLATE_EXISTS.

        """
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection, connection.transaction():
                if await _insert(connection, tenant, template, now=now):
                    return rows.template(await _newest(connection, tenant, template.id))
                there = rows.template(await _newest(connection, tenant, template.id))
        if repeat and _same(there, template):
            return there
        raise AlreadyExists(
            "TEMPLATE_EXISTS", f"There is a template {template.id!r} already.", template=template.id
        )

    async def update(
        self, tenant: str, template: Template, *, now: datetime, missing_ok: bool
    ) -> Template:
        """
        Make a new version, unless nothing changes.

        Raises:
            NotFound: TEMPLATE_NOT_FOUND, unless *missing_ok*: then it is created.
            Conflict: ETAG_MISMATCH.

        """
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection, connection.transaction():
                if missing_ok:
                    await _insert(connection, tenant, template, now=now)
                locked = await connection.fetchval(
                    "SELECT version FROM templates WHERE tenant = $1 AND id = $2 FOR UPDATE",
                    tenant,
                    template.id,
                )
                if locked is None:
                    raise not_found(template.id)
                there = rows.template(await _newest(connection, tenant, template.id))
                if template.etag and template.etag != there.etag:
                    raise Conflict(
                        "ETAG_MISMATCH",
                        f"Template {template.id!r} was changed since; read it again.",
                        template=template.id,
                    )
                if _same(there, template):
                    return there
                await _insert_version(connection, tenant, template, there.version + 1, now)
                await connection.execute(
                    "UPDATE templates SET version = $3, etag = $4 WHERE tenant = $1 AND id = $2",
                    tenant,
                    template.id,
                    there.version + 1,
                    new_id(),
                )
                return rows.template(await _newest(connection, tenant, template.id))


def _same(one: Template, other: Template) -> bool:
    return (one.display_name, one.default_locale, one.contents) == (
        other.display_name,
        other.default_locale,
        other.contents,
    )


async def _newest(connection: Connection, tenant: str, template: str) -> rows.Row:
    row: rows.Row = await connection.fetchrow(  # type: ignore[assignment]
        f"{READ} AND v.version = t.version WHERE t.tenant = $1 AND t.id = $2", tenant, template
    )
    return row


async def _insert(
    connection: Connection, tenant: str, template: Template, *, now: datetime
) -> bool:
    made = await connection.fetchval(
        "INSERT INTO templates (tenant, id, version, etag, create_time) VALUES ($1, $2, 1, $3, $4)"
        " ON CONFLICT DO NOTHING RETURNING version",
        tenant,
        template.id,
        new_id(),
        now,
    )
    if made is None:
        return False
    await _insert_version(connection, tenant, template, 1, now)
    return True


async def _insert_version(
    connection: Connection, tenant: str, template: Template, version: int, now: datetime
) -> None:
    await connection.execute(
        "INSERT INTO template_versions (tenant, id, version, display_name, default_locale,"
        " contents, create_time) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        tenant,
        template.id,
        version,
        template.display_name,
        template.default_locale,
        [asdict(content) for content in template.contents],
        now,
    )
