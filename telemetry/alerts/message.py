"""What a notification says. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from telemetry.alerts.telling import Why
from telemetry.promql.labels import get, without


if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from telemetry.alerts.model import Listed
    from telemetry.alerts.telling import Notification

LISTED_MAX = 20
"""Alerts that one message names; the others are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A notification in words, and to whom it goes."""

    id: str
    """The same whenever the same notification is sent again."""

    policy: str
    group: tuple[str, str]
    """Policy, and what its alerts have in common; of one group only the newest matters."""

    version: int
    """Grows with each notification of the group."""

    why: Why
    subject: str
    text: str
    targets: tuple[str, ...]
    fallback_mails: tuple[str, ...]
    fallback_webhooks: tuple[str, ...]
    alerts: tuple[str, ...]
    """Ids of the alerts that it tells to fire."""

    labels: tuple[Mapping[str, str], ...]


def subject_of(notification: Notification, firing: Sequence[Listed]) -> str:
    """Return a line such as `[FIRING:2] QueueLong (edge)`."""
    names = sorted({get(one.alert.labels, "alertname") for one in firing})
    count = f":{len(notification.firing)}" if notification.firing else ""
    head = "RESOLVED" if notification.why is Why.RESOLVED else "FIRING"
    tail = {Why.ESCALATED: " - nobody has acknowledged", Why.REPEATED: " - still"}
    what = ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
    return f"[{head}{count}] {what}{tail.get(notification.why, '')}".strip()


def text_of(firing: Sequence[Listed], resolved: Sequence[Listed]) -> str:
    """Return all that is said, in plain text."""
    parts = []
    if firing:
        parts.append("Firing:\n" + "\n".join(_line(one) for one in firing[:LISTED_MAX]))
        if len(firing) > LISTED_MAX:
            parts.append(f"... and {len(firing) - LISTED_MAX} more")
    if resolved:
        parts.append("Resolved:\n" + "\n".join(_line(one) for one in resolved[:LISTED_MAX]))
    if firing:
        parts.append(f"To take it on: meshctl alerts ack {firing[0].id}")
    return "\n\n".join(parts)


def _line(one: Listed) -> str:
    alert = one.alert
    said = dict(alert.annotations)
    summary = said.get("summary") or said.get("description") or ""
    labels = ", ".join(f"{name}={value}" for name, value in without(alert.labels, ("alertname",)))
    since = datetime.fromtimestamp((alert.fired_ms or alert.active_ms) / 1000, UTC)
    marks = " (flapping)" if alert.flapping else ""
    marks += " (no data any more)" if alert.no_data_ms else ""
    name = get(alert.labels, "alertname")
    return f"- {name}{marks} {{{labels}}} = {alert.value:g} since {since:%H:%M:%S} UTC" + (
        f"\n  {summary}" if summary else ""
    )
