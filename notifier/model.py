"""What the notifier speaks of. Numbers of the enums are those of the contract."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


class Category(IntEnum):
    """What a notification is about."""

    CRITICAL = 1
    SERVICE = 2
    PROMOTION = 3


class Lane(IntEnum):
    """A queue with workers of its own."""

    URGENT = 1
    NORMAL = 2
    BULK = 3


class Reason(IntEnum):
    """Why something did not go out, or not yet. Closed."""

    NONE = 0
    CHANNEL_NOT_CHOSEN = 1
    NO_ADDRESS = 2
    NO_CONTENT = 3
    CHANNEL_NOT_CONFIGURED = 4
    TOO_LATE = 5
    SUPERSEDED = 6
    CANCELLED = 7
    RECIPIENT_DELETED = 8
    EMPTY_AUDIENCE = 9
    RENDER_FAILED = 10
    ADDRESS_REFUSED = 11
    MESSAGE_REFUSED = 12
    PROVIDER_REFUSED_US = 13
    PROVIDER_UNREACHABLE = 14
    PROVIDER_BUSY = 15
    ATTEMPT_TIMED_OUT = 16
    ATTEMPTS_EXHAUSTED = 17
    NO_CONFIRMATION = 18
    CRASHED = 19
    CHANNEL_FAULT = 20
    OPERATOR = 21


class NotificationState(IntEnum):
    """How far the making of deliveries is; the rest is read from the deliveries."""

    ACCEPTED = 1
    PLANNED = 2
    CANCELLED = 4


class DeliveryState(IntEnum):
    """Where a delivery stands."""

    PENDING = 1
    WAITING = 2
    IN_FLIGHT = 3
    DELIVERED = 4
    FAILED = 5
    DROPPED = 6
    UNCERTAIN = 7


class EventKind(IntEnum):
    """What happened to a notification."""

    ACCEPTED = 1
    PLANNED = 2
    NOT_PLANNED = 3
    ATTEMPT_STARTED = 4
    DELIVERED = 5
    RETRY_SCHEDULED = 6
    FAILED = 7
    DROPPED = 8
    UNCERTAIN = 9
    RESENT = 10
    CANCELLED = 11
    SUPERSEDED = 12
    READ = 13
    AUDIENCE_COMPLETE = 14


LANE_OF_CATEGORY = {
    Category.CRITICAL: Lane.URGENT,
    Category.SERVICE: Lane.NORMAL,
    Category.PROMOTION: Lane.BULK,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """Somebody who can be notified."""

    id: str
    display_name: str = ""
    addresses: Mapping[str, str] = field(default_factory=dict)
    """Channel to address."""
    channels: tuple[str, ...] = ()
    """Chosen for all categories but those in `preferences` and promotion."""
    preferences: Mapping[Category, tuple[str, ...]] = field(default_factory=dict)
    locale: str = ""
    """BCP 47; "" for the template's default."""
    time_zone: str = "UTC"
    etag: str = ""
    create_time: datetime | None = None
    update_time: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a template says over one channel in one language; each text is Liquid source."""

    channel: str
    locale: str
    text: str
    subject: str = ""
    html: str = ""
    action_url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """One version of a template."""

    id: str
    default_locale: str
    contents: tuple[Content, ...]
    display_name: str = ""
    version: int = 0
    etag: str = ""
    create_time: datetime | None = None
    update_time: datetime | None = None

    @property
    def channels(self) -> frozenset[str]:
        """Channels it has content for."""
        return frozenset(content.channel for content in self.contents)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """Something to be told to some recipients, with every default filled in."""

    tenant: str
    id: str
    recipients: tuple[str, ...]
    topics: tuple[str, ...]
    template: str
    template_version: int
    variables: Mapping[str, Any]
    category: Category
    lane: Lane
    channels: tuple[str, ...]
    """Those it may use; empty for all."""
    deliver_by: datetime
    useless_after: datetime
    subject_key: str
    subject_version: int
    labels: Mapping[str, str]
    create_time: datetime
    traceparent: str = ""
    """W3C trace context of the accepting call."""
    state: NotificationState = NotificationState.ACCEPTED


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One notification to one recipient over one channel, as the contract shows it."""

    tenant: str
    notification: str
    id: str
    recipient: str
    channel: str
    state: DeliveryState
    reason: Reason
    attempts: int
    receipt: str
    create_time: datetime
    update_time: datetime
    run_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened to a notification."""

    tenant: str
    notification: str
    kind: EventKind
    time: datetime
    reason: Reason = Reason.NONE
    delivery: str | None = None
    recipient: str = ""
    channel: str = ""
    attempt: int = 0
    detail: str = ""
    id: int = 0
    """Order of writing; given by the store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A rendered message on its way to one channel."""

    tenant: str
    notification: str
    delivery: str
    recipient: str
    address: str
    lane: Lane
    category: Category
    attempt: int
    locale: str
    subject: str
    text: str
    html: str
    action_url: str
    subject_key: str
    subject_version: int
    labels: Mapping[str, str]
    create_time: datetime
    """When the delivery was planned: the same at each attempt."""
    useless_after: datetime
    resent: bool = False
    """Whether the recipient may already have it, from an attempt that ended uncertain."""
