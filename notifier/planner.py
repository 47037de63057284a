"""Draws up audiences: chunk by chunk, each decided by `plan` and written as one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from meshkit.errors import Unavailable
from meshkit.ids import new_id
from notifier.instruments import stored_context, tracer
from notifier.model import Event, EventKind, NotificationState, Reason
from notifier.plan import Offer, plan
from notifier.store.planning import NewDelivery
from notifier.wakes import PLAN


if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from notifier.instruments import Instruments
    from notifier.model import Lane, Recipient
    from notifier.store.planning import Chunk, PlanningStore, Task
    from notifier.wakes import Wakes

log = structlog.get_logger()


class Planner:
    """
    Plans one lane.

    Args:
        configured: Channels of this installation, and whether each needs an address.

    """

    def __init__(
        self,
        lane: Lane,
        store: PlanningStore,
        wakes: Wakes,
        instruments: Instruments,
        *,
        configured: Mapping[str, bool],
        clock: Callable[[], datetime],
        poll_s: float,
    ) -> None:
        self._lane = lane
        self._store = store
        self._wakes = wakes
        self._instruments = instruments
        self._configured = configured
        self._clock = clock
        self._poll_s = poll_s

    async def run(self) -> None:
        """Plan until cancelled; what is half done then is rolled back and done by the next."""
        while True:
            try:
                planned = await self.step()
            except Unavailable as error:
                log.warning("planning_interrupted", lane=self._lane.name, reason=error.reason)
                await asyncio.sleep(self._poll_s)
                continue
            if not planned:
                await self._wakes.wait(PLAN, self._lane, self._poll_s)

    async def step(self) -> int:
        """Plan one chunk; returns how many notifications it held."""
        now = self._clock()
        async with self._store.chunk(self._lane, now=now) as chunk:
            for task in chunk.tasks:
                context = stored_context(task.notification.traceparent)
                with tracer().start_as_current_span("notifier.plan", context=context) as span:
                    span.set_attribute("notifier.notification.id", task.notification.id)
                    before = len(chunk.deliveries)
                    self._plan(chunk, task, now)
                    span.set_attribute("notifier.deliveries", len(chunk.deliveries) - before)
        channels: dict[str, int] = {}
        for delivery in chunk.deliveries:
            channels[delivery.channel] = channels.get(delivery.channel, 0) + 1
        for channel, number in channels.items():
            self._instruments.planned(channel, number)
            self._wakes.work(channel, self._lane)
        return len(chunk.tasks)

    def _plan(self, chunk: Chunk, task: Task, now: datetime) -> None:
        n = task.notification

        def tell(kind: EventKind, reason: Reason = Reason.NONE, **where: str) -> None:
            chunk.events.append(
                Event(
                    tenant=n.tenant,
                    notification=n.id,
                    kind=kind,
                    reason=reason,
                    time=now,
                    delivery=where.get("delivery"),
                    recipient=where.get("recipient", ""),
                    channel=where.get("channel", ""),
                )
            )

        if task.superseded and task.first:
            tell(EventKind.SUPERSEDED, Reason.SUPERSEDED)
        for gone in task.gone:
            tell(EventKind.NOT_PLANNED, Reason.RECIPIENT_DELETED, recipient=gone)
        for recipient in task.audience:
            self._plan_for(chunk, task, recipient, now, tell)
        if task.last:
            nobody = task.first and not task.audience and not task.gone
            tell(EventKind.AUDIENCE_COMPLETE, Reason.EMPTY_AUDIENCE if nobody else Reason.NONE)

    def _plan_for(
        self,
        chunk: Chunk,
        task: Task,
        recipient: Recipient,
        now: datetime,
        tell: Callable[..., None],
    ) -> None:
        n = task.notification
        offer = Offer(
            category=n.category,
            useless_after=n.useless_after,
            wanted=frozenset(n.channels),
            content=task.content,
            superseded=task.superseded,
            cancelled=n.state is NotificationState.CANCELLED,
        )
        for verdict in plan(offer, recipient, configured=self._configured, now=now):
            where = {"recipient": recipient.id, "channel": verdict.channel}
            if verdict.reason is not Reason.NONE:
                tell(EventKind.NOT_PLANNED, verdict.reason, **where)
                self._instruments.silenced(verdict.channel, verdict.reason.name.lower())
                continue
            delivery = NewDelivery(
                id=new_id(), notification=n, recipient=recipient.id, channel=verdict.channel
            )
            chunk.deliveries.append(delivery)
            tell(EventKind.PLANNED, delivery=delivery.id, **where)
