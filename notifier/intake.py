"""Accepts notifications: durable in one transaction, then a hint to the planner."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from opentelemetry import trace

from meshkit.errors import Overloaded
from meshkit.tracing import carrier
from notifier.instruments import tracer
from notifier.wakes import PLAN


if TYPE_CHECKING:
    from collections.abc import Sequence

    from notifier.instruments import Instruments
    from notifier.store.notifications import Accepted, Draft, NotificationStore
    from notifier.wakes import Wakes


class Intake:
    """The only way in. Knows how much is waiting, and refuses beyond *backlog_max*."""

    def __init__(
        self,
        store: NotificationStore,
        wakes: Wakes,
        instruments: Instruments,
        *,
        backlog_max: int,
    ) -> None:
        self._store = store
        self._wakes = wakes
        self._instruments = instruments
        self._backlog_max = backlog_max
        self.backlog = 0
        """Deliveries waiting, as last counted."""

    async def accept(self, tenant: str, drafts: Sequence[Draft]) -> list[Accepted]:
        """
        Make *drafts* durable, all or none.

        Raises:
            Overloaded: BACKLOG_FULL.
            MeshError: As `NotificationStore.accept`.

        """
        if self.backlog >= self._backlog_max:
            raise Overloaded(
                "BACKLOG_FULL",
                "Too many deliveries are waiting; try again after the given delay.",
                retry_after=timedelta(seconds=5),
                waiting=str(self.backlog),
            )
        with tracer().start_as_current_span("notifier.accept") as span:
            traceparent = carrier().get("traceparent", "")
            traced = [
                replace(d, notification=replace(d.notification, traceparent=traceparent))
                for d in drafts
            ]
            accepted = await self._store.accept(tenant, traced)
            self._describe(span, accepted)
        fresh = [d.notification for d, a in zip(traced, accepted, strict=True) if not a.repeat]
        self._instruments.accepted(fresh)
        for lane in {n.lane for n in fresh}:
            self._wakes.work(PLAN, lane)
        return accepted

    @staticmethod
    def _describe(span: trace.Span, accepted: Sequence[Accepted]) -> None:
        span.set_attribute("notifier.notifications", len(accepted))
        if len(accepted) == 1:
            span.set_attribute("notifier.notification.id", accepted[0].id)
