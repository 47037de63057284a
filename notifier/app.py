"""The composition root: the only module that builds and joins the parts."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import structlog

from aerofusion.notify.v1 import inbox_service_pb2_grpc as inbox_grpc
from aerofusion.notify.v1 import notification_service_pb2_grpc as notification_grpc
from aerofusion.notify.v1 import recipient_service_pb2_grpc as recipient_grpc
from aerofusion.notify.v1 import subscription_service_pb2_grpc as subscription_grpc
from aerofusion.notify.v1 import template_service_pb2_grpc as template_grpc
from meshkit.bus import open_bus
from meshkit.call_limits import CallLimits
from meshkit.identity import Workload
from meshkit.ids import new_id
from meshkit.observability import observed
from meshkit.postgres import migrate, open_pool
from meshkit.serving import GrpcServer, ServingLimits
from notifier.catalog import Catalog
from notifier.channels import CHANNELS
from notifier.channels.seam import Parts
from notifier.housekeeper import Housekeeper
from notifier.hub import Hub
from notifier.instruments import Instruments
from notifier.intake import Intake
from notifier.lanes import LaneWorker
from notifier.model import Lane
from notifier.planner import Planner
from notifier.policy import POLICY
from notifier.recorder import Recorder
from notifier.render import Renderer
from notifier.services.inbox import InboxService
from notifier.services.notifications import NotificationService
from notifier.services.recipients import RecipientService
from notifier.services.subscriptions import SubscriptionService
from notifier.services.templates import TemplateService
from notifier.store.deliveries import DeliveryStore
from notifier.store.inbox import InboxStore
from notifier.store.notifications import NotificationStore
from notifier.store.planning import PlanningStore
from notifier.store.recipients import RecipientStore
from notifier.store.templates import TemplateStore
from notifier.store.upkeep import UpkeepStore
from notifier.wakes import Wakes


if TYPE_CHECKING:
    from collections.abc import Callable

    import asyncpg

    from meshkit.bus import Bus
    from notifier.channels.seam import Channel
    from notifier.settings import Settings

log = structlog.get_logger()

PACKAGE = "aerofusion.notify.v1"


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
        workload: This process's identity; taken up by the settings if None.

    Raises:
        ListenFailed: The address is taken.
        MeshError: PostgreSQL stays away, or the identity can't be had.

    """
    workload = workload or await Workload.open(settings, "notifier")
    async with (
        observed("notifier", settings.replica, workload, settings.telemetry_address),
        open_pool(
            settings.postgres_dsn,
            application_name=f"notifier/{settings.replica}",
            max_size=settings.postgres_connections,
        ) as pool,
        open_bus(settings.nats_url, workload) as bus,
    ):
        await migrate(pool, "notifier.store.migrations")
        parts = await _build(settings, workload, pool, bus)
        try:
            await _run(settings, parts, stop=stop, started=started, workload=workload)
        finally:
            # After a fault among the tasks it still listens; after a drain this does nothing.
            await parts.server.server.stop(0)
            for channel in parts.channels.values():
                await channel.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Running:
    """The parts that run."""

    server: GrpcServer
    hub: Hub
    recorder: Recorder
    housekeeper: Housekeeper
    planners: list[Planner]
    workers: list[LaneWorker]
    channels: dict[str, Channel]


async def _run(
    settings: Settings,
    parts: _Running,
    *,
    stop: asyncio.Event,
    started: asyncio.Future[int] | None,
    workload: Workload,
) -> None:
    draining = asyncio.Event()
    poll_s = settings.poll_interval.total_seconds()
    grace_s = settings.shutdown_grace.total_seconds()
    async with asyncio.TaskGroup() as tasks:
        background = [
            tasks.create_task(workload.run(), name="identity"),
            tasks.create_task(parts.recorder.run(), name="recorder"),
            tasks.create_task(parts.hub.run(poll_s), name="hub"),
        ]
        makers = [
            tasks.create_task(parts.housekeeper.run(), name="housekeeper"),
            *(tasks.create_task(planner.run(), name="planner") for planner in parts.planners),
        ]
        lanes = [tasks.create_task(w.run(draining), name="lane") for w in parts.workers]
        port = await parts.server.start()
        if started is not None and not started.done():
            started.set_result(port)
        await stop.wait()
        # First nothing new comes in; then what is under way goes out and is recorded.
        await parts.server.drain(settings.shutdown_grace)
        for task in makers:
            task.cancel()
        draining.set()
        _, unfinished = await asyncio.wait(lanes, timeout=grace_s)
        if unfinished:
            # Their leases run out; another process decides what became of them.
            log.warning("attempts_abandoned", lanes=len(unfinished))
        for task in (*unfinished, *background):
            task.cancel()


async def _build(settings: Settings, workload: Workload, pool: asyncpg.Pool, bus: Bus) -> _Running:
    instruments = Instruments()
    wakes = Wakes(bus)
    inbox = InboxStore(pool)
    hub = Hub(inbox, instruments, streams_max=settings.streams_max)
    wakes.on_inboxes(hub.wake)
    await wakes.listen()
    deliveries = DeliveryStore(
        pool, worker=f"{workload.spiffe_id}#{new_id()}", attempts_max=settings.attempts_max
    )
    made = Parts(settings=settings, workload=workload, inbox=inbox, wakes=wakes, clock=_now)
    built = {name: kind.build(made) for name, kind in CHANNELS.items()}
    channels = {name: channel for name, channel in built.items() if channel is not None}
    recorder = Recorder(deliveries, channels, instruments, chance=random.random)
    notifications = NotificationStore(pool)
    intake = Intake(notifications, wakes, instruments, backlog_max=settings.backlog_max)
    upkeep = UpkeepStore(pool, attempts_max=settings.attempts_max)
    server = _server(settings, workload)
    renderer = Renderer()
    _add_services(
        server,
        settings,
        pool,
        renderer=renderer,
        inbox=inbox,
        hub=hub,
        wakes=wakes,
        intake=intake,
        notifications=notifications,
        deliveries=deliveries,
    )
    return _Running(
        server=server,
        hub=hub,
        recorder=recorder,
        housekeeper=Housekeeper(
            upkeep,
            wakes,
            intake,
            instruments,
            channels,
            interval=settings.poll_interval,
            retention=settings.retention,
            clock=_now,
        ),
        planners=_planners(settings, PlanningStore(pool), channels, wakes, instruments),
        workers=_workers(
            settings,
            channels,
            store=deliveries,
            catalog=Catalog(TemplateStore(pool)),
            renderer=renderer,
            recorder=recorder,
            wakes=wakes,
            instruments=instruments,
        ),
        channels=channels,
    )


def _planners(
    settings: Settings,
    store: PlanningStore,
    channels: dict[str, Channel],
    wakes: Wakes,
    instruments: Instruments,
) -> list[Planner]:
    return [
        Planner(
            lane,
            store,
            wakes,
            instruments,
            configured={name: CHANNELS[name].needs_address for name in channels},
            clock=_now,
            poll_s=settings.poll_interval.total_seconds(),
        )
        for lane in Lane
    ]


def _workers(
    settings: Settings,
    channels: dict[str, Channel],
    *,
    store: DeliveryStore,
    catalog: Catalog,
    renderer: Renderer,
    recorder: Recorder,
    wakes: Wakes,
    instruments: Instruments,
) -> list[LaneWorker]:
    """Return a worker for each channel and lane: none can take another's slots."""
    return [
        LaneWorker(
            name,
            channel,
            lane,
            store=store,
            catalog=catalog,
            renderer=renderer,
            recorder=recorder,
            wakes=wakes,
            instruments=instruments,
            needs_address=CHANNELS[name].needs_address,
            attempt_timeout=settings.attempt_timeout,
            lease=settings.attempt_timeout + settings.lease_margin,
            poll_s=settings.poll_interval.total_seconds(),
            clock=_now,
        )
        for name, channel in channels.items()
        for lane in Lane
    ]


def _server(settings: Settings, workload: Workload) -> GrpcServer:
    return GrpcServer(
        workload=workload,
        listen=settings.listen,
        policy=POLICY,
        unix_socket=settings.unix_socket,
        limits=ServingLimits(
            # Streams are calls too; unary calls must find room beside them.
            concurrent_rpcs_max=settings.streams_max + 1_000,
            streams_per_connection_max=settings.streams_max + 1_000,
        ),
        call_limits=CallLimits(workload, settings.gateway_address),
    )


def _add_services(
    server: GrpcServer,
    settings: Settings,
    pool: asyncpg.Pool,
    *,
    renderer: Renderer,
    inbox: InboxStore,
    hub: Hub,
    wakes: Wakes,
    intake: Intake,
    notifications: NotificationStore,
    deliveries: DeliveryStore,
) -> None:
    recipients = RecipientStore(pool)
    services: list[tuple[Callable[[Any, Any], None], object, str]] = [
        (
            notification_grpc.add_NotificationServiceServicer_to_server,
            NotificationService(intake, notifications, deliveries, wakes, clock=_now),
            "NotificationService",
        ),
        (
            recipient_grpc.add_RecipientServiceServicer_to_server,
            RecipientService(recipients, clock=_now),
            "RecipientService",
        ),
        (
            subscription_grpc.add_SubscriptionServiceServicer_to_server,
            SubscriptionService(recipients, clock=_now),
            "SubscriptionService",
        ),
        (
            template_grpc.add_TemplateServiceServicer_to_server,
            TemplateService(TemplateStore(pool), renderer, clock=_now),
            "TemplateService",
        ),
        (
            inbox_grpc.add_InboxServiceServicer_to_server,
            InboxService(
                inbox,
                hub,
                wakes,
                stopping=server.stopping,
                heartbeat=settings.heartbeat,
                stream_age=settings.stream_age,
                clock=_now,
                chance=random.random,
            ),
            "InboxService",
        ),
    ]
    for register, servicer, name in services:
        server.add(register, servicer, f"{PACKAGE}.{name}")


def _now() -> datetime:
    return datetime.now(UTC)
