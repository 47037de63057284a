"""Builds rules, alerts and who tells of them, and joins them to intake and queries."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING

from meshkit.errors import MeshError
from telemetry.alerts.room import TENANT, Room
from telemetry.alerts.sending import Sender
from telemetry.alerts.straight import Straight
from telemetry.alerts.teller import Teller
from telemetry.promql.limits import QueryLimits
from telemetry.rules.runner import Change, Runner
from telemetry.scan.shapes import Signal


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from meshkit.identity import Workload
    from telemetry.alerts.message import Message
    from telemetry.intake.intake import Intake
    from telemetry.query.queries import Queries
    from telemetry.settings import Settings

SAVE_WITHIN_S = 1.0
"""How long a stop waits for the database; what it doesn't know then is found anew."""


@contextlib.asynccontextmanager
async def open_room(
    settings: Settings, workload: Workload, intake: Intake, queries: Queries
) -> AsyncIterator[Room]:
    """
    Evaluate the rules of the database, once it is there, and tell people of alerts.

    A fault of theirs ends the caller too.
    """
    room = Room(
        settings.postgres_dsn,
        lambda changed: make_runner(settings, intake, queries, changed),
        make_teller=lambda room: make_teller(settings, workload, room),
        replica=settings.replica,
        connections=settings.postgres_connections,
        ingested=intake.arrivals.latest,
    )
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(room.run())]
        if settings.postgres_dsn:
            # The first alert shall not wait for what is compiled when it is first used.
            running.append(tasks.create_task(queries.warm()))
        yield room
        with contextlib.suppress(MeshError, TimeoutError):
            async with asyncio.timeout(SAVE_WITHIN_S):
                await room.leave()
        for task in running:
            task.cancel()


def make_runner(
    settings: Settings,
    intake: Intake,
    queries: Queries,
    changed: Callable[[Sequence[Change]], None],
) -> Runner:
    """Return what evaluates rules over *queries* and records through *intake*."""
    limits = QueryLimits(timeout=settings.rule_timeout)

    async def write(request: bytes, tenant: str) -> None:
        await intake.accept(Signal.METRICS, request, tenant)

    return Runner(
        source=lambda tenant: queries.source(tenant, limits.timeout),
        write=write,
        changed=changed,
        limits=limits,
        screen=queries.screen,
        step_ms=int(settings.rules_interval / timedelta(milliseconds=1)),
    )


def make_teller(settings: Settings, workload: Workload, room: Room) -> tuple[Teller, Sender]:
    """Return what tells people of the alerts of *room*, and what hands it over."""

    def taken(message: Message, *, sent_ms: int, delivered_ms: int, route: str) -> None:
        teller.taken(message, sent_ms=sent_ms, delivered_ms=delivered_ms, route=route)

    sender = Sender(
        workload,
        notifier_address=settings.notifier_address,
        straight=Straight(
            smtp_address=settings.alert_smtp_address,
            smtp_security=settings.alert_smtp_security,
            smtp_sender=settings.alert_smtp_sender,
        ),
        taken=taken,
    )
    teller = Teller(
        room.board,
        sender,
        tenant=TENANT,
        escalation=room.escalation,
        silences=room.active_silences,
        tells=lambda: room.lease.held,
    )
    return teller, sender
