"""
One worker per channel and lane: claims, renders, hands over, has the result recorded.

Each lane has slots of its own in each channel, so bulk can't take a boarding call's.

    claim (attempt on record) ─▶ render ─▶ useless by now? ─▶ channel ─▶ recorder
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog
from opentelemetry.trace import SpanKind, StatusCode

from meshkit.errors import MeshError, NotFound, Unavailable
from notifier.instruments import stored_context, tracer
from notifier.model import Message, Reason
from notifier.outcome import Delivered, Dropped, Outcome, Refused, RetryLater, Unconfirmed
from notifier.render import Renderer, RenderFailed, choose
from notifier.store.deliveries import Result


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime, timedelta

    from opentelemetry.trace import Span

    from notifier.catalog import Catalog
    from notifier.channels.seam import Channel
    from notifier.instruments import Instruments
    from notifier.model import Lane
    from notifier.recorder import Recorder
    from notifier.store.deliveries import Claimed, DeliveryStore
    from notifier.wakes import Wakes

log = structlog.get_logger()


class LaneWorker:
    """Delivers what waits for one channel in one lane."""

    def __init__(
        self,
        name: str,
        channel: Channel,
        lane: Lane,
        *,
        store: DeliveryStore,
        catalog: Catalog,
        renderer: Renderer,
        recorder: Recorder,
        wakes: Wakes,
        instruments: Instruments,
        needs_address: bool,
        attempt_timeout: timedelta,
        lease: timedelta,
        poll_s: float,
        clock: Callable[[], datetime],
    ) -> None:
        self._name = name
        self._channel = channel
        self._lane = lane
        self._store = store
        self._catalog = catalog
        self._renderer = renderer
        self._recorder = recorder
        self._wakes = wakes
        self._instruments = instruments
        self._needs_address = needs_address
        self._timeout_s = attempt_timeout.total_seconds()
        self._lease = lease
        self._poll_s = poll_s
        self._clock = clock
        self._under_way: set[str] = set()
        self._claim_in_doubt = False
        self._freed = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until *stop* is set, then finish what is under way and return."""
        async with asyncio.TaskGroup() as tasks:
            while not stop.is_set():
                free = self._channel.concurrency - len(self._under_way)
                if free <= 0:
                    self._freed.clear()
                    await self._freed.wait()
                    continue
                try:
                    claimed = await self._claim(free)
                except Unavailable as error:
                    self._claim_in_doubt = True
                    log.warning(
                        "lane_interrupted",
                        channel=self._name,
                        lane=self._lane.name,
                        reason=error.reason,
                    )
                    await self._wakes.wait(self._name, self._lane, self._poll_s)
                    continue
                size = self._channel.batch_max
                for start in range(0, len(claimed), size):
                    batch = claimed[start : start + size]
                    self._under_way |= {one.id for one in batch}
                    tasks.create_task(self._attempt(batch), name=f"{self._name}-{self._lane.name}")
                if not claimed:
                    await self._wakes.wait(self._name, self._lane, self._poll_s)

    async def _claim(self, limit: int) -> list[Claimed]:
        if self._claim_in_doubt:
            await self._store.give_back(
                self._name, self._lane, under_way=self._under_way, now=self._clock()
            )
            self._claim_in_doubt = False
        while True:
            claimed, dropped = await self._store.claim(
                self._name,
                self._lane,
                limit=limit,
                lease=self._lease,
                needs_address=self._needs_address,
                now=self._clock(),
            )
            # A queue full of what nobody wants any more is emptied without waiting.
            if claimed or not dropped:
                return claimed

    async def _attempt(self, batch: Sequence[Claimed]) -> None:
        try:
            spans = [self._span(claimed) for claimed in batch]
            outcomes = await self._outcomes(batch)
            now = self._clock()
            await self._recorder.record(
                [
                    Result(claimed=claimed, outcome=outcome, time=now)
                    for claimed, outcome in zip(batch, outcomes, strict=True)
                ]
            )
            for span, outcome in zip(spans, outcomes, strict=True):
                _end(span, outcome)
        finally:
            self._under_way -= {claimed.id for claimed in batch}
            self._freed.set()

    async def _outcomes(self, batch: Sequence[Claimed]) -> list[Outcome]:
        """Return one outcome per delivery: of the rendering where that failed, else the channel's."""
        outcomes: dict[str, Outcome] = {}
        messages = []
        for claimed in batch:
            try:
                messages.append(await self._render(claimed))
            except RenderFailed as error:
                outcomes[claimed.id] = Refused(Reason.RENDER_FAILED, str(error))
            except NotFound as error:
                outcomes[claimed.id] = Refused(Reason.RENDER_FAILED, error.reason)
            except Unavailable as error:
                outcomes[claimed.id] = RetryLater(Reason.PROVIDER_UNREACHABLE, error.reason)
        now = self._clock()
        for message in messages:
            if now >= message.useless_after:
                outcomes[message.delivery] = Dropped(Reason.TOO_LATE)
        timely = [m for m in messages if m.delivery not in outcomes]
        if timely:
            for message, outcome in zip(timely, await self._hand_over(timely), strict=True):
                outcomes[message.delivery] = outcome
        return [outcomes[claimed.id] for claimed in batch]

    async def _hand_over(self, messages: Sequence[Message]) -> Sequence[Outcome]:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._channel.deliver(messages)
        except TimeoutError:
            # How far the channel had come is unknown.
            return [Unconfirmed(Reason.NO_CONFIRMATION, "attempt timed out")] * len(messages)
        except Exception as error:  # A bug in one channel must not stop the others.
            log.exception("channel_bug", channel=self._name)
            detail = error.reason if isinstance(error, MeshError) else type(error).__name__
            return [Unconfirmed(Reason.CHANNEL_FAULT, detail)] * len(messages)

    async def _render(self, claimed: Claimed) -> Message:
        n, recipient = claimed.notification, claimed.recipient
        template = await self._catalog.template(n.tenant, n.template, n.template_version)
        content = choose(template, claimed.channel, recipient.locale)
        if content is None:
            raise RenderFailed("the template has no content for this channel")
        values: dict[str, Any] = {
            **n.variables,
            "recipient": {
                "id": recipient.id,
                "display_name": recipient.display_name,
                "locale": content.locale,
                "time_zone": recipient.time_zone,
            },
        }
        context = stored_context(n.traceparent)
        with tracer().start_as_current_span("notifier.render", context=context) as span:
            span.set_attribute("notifier.notification.id", n.id)
            span.set_attribute("notifier.template", n.template)
            rendered = self._renderer.render(n.tenant, template, content, values)
        return Message(
            tenant=n.tenant,
            notification=n.id,
            delivery=claimed.id,
            recipient=recipient.id,
            address=claimed.address,
            lane=n.lane,
            category=n.category,
            attempt=claimed.attempt,
            locale=rendered.locale,
            subject=rendered.subject,
            text=rendered.text,
            html=rendered.html,
            action_url=rendered.action_url,
            subject_key=n.subject_key,
            subject_version=n.subject_version,
            labels=n.labels,
            create_time=claimed.create_time,
            useless_after=n.useless_after,
            resent=claimed.resent,
        )

    def _span(self, claimed: Claimed) -> Span:
        n = claimed.notification
        return tracer().start_span(
            f"notifier.deliver {self._name}",
            context=stored_context(n.traceparent),
            kind=SpanKind.CLIENT,
            attributes={
                "notifier.notification.id": n.id,
                "notifier.delivery.id": claimed.id,
                "notifier.channel": self._name,
                "notifier.lane": self._lane.name.lower(),
                "notifier.attempt": claimed.attempt,
            },
        )


def _end(span: Span, outcome: Outcome) -> None:
    span.set_attribute("notifier.outcome", type(outcome).__name__)
    if not isinstance(outcome, Delivered):
        span.set_attribute("notifier.reason", outcome.reason.name)
        if not isinstance(outcome, Dropped):
            span.set_status(StatusCode.ERROR, outcome.reason.name)
    span.end()
