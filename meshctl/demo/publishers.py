"""Sends what happens to the services of the mesh, through the edge."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog
from opentelemetry import metrics, trace

from aerofusion.notify.v1 import notification_service_pb2, notification_service_pb2_grpc
from aerofusion.sync.v1 import frames_pb2, sync_service_pb2, sync_service_pb2_grpc
from meshctl.demo import messages
from meshctl.demo.board import Change, change_of, space_of
from meshctl.demo.counts import Counts
from meshctl.demo.edge import Edge, Refused
from meshctl.demo.lanes import utc_now
from meshctl.demo.notices import Notice, notice_of
from meshctl.demo.replay import Clock, Occurrence
from meshctl.demo.timeline import LATE, Kind


log = structlog.get_logger()


class Meters:
    """What `flightinfo` measures. Make it once in a process."""

    def __init__(self) -> None:
        meter = metrics.get_meter("flightinfo")
        self.notifications = meter.create_counter(
            "flightinfo.notifications",
            unit="{notification}",
            description="Notifications accepted, by kind of event",
        )
        self.changes = meter.create_counter(
            "flightinfo.board.changes",
            unit="{change}",
            description="Changes of flight boards made durable, by airport",
        )
        self.departures = meter.create_counter(
            "flightinfo.departures",
            unit="{flight}",
            description="Flights that left, by airport and whether they were late",
        )
        self.lag = meter.create_histogram(
            "flightinfo.lag",
            unit="s",
            description="From an event to its acceptance by the mesh, by lane",
        )


class NoticePublisher:
    """
    Turns events into notifications for those who follow the flight.

    Delays and cancellations are calls of their own, each the root of one trace; the rest of a
    batch goes in one call. Request ids make repeating safe.
    """

    def __init__(
        self,
        *,
        tenant: str,
        run: str,
        edge: Edge,
        followed: Iterable[str],
        counts: Counts,
        meters: Meters,
        calls_max: int,
    ) -> None:
        self._tenant = tenant
        self._run = run
        self._edge = edge
        self._followed = frozenset(followed)
        self._counts = counts
        self._calls = asyncio.Semaphore(calls_max)
        self._stub = notification_service_pb2_grpc.NotificationServiceStub(edge.channel)
        self._tracer = trace.get_tracer("flightinfo")
        self._meters = meters

    async def publish(self, occurrences: Sequence[Occurrence], clock: Clock) -> None:
        """Have the followers told of *occurrences*."""
        notices = [
            notice
            for occurrence in occurrences
            if occurrence.event.flight.key in self._followed
            and (notice := notice_of(occurrence, run=self._run, clock=clock)) is not None
        ]
        together = [notice for notice in notices if not notice.rule.traced]
        async with asyncio.TaskGroup() as tasks:
            if together:
                tasks.create_task(self._send_together(together), name="notices")
            for notice in notices:
                if notice.rule.traced:
                    tasks.create_task(self._send_alone(notice), name=notice.request_id)

    async def _send_alone(self, notice: Notice) -> None:
        async with self._calls:
            with self._tracer.start_as_current_span(
                f"flightinfo {notice.labels['event']}",
                attributes={f"flight.{key}": value for key, value in notice.labels.items()},
            ):
                await self._send(
                    self._stub.CreateNotification,
                    messages.creation(self._tenant, notice),
                    [notice],
                )

    async def _send_together(self, notices: Sequence[Notice]) -> None:
        async with self._calls:
            await self._send(
                self._stub.BatchCreateNotifications,
                notification_service_pb2.BatchCreateNotificationsRequest(
                    parent=f"tenants/{self._tenant}",
                    requests=[messages.creation(self._tenant, notice) for notice in notices],
                ),
                notices,
            )

    async def _send(
        self, method: Callable[..., Any], request: object, notices: Sequence[Notice]
    ) -> None:
        try:
            await self._edge.call(method, request)
        except Refused as error:
            log.warning("notices_refused", reason=error.reason, said=str(error), count=len(notices))
            self._counts.add("notifications_refused", len(notices))
            return
        now = utc_now()
        for notice in notices:
            kind = notice.labels["event"]
            self._counts.add("notifications")
            self._counts.add(f"notifications_{kind}")
            self._meters.notifications.add(1, {"kind": kind})
            self._meters.lag.record(_seconds_since(notice.due, now), {"lane": "notices"})


class BoardPublisher:
    """
    Turns events into changes of the airports' flight boards, one push for each board and batch.

    Numbers of mutations follow the replay's positions, which makes repeating safe.
    """

    def __init__(
        self,
        *,
        tenant: str,
        run: str,
        edge: Edge,
        bases: Mapping[str, int],
        counts: Counts,
        meters: Meters,
    ) -> None:
        self._tenant = tenant
        self._device = f"flightinfo-{run}"
        self._edge = edge
        self._bases = bases
        self._confirmed: dict[str, int] = defaultdict(int)
        self._counts = counts
        self._stub = sync_service_pb2_grpc.SyncServiceStub(edge.channel)
        self._meters = meters

    async def publish(self, occurrences: Sequence[Occurrence], clock: Clock) -> None:
        """Bring the boards up to *occurrences*."""
        changes: dict[str, list[Change]] = defaultdict(list)
        for occurrence in occurrences:
            change = change_of(occurrence, clock)
            changes[change.airport].append(change)
        async with asyncio.TaskGroup() as tasks:
            for airport, some in changes.items():
                tasks.create_task(self._push(airport, some), name=f"board-{airport}")
        now = utc_now()
        for occurrence in occurrences:
            event = occurrence.event
            self._counts.add(f"events_{event.kind.value}")
            self._meters.lag.record(
                _seconds_since(clock.real_at(occurrence.at), now), {"lane": "boards"}
            )
            if event.kind is Kind.DEPARTED:
                late = event.delay >= LATE
                self._counts.add("departures_late" if late else "departures_on_time")
                self._meters.departures.add(1, {"airport": event.flight.origin, "late": late})
        self._counts.add("events", len(occurrences))

    async def _push(self, airport: str, changes: Sequence[Change]) -> None:
        # The run's beginning, not what was seen last: a repetition must be the same to the byte,
        # and among a device's own changes their numbers decide.
        base = self._bases[airport]
        request = sync_service_pb2.PushRequest(
            space=f"tenants/{self._tenant}/spaces/{space_of(airport)}",
            device_id=self._device,
            batch=frames_pb2.MutationBatch(
                mutations=[messages.mutation(change, base) for change in changes],
                confirmed_through=self._confirmed[airport],
            ),
        )
        try:
            answer = await self._edge.call(self._stub.Push, request)
        except Refused as error:
            log.warning("push_refused", airport=airport, reason=error.reason, said=str(error))
            self._counts.add("board_changes_refused", len(changes))
            return
        self._confirmed[airport] = changes[-1].number
        for result in answer.ack.results:
            if result.status == frames_pb2.MUTATION_STATUS_REJECTED:
                log.warning("change_rejected", reason=result.reason, said=result.message)
                self._counts.add("board_changes_refused")
        self._counts.add("board_changes", len(changes))
        self._meters.changes.add(len(changes), {"airport": airport})


def _seconds_since(due: datetime, now: datetime) -> float:
    return max(0.0, (now - due) / timedelta(seconds=1))
