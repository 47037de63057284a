"""Alerts and silences in the database."""

# ruff: noqa: S608 - what is put in are our own column lists

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from meshkit.errors import Conflict, FailedPrecondition, InvalidInput, NotFound
from meshkit.postgres import unavailable_on_lost_connection
from telemetry.alerts.codec import alert_json, alert_of, marks_json, marks_of
from telemetry.alerts.model import SILENCE_KEPT_MS, SILENCES_MAX, Listed, Silence


if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import asyncpg

_SILENCE = "id, matchers, start_ms, end_ms, comment, creator, etag, created_ms, updated_ms"


def silence_not_found(silence: str) -> NotFound:
    """Return the error of a silence that there isn't."""
    return NotFound("SILENCE_NOT_FOUND", f"There is no silence {silence!r}.", silence=silence)


class AlertStore:
    """Alerts and marks. All methods raise `Unavailable` when the database is away."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def all(self) -> tuple[list[Listed], int]:
        """Return all alerts, and up to when rules had been evaluated, Unix ms (0: never)."""
        with unavailable_on_lost_connection():
            rows = await self._pool.fetch(
                "SELECT tenant, id, rule_group, rule, alert, marks FROM alerts"
            )
            clock = await self._pool.fetchval("SELECT evaluated_ms FROM rule_clock")
        return [
            Listed(
                id=row["id"],
                tenant=row["tenant"],
                group=row["rule_group"],
                rule=row["rule"],
                alert=alert_of(row["alert"]),
                marks=marks_of(row["marks"]),
            )
            for row in rows
        ], int(clock or 0)

    async def save(
        self,
        listed: Sequence[Listed],
        gone: Sequence[tuple[str, str]],
        *,
        evaluated_ms: int,
        now: datetime,
    ) -> None:
        """Write the alerts *listed*, delete those *gone* (tenant, id), and set the clock."""
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.executemany(
                    "INSERT INTO alerts (tenant, id, rule_group, rule, alert, marks, update_time)"
                    " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (tenant, id) DO UPDATE"
                    " SET alert = $5, marks = $6, update_time = $7",
                    [
                        (
                            one.tenant, one.id, one.group, one.rule, alert_json(one.alert),
                            marks_json(one.marks), now,
                        )
                        for one in listed
                    ],
                )  # fmt: skip
                await connection.executemany(
                    "DELETE FROM alerts WHERE tenant = $1 AND id = $2", list(gone)
                )
                await connection.execute(
                    "INSERT INTO rule_clock (evaluated_ms) VALUES ($1)"
                    " ON CONFLICT (single) DO UPDATE SET evaluated_ms = $1",
                    evaluated_ms,
                )


class SilenceStore:
    """Silences. All methods raise `Unavailable` when the database is away."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def all(self, tenant: str, *, since_ms: int) -> list[Silence]:
        """Return the silences that end after *since_ms*, the one that ends last first."""
        with unavailable_on_lost_connection():
            rows = await self._pool.fetch(
                f"SELECT {_SILENCE} FROM silences WHERE tenant = $1 AND end_ms > $2"
                " ORDER BY end_ms DESC, id LIMIT $3",
                tenant, since_ms, SILENCES_MAX,
            )  # fmt: skip
        return [_silence(row) for row in rows]

    async def get(self, tenant: str, silence: str) -> Silence:
        """Return a silence; raises `NotFound` SILENCE_NOT_FOUND."""
        with unavailable_on_lost_connection():
            row = await self._pool.fetchrow(
                f"SELECT {_SILENCE} FROM silences WHERE tenant = $1 AND id = $2", tenant, silence
            )
        if row is None:
            raise silence_not_found(silence)
        return _silence(row)

    async def create(self, tenant: str, silence: Silence, *, request_id: str) -> Silence:
        """
        Create a silence; a repeat with the same *request_id* and content returns the first.

        Raises:
            InvalidInput: REQUEST_ID_REUSED.
            FailedPrecondition: TOO_MANY_SILENCES.

        """
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(
                    "DELETE FROM silences WHERE tenant = $1 AND end_ms < $2",
                    tenant, silence.created_ms - SILENCE_KEPT_MS,
                )  # fmt: skip
                count = await connection.fetchval(
                    "SELECT count(*) FROM silences WHERE tenant = $1", tenant
                )
                if count >= SILENCES_MAX:
                    raise FailedPrecondition(
                        "TOO_MANY_SILENCES",
                        "There are too many silences; end some.",
                        silences_max=str(SILENCES_MAX),
                    )
                row = await connection.fetchrow(
                    "INSERT INTO silences (tenant, id, matchers, start_ms, end_ms, comment,"
                    " creator, etag, request_id, created_ms, updated_ms)"
                    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10)"
                    f" ON CONFLICT DO NOTHING RETURNING {_SILENCE}",
                    tenant, silence.id, list(silence.matchers), silence.start_ms, silence.end_ms,
                    silence.comment, silence.creator, silence.etag, request_id,
                    silence.created_ms,
                )  # fmt: skip
                if row is not None:
                    return _silence(row)
                there = await connection.fetchrow(
                    f"SELECT {_SILENCE} FROM silences WHERE tenant = $1 AND request_id = $2",
                    tenant, request_id,
                )  # fmt: skip
        assert there is not None, "an id of ours is nobody else's"
        if _content(_silence(there)) != _content(silence):
            raise InvalidInput(
                "REQUEST_ID_REUSED",
                "The request_id came with other content before.",
                field_violations={"request_id": "came with other content before"},
            )
        return _silence(there)

    async def update(self, tenant: str, silence: Silence, *, etag: str) -> Silence:
        """
        Replace a silence.

        Raises:
            NotFound: SILENCE_NOT_FOUND.
            Conflict: ETAG_MISMATCH.

        """
        with unavailable_on_lost_connection():
            row = await self._pool.fetchrow(
                "UPDATE silences SET matchers = $3, start_ms = $4, end_ms = $5, comment = $6,"
                " etag = $7, updated_ms = $8 WHERE tenant = $1 AND id = $2"
                f" AND ($9 = '' OR etag = $9) RETURNING {_SILENCE}",
                tenant, silence.id, list(silence.matchers), silence.start_ms, silence.end_ms,
                silence.comment, silence.etag, silence.updated_ms, etag,
            )  # fmt: skip
        if row is None:
            await self.get(tenant, silence.id)
            raise Conflict(
                "ETAG_MISMATCH",
                "The silence was changed meanwhile; read it again.",
                silence=silence.id,
            )
        return _silence(row)


def silence_etag(silence: Silence) -> str:
    """Return what changes whenever the content does."""
    text = json.dumps([*_content(silence), silence.updated_ms])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _content(silence: Silence) -> tuple[object, ...]:
    return (silence.matchers, silence.end_ms, silence.comment, silence.creator)


def _silence(row: Any) -> Silence:
    return Silence(**{**row, "matchers": tuple(row["matchers"])})
