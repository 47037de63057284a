"""
Incidents: what was wrong, from the first alert of a group that fired to the last that ended.

Pure: no clock, no I/O. An incident as it stands and the alerts of its group as they are now go in;
the incident as it becomes and what is to be written into its timeline come out.

    - What is silenced or inhibited opens none, and closes none that it is part of.
    - An alert that flaps keeps its incident open while it comes and goes.

Times are Unix milliseconds; 0: not yet.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from telemetry.alerts.model import Acknowledgement

TITLES_MAX = 10
EVENTS_MAX = 1_000
"""Events of one incident's timeline; beyond them only its acknowledgement and end are written."""

TEXT_CHARS_MAX = 1_000
TARGETS_MAX = 20


class Kind(StrEnum):
    """What happened."""

    FIRED = "fired"
    NOTIFIED = "notified"
    ACKNOWLEDGED = "acknowledged"
    ESCALATED = "escalated"
    ALERT_RESOLVED = "alert_resolved"
    RESOLVED = "resolved"
    NOTE = "note"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened."""

    kind: Kind
    at_ms: int
    alert: str = ""
    text: str = ""
    actor: str = ""
    route: str = ""
    targets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """An alert of the group that fires, or flaps."""

    id: str
    title: str
    """Its `alertname`."""

    summary: str
    fired_ms: int
    firing: bool = True
    """Whether it fires now; else it flaps and has just ended."""

    held: bool = False
    """Whether it is silenced or inhibited."""

    acknowledgement: Acknowledgement | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """An incident as it stands. Never changed: each step makes a new one."""

    id: str
    policy: str
    key: str
    """What its alerts have in common: labels as JSON."""

    titles: tuple[str, ...] = ()
    firing: Mapping[str, int] = field(default_factory=dict)
    """When each of its alerts that fires began to, by its id."""

    taken: Mapping[str, int] = field(default_factory=dict)
    """When each of those was taken on, as far as they were."""

    firings: int = 0
    opened_ms: int
    acknowledged_ms: int = 0
    acknowledger: str = ""
    resolved_ms: int = 0
    events: int = 0
    """How many were written into its timeline."""


def advance(
    incident: Incident | None,
    standing: Sequence[Standing],
    at_ms: int,
    *,
    new: Callable[[int], Incident],
) -> tuple[Incident | None, list[Event]]:
    """
    Return what becomes of a group's incident, and what happened.

    Args:
        incident: None: none is open.
        new: Makes one, given since when it is open.

    """
    now = {one.id: one for one in standing if one.firing}
    if incident is None:
        opening = [one.fired_ms for one in now.values() if not one.held]
        if not opening:
            return None, []
        incident = new(min(opening))
    events: list[Event] = []
    firing = dict(incident.firing)
    for one in now.values():
        known = firing.get(one.id)
        if known == one.fired_ms or (known is None and one.held):
            continue
        firing[one.id] = one.fired_ms
        text = f"{one.title}: {one.summary}" if one.summary else one.title
        events.append(_event(Kind.FIRED, one.fired_ms, alert=one.id, text=text))
        incident = replace(
            incident,
            firings=incident.firings + 1,
            titles=_with(incident.titles, one.title),
            taken={k: v for k, v in incident.taken.items() if k != one.id},
        )
    incident = _taken(incident, [now[one] for one in firing if one in now], events)
    for gone in [one for one in firing if one not in now]:
        del firing[gone]
        events.append(_event(Kind.ALERT_RESOLVED, at_ms, alert=gone))
    taken = {k: v for k, v in incident.taken.items() if k in firing}
    incident = replace(incident, firing=firing, taken=taken)
    if not firing and all(one.firing for one in standing):
        incident = replace(incident, resolved_ms=at_ms)
        events.append(_event(Kind.RESOLVED, at_ms))
    return noted(incident, events)


def noted(incident: Incident, events: Sequence[Event]) -> tuple[Incident, list[Event]]:
    """Return *incident* with *events* counted, and those there is room for."""
    kept: list[Event] = []
    for event in events:
        always = event.kind in {Kind.ACKNOWLEDGED, Kind.RESOLVED}
        if always or incident.events + len(kept) < EVENTS_MAX:
            kept.append(event)
    return replace(incident, events=incident.events + len(kept)), kept


def _taken(incident: Incident, firing: Sequence[Standing], events: list[Event]) -> Incident:
    """Return *incident* with those acknowledged that people have taken on since."""
    for one in firing:
        said = one.acknowledgement
        if said is None or one.id in incident.taken or said.fired_ms != one.fired_ms:
            continue
        events.append(
            _event(Kind.ACKNOWLEDGED, said.at_ms, alert=one.id, text=said.comment, actor=said.actor)
        )
        incident = replace(incident, taken={**incident.taken, one.id: said.at_ms})
        if not incident.acknowledged_ms:
            incident = replace(incident, acknowledged_ms=said.at_ms, acknowledger=said.actor)
    return incident


def _event(kind: Kind, at_ms: int, *, alert: str = "", text: str = "", actor: str = "") -> Event:
    return Event(kind=kind, at_ms=at_ms, alert=alert, text=text[:TEXT_CHARS_MAX], actor=actor)


def _with(titles: tuple[str, ...], title: str) -> tuple[str, ...]:
    return titles if title in titles else (*titles, title)[:TITLES_MAX]
