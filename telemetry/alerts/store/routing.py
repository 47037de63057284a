"""Who is told, and what they have been told, in the database."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from meshkit.errors import Conflict
from meshkit.postgres import unavailable_on_lost_connection
from telemetry.alerts.telling import GroupState


if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    import asyncpg

GroupKey = tuple[str, str]
"""Policy, and the labels that alerts of the group are equal in, as JSON."""


class RoutingStore:
    """Reads and writes. All methods raise `Unavailable` when the database is away."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def get(self, tenant: str) -> tuple[dict[str, Any], str, datetime | None]:
        """Return the routing as JSON, its etag, and when it was changed; empty at first."""
        with unavailable_on_lost_connection():
            row = await self._pool.fetchrow(
                "SELECT spec, etag, update_time FROM routing WHERE tenant = $1", tenant
            )
        return ({}, "", None) if row is None else (row["spec"], row["etag"], row["update_time"])

    async def put(self, tenant: str, spec: dict[str, Any], *, etag: str, now: datetime) -> None:
        """
        Replace the routing.

        Raises:
            Conflict: ETAG_MISMATCH.

        """
        text = json.dumps([spec, now.isoformat()], sort_keys=True)
        new = hashlib.sha256(text.encode()).hexdigest()[:16]
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection, connection.transaction():
                there = await connection.fetchval(
                    "SELECT etag FROM routing WHERE tenant = $1 FOR UPDATE", tenant
                )
                if etag and etag != there:
                    raise Conflict(
                        "ETAG_MISMATCH", "The routing was changed meanwhile; read it again."
                    )
                await connection.execute(
                    "INSERT INTO routing (tenant, spec, etag, update_time) VALUES ($1, $2, $3, $4)"
                    " ON CONFLICT (tenant) DO UPDATE SET spec = $2, etag = $3, update_time = $4",
                    tenant, spec, new, now,
                )  # fmt: skip

    async def groups(self, tenant: str) -> dict[GroupKey, GroupState]:
        """Return what each group has been told."""
        with unavailable_on_lost_connection():
            rows = await self._pool.fetch(
                "SELECT policy, key, state FROM alert_groups WHERE tenant = $1", tenant
            )
        return {(row["policy"], row["key"]): GroupState(**row["state"]) for row in rows}

    async def save(self, tenant: str, groups: Mapping[GroupKey, GroupState | None]) -> None:
        """Write the states of *groups*; those of None are deleted."""
        kept = [(tenant, *key, asdict(state)) for key, state in groups.items() if state is not None]
        gone = [(tenant, *key) for key, state in groups.items() if state is None]
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.executemany(
                    "INSERT INTO alert_groups (tenant, policy, key, state)"
                    " VALUES ($1, $2, $3, $4)"
                    " ON CONFLICT (tenant, policy, key) DO UPDATE SET state = $4",
                    kept,
                )
                await connection.executemany(
                    "DELETE FROM alert_groups WHERE tenant = $1 AND policy = $2 AND key = $3", gone
                )
