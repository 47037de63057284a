"""Rule groups in the database."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from meshkit.errors import AlreadyExists, Conflict, InvalidInput, NotFound
from meshkit.postgres import unavailable_on_lost_connection
from telemetry.rules.files import as_spec, read_group


if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    import asyncpg

    from telemetry.rules.model import Group

    Connection = asyncpg.Connection[Any] | asyncpg.pool.PoolConnectionProxy[Any]

_READ = "SELECT id, spec, source, etag, create_time, update_time FROM rule_groups"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A group as it is stored."""

    id: str
    group: Group
    source: str
    etag: str
    create_time: datetime
    update_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What applying a file did."""

    created: list[Stored]
    updated: list[Stored]
    unchanged: list[str]
    deleted: list[str]


def not_found(group: str) -> NotFound:
    """Return the error of a group that there isn't."""
    return NotFound("RULE_GROUP_NOT_FOUND", f"There is no rule group {group!r}.", rule_group=group)


class RuleStore:
    """Reads and writes groups. All methods raise `Unavailable` when the database is away."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def all(self, tenant: str) -> list[Stored]:
        """Return all groups by id."""
        with unavailable_on_lost_connection():
            rows = await self._pool.fetch(f"{_READ} WHERE tenant = $1 ORDER BY id", tenant)
        return [_stored(row) for row in rows]

    async def etags(self, tenant: str) -> dict[str, str]:
        """Return the etags of all groups by id."""
        with unavailable_on_lost_connection():
            rows = await self._pool.fetch(
                "SELECT id, etag FROM rule_groups WHERE tenant = $1", tenant
            )
        return {row["id"]: row["etag"] for row in rows}

    async def get(self, tenant: str, group: str) -> Stored:
        """Return a group; raises `NotFound` RULE_GROUP_NOT_FOUND."""
        with unavailable_on_lost_connection():
            row = await self._pool.fetchrow(f"{_READ} WHERE tenant = $1 AND id = $2", tenant, group)
        if row is None:
            raise not_found(group)
        return _stored(row)

    async def page(self, tenant: str, *, after: str, limit: int) -> list[Stored]:
        """Return up to *limit* groups with ids behind *after*."""
        with unavailable_on_lost_connection():
            rows = await self._pool.fetch(
                f"{_READ} WHERE tenant = $1 AND id > $2 ORDER BY id LIMIT $3", tenant, after, limit
            )
        return [_stored(row) for row in rows]

    async def create(
        self, tenant: str, group_id: str, group: Group, *, source: str, request_id: str,
        now: datetime,
    ) -> Stored:  # fmt: skip
        """
        Create a group; a repeat with the same *request_id* and content returns it.

        Raises:
            AlreadyExists: RULE_GROUP_EXISTS.
            InvalidInput: REQUEST_ID_REUSED.

        """
        spec = as_spec(group)
        with unavailable_on_lost_connection():
            row = await self._pool.fetchrow(
                "INSERT INTO rule_groups"
                " (tenant, id, spec, source, etag, request_id, create_time, update_time)"
                " VALUES ($1, $2, $3, $4, $5, $6, $7, $7) ON CONFLICT DO NOTHING"
                " RETURNING id, spec, source, etag, create_time, update_time",
                tenant, group_id, spec, source, etag_of(spec, source), request_id, now,
            )  # fmt: skip
            if row is not None:
                return _stored(row)
            there = await self._pool.fetchrow(
                f"{_READ} WHERE tenant = $1 AND id = $2 AND request_id = $3 AND $3 <> ''",
                tenant, group_id, request_id,
            )  # fmt: skip
        if there is None:
            raise AlreadyExists(
                "RULE_GROUP_EXISTS",
                f"There is a rule group {group_id!r} already.",
                rule_group=group_id,
            )
        if there["etag"] != etag_of(spec, source):
            raise InvalidInput(
                "REQUEST_ID_REUSED",
                "The request_id came with other content before.",
                field_violations={"request_id": "came with other content before"},
            )
        return _stored(there)

    async def update(
        self, tenant: str, group_id: str, group: Group, *, source: str, etag: str,
        missing_ok: bool, now: datetime,
    ) -> Stored:  # fmt: skip
        """
        Replace a group.

        Raises:
            NotFound: RULE_GROUP_NOT_FOUND, unless *missing_ok*.
            Conflict: ETAG_MISMATCH.

        """
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection, connection.transaction():
                there = await _lock(connection, tenant, group_id)
                if there is None and not missing_ok:
                    raise not_found(group_id)
                if etag and (there is None or there["etag"] != etag):
                    raise _changed(group_id)
                return await write_group(
                    connection, tenant, group_id, group, source=source, now=now
                )

    async def delete(self, tenant: str, group_id: str, *, etag: str) -> bool:
        """
        Delete a group; return whether there was one.

        Raises:
            Conflict: ETAG_MISMATCH.

        """
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection, connection.transaction():
                there = await _lock(connection, tenant, group_id)
                if there is None:
                    return False
                if etag and there["etag"] != etag:
                    raise _changed(group_id)
                await connection.execute(
                    "DELETE FROM rule_groups WHERE tenant = $1 AND id = $2", tenant, group_id
                )
                return True

    async def apply(
        self, tenant: str, groups: Mapping[str, Group], *, source: str, prune: bool,
        dry: bool, now: datetime,
    ) -> Applied:  # fmt: skip
        """
        Make the groups what *groups* are, by id; all of them or none.

        Args:
            prune: Delete other groups of the same *source*.
            dry: Change nothing, only say what would be.

        """
        done = Applied(created=[], updated=[], unchanged=[], deleted=[])
        with unavailable_on_lost_connection(), contextlib.suppress(_DryRun):
            async with self._pool.acquire() as connection, connection.transaction():
                rows = await connection.fetch(
                    "SELECT id, etag, source FROM rule_groups WHERE tenant = $1 FOR UPDATE", tenant
                )
                etags = {row["id"]: row["etag"] for row in rows}
                for group_id, group in sorted(groups.items()):
                    if etags.get(group_id) == etag_of(as_spec(group), source):
                        done.unchanged.append(group_id)
                        continue
                    kind = done.updated if group_id in etags else done.created
                    kind.append(
                        await write_group(
                            connection, tenant, group_id, group, source=source, now=now
                        )
                    )
                if prune:
                    done.deleted.extend(
                        row["id"]
                        for row in rows
                        if row["source"] == source and row["id"] not in groups
                    )
                    await connection.execute(
                        "DELETE FROM rule_groups WHERE tenant = $1 AND id = ANY($2)",
                        tenant,
                        done.deleted,
                    )
                if dry:
                    raise _DryRun
        return done


class _DryRun(Exception):
    """Rolls back what was only tried."""


def etag_of(spec: Mapping[str, Any], source: str) -> str:
    """Return what changes whenever the content does."""
    text = json.dumps([spec, source], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _changed(group: str) -> Conflict:
    return Conflict(
        "ETAG_MISMATCH", "The group was changed meanwhile; read it again.", rule_group=group
    )


async def _lock(connection: Connection, tenant: str, group_id: str) -> Any:
    return await connection.fetchrow(
        "SELECT etag FROM rule_groups WHERE tenant = $1 AND id = $2 FOR UPDATE", tenant, group_id
    )


async def write_group(
    connection: Connection, tenant: str, group_id: str, group: Group, *, source: str, now: datetime
) -> Stored:
    """Create or replace a group."""
    spec = as_spec(group)
    row = await connection.fetchrow(
        "INSERT INTO rule_groups"
        " (tenant, id, spec, source, etag, request_id, create_time, update_time)"
        " VALUES ($1, $2, $3, $4, $5, '', $6, $6) ON CONFLICT (tenant, id) DO UPDATE"
        " SET spec = $3, source = $4, etag = $5, update_time = $6"
        " RETURNING id, spec, source, etag, create_time, update_time",
        tenant, group_id, spec, source, etag_of(spec, source), now,
    )  # fmt: skip
    assert row is not None, "an insert that can't fail returns its row"
    return _stored(row)


def _stored(row: Any) -> Stored:
    return Stored(
        id=row["id"],
        group=read_group(row["spec"]),
        source=row["source"],
        etag=row["etag"],
        create_time=row["create_time"],
        update_time=row["update_time"],
    )
