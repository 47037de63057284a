"""From the day's own types to the contracts' messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from aerofusion.notify.v1 import (
    notification_service_pb2,
    recipient_service_pb2,
    subscription_service_pb2,
    template_service_pb2,
)
from aerofusion.sync.v1 import frames_pb2, space_pb2
from meshctl.demo.board import FIELDS, Cell, Change
from meshctl.demo.day import HOME_ZONE
from meshctl.demo.notices import Notice, Urgency, topic_of
from meshctl.demo.passengers import Passenger
from meshctl.demo.texts import contents


BOARD_WRITERS = ("services/flightinfo", "spiffe://aerofusion/flightinfo/0")
"""Flight Info through the edge, and as the process itself."""
BOARD_READER_ROLES = ("device", "passenger", "service")
DUTY_MANAGER, DUTY_MANAGER_MAIL = "duty-manager", "duty-manager@airport.example"

_CATEGORIES = {
    Urgency.CRITICAL: notification_service_pb2.CATEGORY_CRITICAL,
    Urgency.URGENT: notification_service_pb2.CATEGORY_SERVICE,
    Urgency.NORMAL: notification_service_pb2.CATEGORY_SERVICE,
}
_LANES = {
    Urgency.CRITICAL: notification_service_pb2.LANE_URGENT,
    Urgency.URGENT: notification_service_pb2.LANE_URGENT,
    Urgency.NORMAL: notification_service_pb2.LANE_NORMAL,
}
_TYPES = {
    str: space_pb2.VALUE_TYPE_STRING,
    int: space_pb2.VALUE_TYPE_INTEGER,
    datetime: space_pb2.VALUE_TYPE_TIMESTAMP,
}


def creation(tenant: str, notice: Notice) -> notification_service_pb2.CreateNotificationRequest:
    """Return the call that sends *notice* to the followers of its flight."""
    rule = notice.rule
    notification = notification_service_pb2.Notification(
        topics=[f"tenants/{tenant}/topics/{notice.topic}"],
        template=f"tenants/{tenant}/templates/{rule.template}",
        category=_CATEGORIES[rule.urgency],
        lane=_LANES[rule.urgency],
        channels=[channel.value for channel in rule.channels],
        subject_key=notice.subject_key,
        subject_version=notice.subject_version,
        labels=notice.labels,
    )
    notification.variables.update(notice.variables)
    notification.deliver_by.FromDatetime(min(notice.deliver_by, notice.useless_after))
    notification.useless_after.FromDatetime(notice.useless_after)
    return notification_service_pb2.CreateNotificationRequest(
        parent=f"tenants/{tenant}", notification=notification, request_id=notice.request_id
    )


def template(tenant: str, template_id: str) -> template_service_pb2.Template:
    return template_service_pb2.Template(
        name=f"tenants/{tenant}/templates/{template_id}",
        display_name=template_id.replace("-", " ").capitalize(),
        default_locale="en",
        contents=[
            template_service_pb2.TemplateContent(
                channel=content.channel,
                locale=content.locale,
                subject=content.subject,
                text=content.text,
                html=content.html,
            )
            for content in contents(template_id)
        ],
    )


def recipient(tenant: str, passenger: Passenger) -> recipient_service_pb2.Recipient:
    return recipient_service_pb2.Recipient(
        name=f"tenants/{tenant}/recipients/{passenger.id}",
        display_name=passenger.name,
        addresses=[recipient_service_pb2.Address(channel="email", value=passenger.email)],
        channels=[channel.value for channel in passenger.channels],
        locale=passenger.locale,
        time_zone=passenger.zone,
    )


def duty_manager(tenant: str) -> recipient_service_pb2.Recipient:
    """Return who answers for the day."""
    return recipient_service_pb2.Recipient(
        name=f"tenants/{tenant}/recipients/{DUTY_MANAGER}",
        display_name="Duty manager",
        addresses=[recipient_service_pb2.Address(channel="email", value=DUTY_MANAGER_MAIL)],
        channels=["email", "inapp"],
        locale="en",
        time_zone=HOME_ZONE,
    )


def subscriptions(
    tenant: str, passengers: Iterable[Passenger]
) -> list[subscription_service_pb2.Subscription]:
    return [
        subscription_service_pb2.Subscription(
            topic=f"tenants/{tenant}/topics/{topic_of(key)}",
            recipient=f"tenants/{tenant}/recipients/{passenger.id}",
        )
        for passenger in passengers
        for key in passenger.flights
    ]


def board_space(airport: str) -> space_pb2.Space:
    """Return the space of an airport's flight board, without its name."""
    return space_pb2.Space(
        display_name=f"Departures of {airport}",
        schema=space_pb2.Schema(
            fields=[
                space_pb2.Field(name=name, type=_TYPES[kind], policy=space_pb2.MERGE_POLICY_LWW)
                for name, kind in FIELDS.items()
            ]
        ),
        access=space_pb2.AccessPolicy(
            reader_roles=BOARD_READER_ROLES, writer_subjects=BOARD_WRITERS
        ),
    )


def mutation(change: Change, base_seq: int) -> frames_pb2.Mutation:
    """Return *change* as made by a device that had seen its board up to *base_seq*."""
    operation = frames_pb2.Operation(record=change.record)
    if change.fields is None:
        operation.delete.SetInParent()
    else:
        _set(operation.set, change.fields)
    return frames_pb2.Mutation(number=change.number, base_seq=base_seq, operations=[operation])


def _set(target: frames_pb2.SetFields, fields: Mapping[str, Cell]) -> None:
    for name, cell in fields.items():
        value = target.fields[name]
        if isinstance(cell, datetime):
            value.timestamp_value.FromDatetime(cell)
        elif isinstance(cell, int):
            value.integer_value = cell
        else:
            value.string_value = cell
