"""Dashboards, running: kept, followed, and what they show of the machine and PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from telemetry.dashboards.database import Database
from telemetry.dashboards.hub import Hub
from telemetry.hosts import machine
from telemetry.hosts.databases import Databases


if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from opentelemetry.sdk.metrics import MeterProvider

    from telemetry.query.queries import Queries
    from telemetry.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboards:
    """Dashboards, kept and followed."""

    database: Database
    hub: Hub


@contextlib.asynccontextmanager
async def open_dashboards(
    settings: Settings, queries: Queries, news: asyncio.Event, meters: MeterProvider
) -> AsyncIterator[Dashboards]:
    """Keep and follow dashboards until left; a fault of theirs ends the caller too."""
    database = Database(settings.postgres_dsn, replica=settings.replica)
    hub = Hub(queries, news=news)
    meter = meters.get_meter("telemetry.hosts")
    machine.publish(meter, settings.state_dir)
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(database.run()), tasks.create_task(hub.run())]
        if database.configured:
            databases = Databases(database.pool)
            databases.publish(meter)
            running.append(tasks.create_task(databases.run()))
        yield Dashboards(database=database, hub=hub)
        for one in running:
            one.cancel()
