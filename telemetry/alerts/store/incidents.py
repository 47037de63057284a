"""Incidents and their timelines in the database."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from meshkit.errors import FailedPrecondition, InvalidInput, NotFound
from meshkit.postgres import unavailable_on_lost_connection
from telemetry.alerts.incidents import EVENTS_MAX, Event, Incident, Kind


if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

KEPT_MS = 400 * 86_400_000
"""How long a resolved incident is kept."""

NOTES_MAX = 2 * EVENTS_MAX
"""Events of a timeline, notes included."""

_READ = (
    "SELECT id, policy, key, state, opened_ms, acknowledged_ms, acknowledger, resolved_ms"
    " FROM incidents"
)


class IncidentStore:
    """Incidents. All methods raise `Unavailable` when the database is away."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def open(self, tenant: str) -> list[Incident]:
        """Return those that are open."""
        with unavailable_on_lost_connection():
            rows = await self._pool.fetch(f"{_READ} WHERE tenant = $1 AND resolved_ms = 0", tenant)
        return [_incident(row) for row in rows]

    async def get(self, tenant: str, incident: str) -> Incident:
        """Return an incident; raises `NotFound` INCIDENT_NOT_FOUND."""
        with unavailable_on_lost_connection():
            row = await self._pool.fetchrow(
                f"{_READ} WHERE tenant = $1 AND id = $2", tenant, incident
            )
        if row is None:
            raise NotFound(
                "INCIDENT_NOT_FOUND", f"There is no incident {incident!r}.", incident=incident
            )
        return _incident(row)

    async def timeline(self, tenant: str, incident: str) -> list[Event]:
        """Return what happened in the course of an incident, in order."""
        with unavailable_on_lost_connection():
            rows = await self._pool.fetch(
                "SELECT event FROM incident_events WHERE tenant = $1 AND incident = $2"
                " ORDER BY at_ms, seq",
                tenant,
                incident,
            )
        return [_event(row["event"]) for row in rows]

    async def page(
        self,
        tenant: str,
        *,
        since_ms: int,
        resolved: bool,
        before: tuple[int, str],
        limit: int,
    ) -> list[Incident]:
        """Return up to *limit* that were opened since, behind *before*, the newest first."""
        with unavailable_on_lost_connection():
            rows = await self._pool.fetch(
                f"{_READ} WHERE tenant = $1 AND opened_ms >= $2 AND (resolved_ms = 0 OR $3)"
                " AND (opened_ms, id) < ($4, $5) ORDER BY opened_ms DESC, id DESC LIMIT $6",
                tenant,
                since_ms,
                resolved,
                *before,
                limit,
            )
        return [_incident(row) for row in rows]

    async def save(
        self,
        tenant: str,
        incidents: Sequence[Incident],
        events: Sequence[tuple[str, Event]],
        *,
        now_ms: int,
    ) -> None:
        """Write incidents as they stand, and what happened."""
        if not incidents and not events:
            return
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.executemany(
                    "INSERT INTO incidents (tenant, id, policy, key, state, opened_ms,"
                    " acknowledged_ms, acknowledger, resolved_ms)"
                    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (tenant, id)"
                    " DO UPDATE SET state = $5, opened_ms = $6, acknowledged_ms = $7,"
                    " acknowledger = $8, resolved_ms = $9",
                    [_row(tenant, one) for one in incidents],
                )
                await connection.executemany(
                    "INSERT INTO incident_events (tenant, incident, at_ms, event)"
                    " SELECT tenant, id, $3, $4 FROM incidents WHERE tenant = $1 AND id = $2",
                    [(tenant, incident, one.at_ms, asdict(one)) for incident, one in events],
                )
                await connection.execute(
                    "DELETE FROM incidents WHERE tenant = $1 AND resolved_ms > 0"
                    " AND resolved_ms < $2",
                    tenant, now_ms - KEPT_MS,
                )  # fmt: skip

    async def add_note(self, tenant: str, incident: str, note: Event, *, request_id: str) -> None:
        """
        Write *note* into a timeline; a repeat with the same *request_id* writes nothing more.

        Raises:
            NotFound: INCIDENT_NOT_FOUND.
            InvalidInput: REQUEST_ID_REUSED.
            FailedPrecondition: TIMELINE_FULL.

        """
        await self.get(tenant, incident)
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection, connection.transaction():
                there = await connection.fetchval(
                    "SELECT event FROM incident_events WHERE tenant = $1 AND incident = $2"
                    " AND request_id = $3 AND $3 <> ''",
                    tenant, incident, request_id,
                )  # fmt: skip
                if there is not None:
                    _same(_event(there), note)
                    return
                count = await connection.fetchval(
                    "SELECT count(*) FROM incident_events WHERE tenant = $1 AND incident = $2",
                    tenant, incident,
                )  # fmt: skip
                if count >= NOTES_MAX:
                    raise FailedPrecondition(
                        "TIMELINE_FULL",
                        "The timeline has no room for more.",
                        events_max=str(NOTES_MAX),
                    )
                await connection.execute(
                    "INSERT INTO incident_events (tenant, incident, at_ms, event, request_id)"
                    " VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
                    tenant, incident, note.at_ms, asdict(note), request_id,
                )  # fmt: skip


def _same(there: Event, note: Event) -> None:
    if (there.text, there.actor) != (note.text, note.actor):
        raise InvalidInput(
            "REQUEST_ID_REUSED",
            "The request_id came with other content before.",
            field_violations={"request_id": "came with other content before"},
        )


def _row(tenant: str, one: Incident) -> tuple[Any, ...]:
    state = {
        "titles": one.titles,
        "firing": dict(one.firing),
        "taken": dict(one.taken),
        "firings": one.firings,
        "events": one.events,
    }
    return (
        tenant, one.id, one.policy, one.key, state, one.opened_ms, one.acknowledged_ms,
        one.acknowledger, one.resolved_ms,
    )  # fmt: skip


def _incident(row: Any) -> Incident:
    given = dict(row)
    state = given.pop("state")
    return Incident(**given, **{**state, "titles": tuple(state["titles"])})


def _event(given: dict[str, Any]) -> Event:
    return Event(**{**given, "kind": Kind(given["kind"]), "targets": tuple(given["targets"])})
