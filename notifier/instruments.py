"""What the notifier tells about itself: metrics and spans."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry import metrics, propagate, trace

from notifier.model import DeliveryState, Lane


if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from opentelemetry.context import Context

    from notifier.model import Notification
    from notifier.retry import Step


class Instruments:
    """Metrics, made once per process after observability is set up."""

    def __init__(self) -> None:
        meter = metrics.get_meter("notifier")
        self._accepted = meter.create_counter(
            "notifier.notifications.accepted", unit="{notification}", description="Made durable"
        )
        self._planned = meter.create_counter(
            "notifier.deliveries.planned", unit="{delivery}", description="Decided to go out"
        )
        self._silenced = meter.create_counter(
            "notifier.deliveries.silenced",
            unit="{delivery}",
            description="Decided not to go out, by reason",
        )
        self._attempts = meter.create_counter(
            "notifier.attempts", unit="{attempt}", description="Attempts by what followed"
        )
        self._delivered = meter.create_counter(
            "notifier.deliveries", unit="{delivery}", description="Deliveries by final state"
        )
        self._latency = meter.create_histogram(
            "notifier.delivery.latency",
            unit="s",
            description="From acceptance to the provider's confirmation",
            explicit_bucket_boundaries_advisory=[
                0.01,
                0.025,
                0.05,
                0.1,
                0.25,
                0.5,
                1,
                2.5,
                5,
                10,
                30,
                60,
                300,
                1800,
            ],
        )
        self._lateness = meter.create_counter(
            "notifier.deliveries.late", unit="{delivery}", description="Delivered after deliver_by"
        )
        self._depth: dict[tuple[str, Lane], int] = {}
        """Of the channels that were ever planned for: an empty queue is told as 0."""

        self._streams = 0
        meter.create_observable_gauge(
            "notifier.queue.depth",
            callbacks=[lambda _: self._observe_depth()],
            unit="{delivery}",
            description="Deliveries waiting for a worker",
        )
        meter.create_observable_gauge(
            "notifier.inbox.streams",
            callbacks=[lambda _: [metrics.Observation(self._streams)]],
            unit="{stream}",
            description="Live inbox streams",
        )

    def accepted(self, notifications: Iterable[Notification]) -> None:
        for one in notifications:
            self._accepted.add(1, {"category": one.category.name.lower()})

    def planned(self, channel: str, number: int = 1) -> None:
        self._planned.add(number, {"channel": channel})
        # Anew, since a reader on another thread may be at the old one.
        self._depth = {**{(channel, lane): 0 for lane in Lane}, **self._depth}

    def silenced(self, channel: str, reason: str) -> None:
        self._silenced.add(1, {"channel": channel, "reason": reason})

    def followed(self, channel: str, step: Step) -> None:
        """Count what followed an attempt, or the lack of one."""
        labels = {"channel": channel, "reason": step.reason.name.lower()}
        self._attempts.add(1, {**labels, "event": step.event.name.lower()})
        final = (
            DeliveryState.DELIVERED,
            DeliveryState.FAILED,
            DeliveryState.DROPPED,
            DeliveryState.UNCERTAIN,
        )
        if step.state in final:
            self._delivered.add(1, {**labels, "state": step.state.name.lower()})

    def delivered(self, channel: str, lane: Lane, *, latency_s: float, late: bool) -> None:
        labels = {"channel": channel, "lane": lane.name.lower()}
        self._latency.record(latency_s, labels)
        if late:
            self._lateness.add(1, labels)

    def depth(self, depth: Mapping[tuple[str, Lane], int]) -> None:
        self._depth = {**dict.fromkeys(self._depth, 0), **depth}

    def streams(self, number: int) -> None:
        self._streams = number

    def _observe_depth(self) -> list[metrics.Observation]:
        return [
            metrics.Observation(number, {"channel": channel, "lane": lane.name.lower()})
            for (channel, lane), number in self._depth.items()
        ]


def tracer() -> trace.Tracer:
    return trace.get_tracer("notifier")


def stored_context(traceparent: str) -> Context | None:
    """Return the trace that work accepted earlier belongs to; None if it has none."""
    return propagate.extract({"traceparent": traceparent}) if traceparent else None


def trace_id(traceparent: str) -> str:
    """Return the 32 hex digits of a W3C trace context; "" for none."""
    return traceparent.split("-")[1] if traceparent.count("-") >= 3 else ""
