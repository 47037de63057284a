"""
Hands notifications over: to the notifier, or straight to people where it doesn't take them.

    queue ─▶ notifier (within `TAKEN_WITHIN_S`) ─▶ taken
                 └─ refused, late, away ─▶ SMTP, webhooks ─▶ taken
                                               └─ none worked ─▶ again, later, up to `GIVE_UP_S`
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

import aiohttp
import grpc
import structlog
from opentelemetry import metrics

from aerofusion.notify.v1 import (
    notification_service_pb2,
    notification_service_pb2_grpc,
    template_service_pb2,
    template_service_pb2_grpc,
)
from meshkit.status import from_rpc_error
from telemetry.alerts.straight import mail, post_all


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from meshkit.identity import Workload
    from telemetry.alerts.message import Message
    from telemetry.alerts.straight import Straight

log = structlog.get_logger()

QUEUE_MAX = 1_000
"""Notifications that wait; beyond them the oldest are given up."""

WORKERS = 4
TAKEN_WITHIN_S = 5.0
"""How long the notifier may take to accept a notification before it goes straight."""

GIVE_UP_S = 600.0
TEMPLATE = "alerts"
_RETRY_FIRST_S, _RETRY_MOST_S = 1.0, 30.0


class Taken(Protocol):
    """Is told how a notification went; the route is empty if it was given up."""

    def __call__(
        self, message: Message, *, sent_ms: int, delivered_ms: int, route: str
    ) -> None: ...


class Sender:
    """
    Sends what is put into it. `run` until cancelled.

    Args:
        notifier_address: The notifier's gRPC address; empty: everything goes straight.
        taken: Is told of each notification that somebody took.
        clock: Unix nanoseconds.

    """

    def __init__(
        self,
        workload: Workload,
        *,
        notifier_address: str,
        straight: Straight,
        taken: Taken,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._workload = workload
        self._address = notifier_address
        self._straight = straight
        self._taken = taken
        self._clock = clock
        self._queue: asyncio.Queue[Message] = asyncio.Queue()
        self._sent = metrics.get_meter("telemetry").create_counter(
            "telemetry.alerts.notifications",
            unit="{notification}",
            description="Notifications handed over, by route: notifier, smtp, webhook or none",
        )

    def put(self, message: Message) -> None:
        """Send *message*, behind those that wait."""
        if self._queue.qsize() >= QUEUE_MAX:
            self._give_up(self._queue.get_nowait(), "too many wait")
        self._queue.put_nowait(message)

    async def run(self) -> None:
        """Send until cancelled. What waits then is told by the next start: see `Teller`."""
        async with contextlib.AsyncExitStack() as stack:
            channel = None
            if self._address:
                channel = await stack.enter_async_context(
                    self._workload.channel(self._address, service="notifier")
                )
            session = await stack.enter_async_context(aiohttp.ClientSession())
            async with asyncio.TaskGroup() as tasks:
                for _ in range(WORKERS):
                    tasks.create_task(self._work(channel, session))

    async def _work(self, channel: grpc.aio.Channel | None, session: aiohttp.ClientSession) -> None:
        while True:
            await self._send(await self._queue.get(), channel, session)

    async def _send(
        self, message: Message, channel: grpc.aio.Channel | None, session: aiohttp.ClientSession
    ) -> None:
        started = time.monotonic()
        wait_s = _RETRY_FIRST_S
        sent_ms = self._clock() // 1_000_000
        while True:
            route = await self._try(message, channel, session)
            if route:
                self._sent.add(1, {"route": route})
                delivered_ms = self._clock() // 1_000_000
                self._taken(message, sent_ms=sent_ms, delivered_ms=delivered_ms, route=route)
                return
            if time.monotonic() - started > GIVE_UP_S:
                self._give_up(message, "nobody takes it")
                return
            await asyncio.sleep(wait_s)
            wait_s = min(_RETRY_MOST_S, 2 * wait_s)

    def _give_up(self, message: Message, why: str) -> None:
        self._sent.add(1, {"route": "none"})
        log.error("notification_given_up", notification=message.id, why=why)
        self._taken(message, sent_ms=0, delivered_ms=0, route="")

    async def _try(
        self, message: Message, channel: grpc.aio.Channel | None, session: aiohttp.ClientSession
    ) -> str:
        """Return what took *message*; empty if nothing did."""
        if channel is not None and message.targets:
            try:
                async with asyncio.timeout(TAKEN_WITHIN_S):
                    await _notify(channel, message)
            except (grpc.aio.AioRpcError, TimeoutError) as error:
                why = error.details() if isinstance(error, grpc.aio.AioRpcError) else "too slow"
                log.warning("notifier_did_not_take", notification=message.id, why=why)
            else:
                return "notifier"
        mailed, posted = await asyncio.gather(
            mail(self._straight, message, self._workload), post_all(session, message)
        )
        return "smtp" if mailed else "webhook" if posted else ""


async def _notify(channel: grpc.aio.Channel, message: Message) -> None:
    """Have the notifier accept *message*, once for each tenant; raises AioRpcError."""
    stub: Any = notification_service_pb2_grpc.NotificationServiceStub(channel)
    for tenant, targets in _by_tenant(message.targets).items():
        request = _request(message, tenant, targets)
        try:
            await stub.CreateNotification(request)
        except grpc.aio.AioRpcError as error:
            if getattr(from_rpc_error(error), "reason", "") != "TEMPLATE_NOT_FOUND":
                raise
            await _make_template(channel, tenant)
            await stub.CreateNotification(request)


def _by_tenant(targets: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for target in targets:
        found.setdefault(target.split("/")[1], []).append(target)
    return found


def _request(
    message: Message, tenant: str, targets: Sequence[str]
) -> notification_service_pb2.CreateNotificationRequest:
    notification = notification_service_pb2.Notification(
        recipients=[one for one in targets if "/recipients/" in one],
        topics=[one for one in targets if "/topics/" in one],
        template=f"tenants/{tenant}/templates/{TEMPLATE}",
        category=notification_service_pb2.CATEGORY_CRITICAL,
        lane=notification_service_pb2.LANE_URGENT,
        subject_key=f"alerts/{'/'.join(message.group)}"[:256],
        subject_version=message.version,
    )
    notification.variables.update({"subject": message.subject, "text": message.text[:12_000]})
    notification.deliver_by.FromMilliseconds(message.version + 60_000)
    useless = timedelta(hours=4) // timedelta(milliseconds=1)
    notification.useless_after.FromMilliseconds(message.version + useless)
    return notification_service_pb2.CreateNotificationRequest(
        parent=f"tenants/{tenant}", notification=notification, request_id=message.id
    )


async def _make_template(channel: grpc.aio.Channel, tenant: str) -> None:
    stub: Any = template_service_pb2_grpc.TemplateServiceStub(channel)
    template = template_service_pb2.Template(
        name=f"tenants/{tenant}/templates/{TEMPLATE}",
        display_name="Alerts",
        default_locale="en",
        contents=[
            template_service_pb2.TemplateContent(
                channel=kind, locale="en", subject="{{ subject }}", text="{{ text }}"
            )
            for kind in ("email", "inapp")
        ],
    )
    await stub.UpdateTemplate(
        template_service_pb2.UpdateTemplateRequest(template=template, allow_missing=True)
    )
