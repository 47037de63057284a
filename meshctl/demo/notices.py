"""
What to tell the passengers of a flight about an event: pure, event in, notice out.

A notice depends on nothing but its occurrence, the run and the clock, so repeating it after a
crash repeats it exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from meshctl.demo.day import HOME_ZONE
from meshctl.demo.passengers import Channel
from meshctl.demo.replay import Clock, Occurrence
from meshctl.demo.timeline import Kind


class Urgency(StrEnum):
    """How a notice is to be treated."""

    CRITICAL = "critical"
    """Over every channel there is, whatever the passenger chose."""

    URGENT = "urgent"
    """Ahead of the rest."""

    NORMAL = "normal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How events of one kind are told."""

    template: str
    subject: str
    """What of the flight this is the latest word on; a newer one replaces it."""

    urgency: Urgency = Urgency.NORMAL
    channels: tuple[Channel, ...] = ()
    """Channels it may use; empty means whatever the passenger chose."""

    useless_after: timedelta | None = None
    """How long it is of use, in simulated time; None means until the flight leaves."""

    traced: bool = False
    """Sent by a call of its own, so that one trace shows the whole of it."""


RULES: dict[Kind, Rule] = {
    Kind.GATE: Rule(template="flight-gate", subject="gate", urgency=Urgency.URGENT),
    Kind.DELAYED: Rule(template="flight-delayed", subject="departure", traced=True),
    Kind.BOARDING: Rule(template="flight-boarding", subject="departure", urgency=Urgency.URGENT),
    Kind.DEPARTED: Rule(
        template="flight-departed",
        subject="departure",
        channels=(Channel.IN_APP,),
        useless_after=timedelta(hours=2),
    ),
    Kind.CANCELLED: Rule(
        template="flight-cancelled",
        subject="departure",
        urgency=Urgency.CRITICAL,
        useless_after=timedelta(hours=12),
        traced=True,
    ),
    Kind.ARRIVED: Rule(
        template="flight-arrived",
        subject="arrival",
        channels=(Channel.IN_APP,),
        useless_after=timedelta(hours=6),
    ),
    Kind.DIVERTED: Rule(
        template="flight-diverted",
        subject="arrival",
        urgency=Urgency.CRITICAL,
        useless_after=timedelta(hours=12),
    ),
}

DELIVER_WITHIN = timedelta(seconds=5)
"""In real time: the mesh is to be quick however fast the day runs."""

USELESS_AFTER_MIN = timedelta(seconds=20)
"""In real time: at a high speed a flight leaves seconds after it boards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One notification to the followers of one flight."""

    request_id: str
    topic: str
    rule: Rule
    variables: dict[str, str]
    subject_key: str
    subject_version: int

    due: datetime
    """When it happened, in real time."""

    deliver_by: datetime
    useless_after: datetime
    labels: dict[str, str]


def topic_of(flight_key: str) -> str:
    """The topic of all who follow a flight: stable from day to day."""
    return f"flight.{flight_key}"


def notice_of(occurrence: Occurrence, *, run: str, clock: Clock) -> Notice | None:
    """What *occurrence* has the flight's followers told, or None if nothing."""
    event = occurrence.event
    rule = RULES.get(event.kind)
    if rule is None:
        return None
    due = clock.real_at(occurrence.at)
    end = (
        occurrence.shifted(event.expected)
        if rule.useless_after is None
        else occurrence.at + rule.useless_after
    )
    return Notice(
        request_id=f"{run}/{occurrence.event_id}",
        topic=topic_of(event.flight.key),
        rule=rule,
        variables=variables_of(occurrence),
        subject_key=f"flights/{run}/{occurrence.flight_id}/{rule.subject}",
        subject_version=event.number,
        due=due,
        deliver_by=due + DELIVER_WITHIN,
        useless_after=max(clock.real_at(end), due + USELESS_AFTER_MIN),
        labels={"flight": occurrence.flight_id, "event": event.kind.value},
    )


def variables_of(occurrence: Occurrence) -> dict[str, str]:
    """The values for the templates; each name is always there."""
    event, flight = occurrence.event, occurrence.event.flight
    return {
        "flight": flight.designator,
        "airline": flight.airline,
        "origin": flight.origin,
        "destination": flight.place.city,
        "date": occurrence.operating_date.isoformat(),
        "gate": event.gate,
        "scheduled": _clock_face(flight.scheduled, HOME_ZONE),
        "expected": _clock_face(event.expected, HOME_ZONE),
        "delay": spell(event.delay),
        "landed": _clock_face(flight.arrived, flight.place.zone) if flight.arrived else "",
    }


def spell(span: timedelta) -> str:
    """A span of time as people of any language read it, such as `2 h 5 min`."""
    minutes = max(0, round(span / timedelta(minutes=1)))
    hours, rest = divmod(minutes, 60)
    words = ([f"{hours} h"] if hours else []) + ([f"{rest} min"] if rest or not hours else [])
    return " ".join(words)


def _clock_face(instant: datetime, zone: str) -> str:
    return instant.astimezone(ZoneInfo(zone)).strftime("%H:%M")
