"""The composition root: the only module that builds and joins the parts."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from meshkit.bus import open_bus
from meshkit.call_limits import CallLimits
from meshkit.identity import Workload
from meshkit.observability import observed
from meshkit.postgres import migrate, open_pool
from meshkit.serving import GrpcServer, ServingLimits
from syncd.devices import Devices
from syncd.feed import Feeds
from syncd.limits import Limits
from syncd.metrics import Meters
from syncd.policy import policy
from syncd.services import spaces as space_service
from syncd.services import sync as sync_service
from syncd.session import Surroundings
from syncd.sessions import Sessions
from syncd.store.cells import Applied, CellStore
from syncd.store.changes import ChangeReader
from syncd.store.spaces import SpaceStore, sweep_forever
from syncd.wire import deltas
from syncd.writer import Writer


if TYPE_CHECKING:
    import asyncpg

    from meshkit.bus import Bus
    from syncd.model import Head
    from syncd.settings import Settings

CHANGED = "sync.changed"
"""The bus's subject for hints; the message is the space's key in decimal."""


async def serve(
    settings: Settings,
    *,
    stop: asyncio.Event,
    started: asyncio.Future[int] | None = None,
    workload: Workload | None = None,
) -> None:
    """
    Run until *stop* is set, then drain and return.

    Args:
        started: Receives the bound port once calls are accepted.
        workload: The process's identity; by default the stored one, or one got by joining.

    """
    if workload is None:
        workload = await Workload.open(settings, "syncd")
    async with (
        observed("syncd", settings.replica, workload, settings.telemetry_address),
        open_pool(
            settings.postgres_dsn,
            application_name=f"syncd/{settings.replica}",
            max_size=settings.postgres_connections,
        ) as pool,
        open_bus(settings.nats_url, workload) as bus,
        asyncio.TaskGroup() as tasks,
    ):
        await migrate(pool, "syncd.store.migrations")
        running = [tasks.create_task(workload.run(), name="identity")]
        server = GrpcServer(
            workload=workload,
            listen=settings.listen,
            policy=policy(),
            unix_socket=settings.unix_socket,
            limits=ServingLimits(concurrent_rpcs_max=Limits().sessions_max + 1_000),
            call_limits=CallLimits(workload, settings.gateway_address),
        )
        running += await _join(settings, server, pool, bus, tasks)
        port = await server.start()
        if started is not None:
            started.set_result(port)
        await stop.wait()
        await server.drain(settings.shutdown_grace)
        for task in running:
            task.cancel()


async def _join(
    settings: Settings,
    server: GrpcServer,
    pool: asyncpg.Pool,
    bus: Bus,
    tasks: asyncio.TaskGroup,
) -> list[asyncio.Task[None]]:
    """Build the services into *server*; return the tasks to cancel at the end."""
    limits, meters = Limits(), Meters()
    spaces, cells = SpaceStore(pool, limits), CellStore(pool, limits)
    changes = ChangeReader(pool, limits)
    feeds = Feeds(
        spaces,
        changes,
        lambda delta, reset: deltas.frame_bytes(deltas.delta(delta, reset=reset)),
        coalesce=settings.coalesce,
        poll=settings.poll,
        cache_bytes_max=settings.frame_cache_bytes,
    )

    def changed(space_key: int) -> None:
        feeds.hint(space_key)
        bus.publish(CHANGED, str(space_key).encode())

    def committed(head: Head, applied: Applied) -> None:
        meters.committed(applied)
        changed(head.space_key)

    def hinted(message: bytes) -> None:
        with contextlib.suppress(ValueError):
            feeds.hint(int(message))

    await bus.subscribe(CHANGED, hinted)
    sessions = Sessions(
        open_max=limits.sessions_max, keep=settings.session_keep, clock=time.monotonic
    )
    meters.observe_sessions(lambda: sessions.open)
    shared = Surroundings(
        spaces=spaces,
        devices=Devices(spaces),
        writer=Writer(cells, limits, tasks, committed),
        feeds=feeds,
        sessions=sessions,
        meters=meters,
        limits=limits,
        stopping=server.stopping,
        heartbeat=settings.heartbeat,
        age_max=settings.session_age_max,
        write_timeout=settings.write_timeout,
        come_back_after=settings.come_back_after,
    )
    server.add(
        space_service.register,
        space_service.SpaceService(pool, spaces, limits, changed),
        space_service.SERVICE_NAME,
    )
    server.add(
        sync_service.register,
        sync_service.SyncService(shared, cells, changes),
        sync_service.SERVICE_NAME,
    )
    return [
        tasks.create_task(feeds.watch(), name="feeds"),
        tasks.create_task(sweep_forever(spaces, settings.sweep), name="sweep"),
    ]
