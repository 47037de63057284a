"""Notifications as callers send them, checked, with every default filled in."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING

from aerofusion.notify.v1 import notification_service_pb2 as pb
from meshkit.ids import new_id
from notifier import names
from notifier.channels import CHANNELS
from notifier.model import LANE_OF_CATEGORY, Category, Lane, Notification
from notifier.services.wire import labels, moment, plain
from notifier.settings import LIMITS
from notifier.store.notifications import Draft


if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from google.protobuf.timestamp_pb2 import Timestamp

    from notifier.services.wire import Problems

DELIVER_WITHIN = {
    Category.CRITICAL: timedelta(minutes=1),
    Category.SERVICE: timedelta(minutes=15),
    Category.PROMOTION: timedelta(hours=6),
}
USELESS_AFTER = {
    Category.CRITICAL: timedelta(hours=1),
    Category.SERVICE: timedelta(hours=24),
    Category.PROMOTION: timedelta(hours=72),
}
OUTPUT_ONLY = (
    "name",
    "template_version",
    "state",
    "delivery_counts",
    "create_time",
    "trace_id",
)


def draft(
    tenant: str, request: pb.CreateNotificationRequest, problems: Problems, *, now: datetime
) -> Draft | None:
    """Return the notification asked for; None if *problems* were noted about it."""
    known = len(problems.found)
    given = request.notification
    problems.text("request_id", request.request_id, at_most=LIMITS.request_id_chars_max)
    category, lane = _category(given, problems), _lane(given, problems)
    recipients = _ids(
        "recipients", given.recipients, tenant, problems, at_most=LIMITS.recipients_max
    )
    topics = _ids("topics", given.topics, tenant, problems, at_most=LIMITS.topics_max)
    if not given.recipients and not given.topics:
        problems.add("notification.recipients", "recipients or topics must be given")
    template = _ids("templates", [given.template], tenant, problems, at_most=1)
    variables, problem = plain(
        given.variables,
        depth_max=LIMITS.variables_depth_max,
        bytes_max=LIMITS.variables_bytes_max,
    )
    if problem:
        problems.add("notification.variables", problem)
    _check_rest(given, problems)
    deliver_by, useless_after = _times(given, category, problems, now)
    if len(problems.found) > known:
        return None
    return Draft(
        notification=Notification(
            tenant=tenant,
            id=new_id(),
            recipients=recipients,
            topics=topics,
            template=template[0],
            template_version=0,
            variables=variables,
            category=category,
            lane=lane or LANE_OF_CATEGORY[category],
            channels=tuple(sorted(set(given.channels))),
            deliver_by=deliver_by,
            useless_after=useless_after,
            subject_key=given.subject_key,
            subject_version=given.subject_version,
            labels=dict(given.labels),
            create_time=now,
        ),
        request_id=request.request_id,
        fingerprint=fingerprint(given),
    )


def fingerprint(given: pb.Notification) -> bytes:
    """Return a hash of what the caller decides about a notification."""
    copy = pb.Notification()
    copy.CopyFrom(given)
    for field in OUTPUT_ONLY:
        copy.ClearField(field)  # type: ignore[arg-type]
    return hashlib.sha256(copy.SerializeToString(deterministic=True)).digest()


def _category(given: pb.Notification, problems: Problems) -> Category:
    if not given.category:
        return Category.SERVICE
    try:
        return Category(given.category)
    except ValueError:
        problems.add("notification.category", "unknown")
        return Category.SERVICE


def _lane(given: pb.Notification, problems: Problems) -> Lane | None:
    if not given.lane:
        return None
    try:
        return Lane(given.lane)
    except ValueError:
        problems.add("notification.lane", "unknown")
        return None


def _ids(
    collection: str, given: Iterable[str], tenant: str, problems: Problems, *, at_most: int
) -> tuple[str, ...]:
    field = "notification.template" if collection == "templates" else f"notification.{collection}"
    found: dict[str, None] = {}
    for number, name in enumerate(given):
        if number >= at_most:
            problems.add(field, f"at most {at_most}")
            break
        try:
            owner, one = names.parse(name, collection)
        except names.BadName as error:
            problems.add(field, str(error))
            continue
        if owner != tenant:
            problems.add(field, "must be of the same tenant")
        found[one] = None
    return tuple(found)


def _check_rest(given: pb.Notification, problems: Problems) -> None:
    for channel in given.channels:
        if channel not in CHANNELS:
            known = ", ".join(sorted(CHANNELS))
            problems.add("notification.channels", f"{channel[:32]!r} is none of {known}")
    problems.text(
        "notification.subject_key", given.subject_key, at_most=LIMITS.subject_key_chars_max
    )
    if given.subject_version < 0:
        problems.add("notification.subject_version", "must not be negative")
    labels(given.labels, problems, number=LIMITS.labels_max, chars=LIMITS.label_chars_max)


def _times(
    given: pb.Notification, category: Category, problems: Problems, now: datetime
) -> tuple[datetime, datetime]:
    deliver_by = _moment("deliver_by", given, given.deliver_by, problems)
    useless_after = _moment("useless_after", given, given.useless_after, problems)
    if deliver_by is not None and useless_after is not None and deliver_by > useless_after:
        problems.add("notification.deliver_by", "must not be later than useless_after")
    due, end = now + DELIVER_WITHIN[category], now + USELESS_AFTER[category]
    if useless_after is None:
        useless_after = max(end, deliver_by or end)
    if deliver_by is None:
        deliver_by = min(due, useless_after)
    if useless_after > now + LIMITS.useless_after_ahead_max:
        problems.add("notification.useless_after", "at most 30 days ahead")
    return deliver_by, useless_after


def _moment(
    field: str, given: pb.Notification, stamp: Timestamp, problems: Problems
) -> datetime | None:
    if not given.HasField(field):  # type: ignore[arg-type]
        return None
    try:
        return moment(stamp)
    except ValueError:
        problems.add(f"notification.{field}", "not a valid timestamp")
        return None
