"""Objectives in the database, and the rule groups made of them: both or neither are written."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from meshkit.errors import AlreadyExists, Conflict, FailedPrecondition, InvalidInput, NotFound
from meshkit.postgres import unavailable_on_lost_connection
from telemetry.alerts.store.rules import etag_of as group_etag
from telemetry.alerts.store.rules import write_group
from telemetry.objectives.model import OBJECTIVES_MAX, Objective
from telemetry.objectives.rules import group_ids, groups_of
from telemetry.rules.files import as_spec


if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import asyncpg

    from telemetry.alerts.store.rules import Connection, Stored

_READ = "SELECT id, spec, etag, request_id, create_time, update_time FROM objectives"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObjective:
    """An objective as it is stored."""

    objective: Objective
    etag: str
    request_id: str
    create_time: datetime
    update_time: datetime


def not_found(objective: str) -> NotFound:
    """Return the error of an objective that there isn't."""
    return NotFound(
        "OBJECTIVE_NOT_FOUND", f"There is no objective {objective!r}.", objective=objective
    )


class ObjectiveStore:
    """Reads and writes objectives. All methods raise `Unavailable` when the database is away."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def get(self, tenant: str, objective: str) -> StoredObjective:
        """Return an objective; raises `NotFound` OBJECTIVE_NOT_FOUND."""
        with unavailable_on_lost_connection():
            row = await self._pool.fetchrow(
                f"{_READ} WHERE tenant = $1 AND id = $2", tenant, objective
            )
        if row is None:
            raise not_found(objective)
        return _stored(row)

    async def page(self, tenant: str, *, after: str, limit: int) -> list[StoredObjective]:
        """Return up to *limit* objectives with ids behind *after*."""
        with unavailable_on_lost_connection():
            rows = await self._pool.fetch(
                f"{_READ} WHERE tenant = $1 AND id > $2 ORDER BY id LIMIT $3", tenant, after, limit
            )
        return [_stored(row) for row in rows]

    async def create(
        self, tenant: str, objective: Objective, *, request_id: str, now: datetime
    ) -> tuple[StoredObjective, list[Stored]]:
        """
        Create an objective and its groups; a repeat with the same *request_id* returns it.

        Raises:
            AlreadyExists: OBJECTIVE_EXISTS.
            InvalidInput: REQUEST_ID_REUSED.
            FailedPrecondition: TOO_MANY_OBJECTIVES.

        """
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection, connection.transaction():
                there = await _lock(connection, tenant, objective.id)
                if there is not None:
                    _same_request(there, objective, request_id)
                    return there, []
                count = await connection.fetchval(
                    "SELECT count(*) FROM objectives WHERE tenant = $1", tenant
                )
                if count >= OBJECTIVES_MAX:
                    raise FailedPrecondition(
                        "TOO_MANY_OBJECTIVES",
                        "There are too many objectives; delete some.",
                        objectives_max=str(OBJECTIVES_MAX),
                    )
                return await _write(connection, tenant, objective, request_id=request_id, now=now)

    async def update(
        self, tenant: str, objective: Objective, *, etag: str, missing_ok: bool, now: datetime
    ) -> tuple[StoredObjective, list[Stored]]:
        """
        Replace an objective and its groups.

        Raises:
            NotFound: OBJECTIVE_NOT_FOUND, unless *missing_ok*.
            Conflict: ETAG_MISMATCH.

        """
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection, connection.transaction():
                there = await _lock(connection, tenant, objective.id)
                if there is None and not missing_ok:
                    raise not_found(objective.id)
                if etag and (there is None or there.etag != etag):
                    raise _changed(objective.id)
                request_id = there.request_id if there is not None else ""
                return await _write(connection, tenant, objective, request_id=request_id, now=now)

    async def delete(self, tenant: str, objective: str, *, etag: str) -> Sequence[str]:
        """
        Delete an objective; return the ids of its groups, which are deleted too; none: it wasn't.

        Raises:
            Conflict: ETAG_MISMATCH.

        """
        groups = group_ids(objective)
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection, connection.transaction():
                there = await _lock(connection, tenant, objective)
                if there is None:
                    return ()
                if etag and there.etag != etag:
                    raise _changed(objective)
                await connection.execute(
                    "DELETE FROM objectives WHERE tenant = $1 AND id = $2", tenant, objective
                )
                await connection.execute(
                    "DELETE FROM rule_groups WHERE tenant = $1 AND id = ANY($2)",
                    tenant,
                    list(groups),
                )
        return groups

    async def renew(self, tenant: str, *, now: datetime) -> None:
        """Make the groups anew that this version makes differently than the one that did."""
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection, connection.transaction():
                rows = await connection.fetch(f"{_READ} WHERE tenant = $1", tenant)
                groups = await connection.fetch(
                    "SELECT id, etag FROM rule_groups WHERE tenant = $1 FOR UPDATE", tenant
                )
                etags = {group["id"]: group["etag"] for group in groups}
                for row in rows:
                    objective = _stored(row).objective
                    for group_id, group in groups_of(objective).items():
                        source = _source(objective)
                        if etags.get(group_id) != group_etag(as_spec(group), source):
                            await write_group(
                                connection, tenant, group_id, group, source=source, now=now
                            )


def _source(objective: Objective) -> str:
    return f"objectives/{objective.id}"


def _spec(objective: Objective) -> dict[str, Any]:
    return asdict(objective)


def _etag(objective: Objective, now: datetime) -> str:
    text = json.dumps([_spec(objective), now.isoformat()], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _changed(objective: str) -> Conflict:
    return Conflict(
        "ETAG_MISMATCH", "The objective was changed meanwhile; read it again.", objective=objective
    )


def _same_request(there: StoredObjective, objective: Objective, request_id: str) -> None:
    """Raise unless *there* is what the same request made before."""
    if not request_id or there.request_id != request_id:
        raise AlreadyExists(
            "OBJECTIVE_EXISTS",
            f"There is an objective {objective.id!r} already.",
            objective=objective.id,
        )
    if there.objective != objective:
        raise InvalidInput(
            "REQUEST_ID_REUSED",
            "The request_id came with other content before.",
            field_violations={"request_id": "came with other content before"},
        )


async def _lock(connection: Connection, tenant: str, objective: str) -> StoredObjective | None:
    # One at a time: two that create the same one must not both find that there is none.
    await connection.execute("SELECT pg_advisory_xact_lock(hashtext('telemetry.objectives'))")
    row = await connection.fetchrow(
        f"{_READ} WHERE tenant = $1 AND id = $2 FOR UPDATE", tenant, objective
    )
    return None if row is None else _stored(row)


async def _write(
    connection: Connection, tenant: str, objective: Objective, *, request_id: str, now: datetime
) -> tuple[StoredObjective, list[Stored]]:
    row = await connection.fetchrow(
        "INSERT INTO objectives (tenant, id, spec, etag, request_id, create_time, update_time)"
        " VALUES ($1, $2, $3, $4, $5, $6, $6) ON CONFLICT (tenant, id) DO UPDATE"
        " SET spec = $3, etag = $4, update_time = $6"
        " RETURNING id, spec, etag, request_id, create_time, update_time",
        tenant, objective.id, _spec(objective), _etag(objective, now), request_id, now,
    )  # fmt: skip
    assert row is not None, "an insert that can't fail returns its row"
    groups = [
        await write_group(connection, tenant, group_id, group, source=_source(objective), now=now)
        for group_id, group in groups_of(objective).items()
    ]
    return _stored(row), groups


def _stored(row: Any) -> StoredObjective:
    spec = row["spec"]
    return StoredObjective(
        objective=Objective(
            **{
                **spec,
                "group_by": tuple(spec["group_by"]),
                "labels": tuple((name, value) for name, value in spec["labels"]),
            }
        ),
        etag=row["etag"],
        request_id=row["request_id"],
        create_time=row["create_time"],
        update_time=row["update_time"],
    )
