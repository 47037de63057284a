"""NotificationService."""

# ruff: noqa: N802 - methods have the names of the contract

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aerofusion.notify.v1 import notification_service_pb2 as pb
from aerofusion.notify.v1 import notification_service_pb2_grpc as stubs
from meshkit.authz import current_caller
from meshkit.errors import InvalidInput
from meshkit.paging import next_token, page_size, read_token
from notifier import names
from notifier.instruments import trace_id
from notifier.model import DeliveryState, NotificationState
from notifier.retry import Resolution
from notifier.services.drafts import draft
from notifier.services.wire import Problems, timestamp
from notifier.settings import LIMITS
from notifier.store.notifications import not_found


if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from notifier.intake import Intake
    from notifier.model import Delivery, Event, Notification
    from notifier.store.deliveries import DeliveryStore
    from notifier.store.notifications import Accepted, Draft, NotificationStore
    from notifier.wakes import Wakes

    Context = Any

WAITING = (DeliveryState.PENDING, DeliveryState.WAITING)
NOT_FINAL = (*WAITING, DeliveryState.IN_FLIGHT, DeliveryState.UNCERTAIN)


class NotificationService(stubs.NotificationServiceServicer):
    def __init__(
        self,
        intake: Intake,
        store: NotificationStore,
        deliveries: DeliveryStore,
        wakes: Wakes,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._intake = intake
        self._store = store
        self._deliveries = deliveries
        self._wakes = wakes
        self._clock = clock

    async def CreateNotification(
        self, request: pb.CreateNotificationRequest, context: Context
    ) -> pb.CreateNotificationResponse:
        tenant = _tenant("parent", request.parent)
        problems = Problems()
        made = draft(tenant, request, problems, now=self._clock())
        problems.raise_if_any("INVALID_NOTIFICATION", "The notification")
        assert made is not None, "or there were problems"
        (accepted,) = await self._intake.accept(tenant, [made])
        if accepted.repeat:
            earlier, _ = await self._store.get(tenant, accepted.id)
            return pb.CreateNotificationResponse(notification=to_proto(earlier))
        answer = to_proto(made.notification)
        answer.template_version = accepted.template_version
        return pb.CreateNotificationResponse(notification=answer)

    async def BatchCreateNotifications(
        self, request: pb.BatchCreateNotificationsRequest, context: Context
    ) -> pb.BatchCreateNotificationsResponse:
        tenant = _tenant("parent", request.parent)
        drafts = self._drafts(tenant, request)
        accepted = await self._intake.accept(tenant, drafts)
        return pb.BatchCreateNotificationsResponse(
            notifications=[_brief(tenant, one) for one in accepted]
        )

    async def GetNotification(
        self, request: pb.GetNotificationRequest, context: Context
    ) -> pb.GetNotificationResponse:
        tenant, notification = _notification("name", request.name)
        found, counts = await self._store.get(tenant, notification)
        events, token = await self._timeline(request.name, after="", limit=LIMITS.timeline_page_max)
        return pb.GetNotificationResponse(
            notification=to_proto(found, counts), timeline=events, next_page_token=token
        )

    async def ListNotifications(
        self, request: pb.ListNotificationsRequest, context: Context
    ) -> pb.ListNotificationsResponse:
        tenant = _tenant("parent", request.parent)
        asked = (request.parent, request.subject_key)
        limit = page_size(request.page_size)
        found = await self._store.page(
            tenant,
            subject_key=request.subject_key,
            before=read_token(request.page_token, *asked),
            limit=limit + 1,
        )
        more = len(found) > limit
        found = found[:limit]
        return pb.ListNotificationsResponse(
            notifications=[to_proto(one) for one in found],
            next_page_token=next_token(found[-1].id, *asked) if more else "",
        )

    async def CancelNotification(
        self, request: pb.CancelNotificationRequest, context: Context
    ) -> pb.CancelNotificationResponse:
        tenant, notification = _notification("name", request.name)
        await self._store.cancel(tenant, notification, now=self._clock())
        found, counts = await self._store.get(tenant, notification)
        return pb.CancelNotificationResponse(notification=to_proto(found, counts))

    async def ListDeliveries(
        self, request: pb.ListDeliveriesRequest, context: Context
    ) -> pb.ListDeliveriesResponse:
        tenant, notification = _notification("parent", request.parent)
        limit = page_size(request.page_size)
        after = read_token(request.page_token, request.parent)
        found = await self._store.deliveries(tenant, notification, after=after, limit=limit + 1)
        if not found:
            await self._store.get(tenant, notification)
        more = len(found) > limit
        found = found[:limit]
        return pb.ListDeliveriesResponse(
            deliveries=[_delivery(one) for one in found],
            next_page_token=next_token(found[-1].id, request.parent) if more else "",
        )

    async def ListTimelineEvents(
        self, request: pb.ListTimelineEventsRequest, context: Context
    ) -> pb.ListTimelineEventsResponse:
        tenant, notification = _notification("parent", request.parent)
        most = LIMITS.timeline_page_max
        limit = page_size(request.page_size, default=most, at_most=most)
        after = read_token(request.page_token, request.parent)
        await self._store.get(tenant, notification)
        events, token = await self._timeline(request.parent, after=after, limit=limit)
        return pb.ListTimelineEventsResponse(timeline_events=events, next_page_token=token)

    async def ResolveDelivery(
        self, request: pb.ResolveDeliveryRequest, context: Context
    ) -> pb.ResolveDeliveryResponse:
        tenant, notification, delivery = names.read(
            "name", request.name, "notifications", "deliveries"
        )
        current_caller().check_tenant(tenant)
        if not (names.is_uuid(notification) and names.is_uuid(delivery)):
            raise not_found(notification)
        try:
            resolution = Resolution(request.resolution)
        except ValueError:
            raise InvalidInput(
                "INVALID_RESOLUTION",
                "The resolution must be given.",
                field_violations={"resolution": "must be given"},
            ) from None
        resolved, lane = await self._deliveries.resolve(
            (tenant, notification, delivery), resolution, now=self._clock()
        )
        if resolved.state is DeliveryState.PENDING:
            self._wakes.work(resolved.channel, lane)
        return pb.ResolveDeliveryResponse(delivery=_delivery(resolved))

    def _drafts(self, tenant: str, request: pb.BatchCreateNotificationsRequest) -> list[Draft]:
        if not 1 <= len(request.requests) <= LIMITS.batch_max:
            raise InvalidInput(
                "INVALID_NOTIFICATION",
                f"A batch holds 1 to {LIMITS.batch_max} notifications.",
                field_violations={"requests": f"1 to {LIMITS.batch_max}"},
            )
        now = self._clock()
        found: dict[str, str] = {}
        drafts: list[Draft] = []
        seen: set[str] = set()
        for number, one in enumerate(request.requests):
            problems = Problems(f"requests[{number}].")
            if one.parent not in ("", request.parent):
                problems.add("parent", "must be empty or the batch's")
            if one.request_id and one.request_id in seen:
                problems.add("request_id", "used twice in this batch")
            seen.add(one.request_id)
            made = draft(tenant, one, problems, now=now)
            found |= problems.found
            drafts += [made] if made else []
        whole = Problems()
        whole.found = dict(list(found.items())[:100])
        whole.raise_if_any("INVALID_NOTIFICATION", "The batch")
        return drafts

    async def _timeline(
        self, name: str, *, after: str, limit: int
    ) -> tuple[list[pb.TimelineEvent], str]:
        tenant, notification = names.parse(name, "notifications")
        place = int(after) if after.isdigit() else 0
        found = await self._store.events(tenant, notification, after=place, limit=limit + 1)
        more = len(found) > limit
        found = found[:limit]
        token = next_token(str(found[-1].id), name) if more else ""
        return [_event(one) for one in found], token


def _tenant(field: str, name: str) -> str:
    (tenant,) = names.read(field, name)
    current_caller().check_tenant(tenant)
    return tenant


def _notification(field: str, name: str) -> tuple[str, str]:
    tenant, notification = names.read(field, name, "notifications")
    current_caller().check_tenant(tenant)
    if not names.is_uuid(notification):
        raise not_found(notification)
    return tenant, notification


def to_proto(n: Notification, counts: Mapping[int, int] | None = None) -> pb.Notification:
    made = pb.Notification(
        name=names.notification_name(n.tenant, n.id),
        recipients=[names.recipient_name(n.tenant, one) for one in n.recipients],
        topics=[names.topic_name(n.tenant, one) for one in n.topics],
        template=names.template_name(n.tenant, n.template),
        template_version=n.template_version,
        category=int(n.category),  # type: ignore[arg-type]
        lane=int(n.lane),  # type: ignore[arg-type]
        channels=n.channels,
        deliver_by=timestamp(n.deliver_by),
        useless_after=timestamp(n.useless_after),
        subject_key=n.subject_key,
        subject_version=n.subject_version,
        labels=n.labels,
        state=_state(n, counts),
        create_time=timestamp(n.create_time),
        trace_id=trace_id(n.traceparent),
    )
    if n.variables:
        made.variables.update(dict(n.variables))
    if counts is not None:
        made.delivery_counts.CopyFrom(_counts(counts))
    return made


def _state(n: Notification, counts: Mapping[int, int] | None) -> Any:
    states = pb.Notification.State
    if n.state is NotificationState.CANCELLED:
        return states.STATE_CANCELLED
    if n.state is NotificationState.ACCEPTED:
        return states.STATE_ACCEPTED
    # Without counts, as in lists, nobody has looked: that all are final isn't known.
    final = counts is not None and not any(counts.get(state) for state in NOT_FINAL)
    return states.STATE_COMPLETED if final else states.STATE_IN_PROGRESS


def _counts(counts: Mapping[int, int]) -> pb.DeliveryCounts:
    return pb.DeliveryCounts(
        pending=sum(counts.get(state, 0) for state in WAITING),
        in_flight=counts.get(DeliveryState.IN_FLIGHT, 0),
        delivered=counts.get(DeliveryState.DELIVERED, 0),
        failed=counts.get(DeliveryState.FAILED, 0),
        dropped=counts.get(DeliveryState.DROPPED, 0),
        uncertain=counts.get(DeliveryState.UNCERTAIN, 0),
    )


def _brief(tenant: str, accepted: Accepted) -> pb.Notification:
    return pb.Notification(
        name=names.notification_name(tenant, accepted.id),
        state=pb.Notification.State.STATE_ACCEPTED,
        create_time=timestamp(accepted.create_time),
    )


def _delivery(d: Delivery) -> pb.Delivery:
    return pb.Delivery(
        name=names.delivery_name(d.tenant, d.notification, d.id),
        recipient=names.recipient_name(d.tenant, d.recipient),
        channel=d.channel,
        state=int(d.state),  # type: ignore[arg-type]
        reason=int(d.reason),  # type: ignore[arg-type]
        attempt_count=d.attempts,
        receipt=d.receipt,
        create_time=timestamp(d.create_time),
        update_time=timestamp(d.update_time),
        next_attempt_time=timestamp(d.run_at),
    )


def _event(e: Event) -> pb.TimelineEvent:
    return pb.TimelineEvent(
        time=timestamp(e.time),
        kind=int(e.kind),  # type: ignore[arg-type]
        reason=int(e.reason),  # type: ignore[arg-type]
        delivery=names.delivery_name(e.tenant, e.notification, e.delivery) if e.delivery else "",
        recipient=names.recipient_name(e.tenant, e.recipient) if e.recipient else "",
        channel=e.channel,
        attempt=e.attempt,
        detail=e.detail,
    )
