"""
What becomes of a rule's alerts with each evaluation.

Pure: no clock, no I/O. An evaluation either found something, perhaps nothing, or it failed; what
failed says nothing about alerts, so it changes none of them.

              holds                 holds for `for`            ends, and has for
    (none) ──────────▶ PENDING ───────────────────▶ FIRING ──────────────────────▶ RESOLVED
                          │ ends                    ▲    │  `keep_firing_for`          │
                          ▼                         │    ▼                             │
                        (none)       holds, no data │  FIRING, marked no-data          │
                                     any more ──────┘    (for NO_DATA_KEPT at most)    │
                          ┌──────────────────────────────────── holds ────────────────┤
                          ▼                                                            ▼
                       PENDING                                          (none) after RESOLVED_KEPT

An alert that has fired `FLAPS` times within `FLAP_WINDOW` is flapping until it has not for a
whole window; it is marked, and its phases go on as ever.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from telemetry.rules.model import NoData


if TYPE_CHECKING:
    from collections.abc import Mapping

    from telemetry.promql.labels import Labels

NO_DATA_KEPT_MS = 900_000
RESOLVED_KEPT_MS = 900_000
FLAP_WINDOW_MS = 600_000
FLAPS = 4
OUTAGE_MS_MAX = 3_600_000
"""After a longer absence pending alerts begin anew."""


class Phase(StrEnum):
    """Where an alert stands."""

    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"


class Happened(StrEnum):
    """What changed about an alert."""

    PENDING = "pending"
    ENDED = "ended"
    """It was pending and its condition ended."""

    FIRING = "firing"
    RESOLVED = "resolved"
    NO_DATA = "no_data"
    DATA_BACK = "data_back"
    FLAPPING = "flapping"
    CALM = "calm"
    FORGOTTEN = "forgotten"
    """It was resolved long ago and isn't listed any more."""


class Health(StrEnum):
    """How a rule is doing."""

    UNKNOWN = "unknown"
    OK = "ok"
    NO_DATA = "no_data"
    """No selector of its found a sample."""

    FAILING = "failing"
    """Its last evaluation failed: its alerts stand as they stood before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """What of a rule decides about its alerts. Milliseconds."""

    hold_ms: int = 0
    keep_firing_ms: int = 0
    no_data: NoData = NoData.KEEP


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert. Times are Unix milliseconds; 0: not yet."""

    labels: Labels
    annotations: Labels = ()
    value: float
    phase: Phase = Phase.PENDING
    active_ms: int
    """Since when the condition holds."""

    fired_ms: int = 0
    resolved_ms: int = 0
    ended_ms: int = 0
    """Since when the condition holds no more, while `keep_firing_for` keeps it firing."""

    no_data_ms: int = 0
    """Since when no data are there, while it fires on."""

    firings: tuple[int, ...] = ()
    """When it began to fire, within the last flap window; at most `FLAPS` of them."""

    flapping: bool = False
    event_ms: int = 0
    """Time of the newest sample that made it fire; 0: unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holds:
    """The condition holds for a set of labels."""

    value: float
    annotations: Labels = ()
    event_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An evaluation that succeeded."""

    holding: Mapping[Labels, Holds]
    has_data: bool = True
    """Whether any selector found a sample, or there is no selector."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """An evaluation that did not."""

    error: str


Outcome = Found | Failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A change of one alert."""

    what: Happened
    alert: Alert


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleState:
    """A rule's alerts, and how it is doing. Never changed: each step makes a new one."""

    alerts: Mapping[Labels, Alert] = field(default_factory=dict)
    health: Health = Health.UNKNOWN
    error: str = ""
    """Why the last evaluation failed; empty if it didn't."""

    failing_ms: int = 0
    """Since when evaluations fail; 0: they don't."""

    evaluated_ms: int = 0
    """The last tick."""


def step(
    timing: Timing, state: RuleState, at_ms: int, outcome: Outcome
) -> tuple[RuleState, list[Event]]:
    """Return what *state* becomes at *at_ms*, and what has changed about alerts."""
    if isinstance(outcome, Failed):
        failing = state.failing_ms or at_ms
        return replace(
            state,
            health=Health.FAILING,
            error=outcome.error,
            failing_ms=failing,
            evaluated_ms=at_ms,
        ), []
    events: list[Event] = []
    alerts: dict[Labels, Alert] = {}
    for labels, holds in outcome.holding.items():
        before = state.alerts.get(labels)
        alerts[labels] = _holding(timing, before, labels, holds, at_ms, events=events)
    for labels, alert in state.alerts.items():
        if labels not in outcome.holding:
            left = _ended(timing, alert, at_ms, events, has_data=outcome.has_data)
            if left is not None:
                alerts[labels] = left
    for labels, alert in alerts.items():
        alerts[labels] = _flaps(alert, at_ms, events)
    return RuleState(
        alerts=alerts,
        health=Health.OK if outcome.has_data else Health.NO_DATA,
        evaluated_ms=at_ms,
    ), events


def dropped(state: RuleState, at_ms: int) -> list[Event]:
    """Return what becomes of the alerts of a rule that is no more."""
    events = []
    for alert in state.alerts.values():
        if alert.phase is Phase.FIRING:
            resolved = replace(alert, phase=Phase.RESOLVED, resolved_ms=at_ms, ended_ms=0)
            events.append(Event(what=Happened.RESOLVED, alert=resolved))
        events.append(Event(what=Happened.FORGOTTEN, alert=alert))
    return events


def restored(state: RuleState, now_ms: int) -> RuleState:
    """
    Return what an earlier run's *state* is worth at *now_ms*.

    The time of the absence counts for no `for`: whether the condition held, nobody knows.
    What fired goes on firing until an evaluation says otherwise.
    """
    away = max(0, now_ms - state.evaluated_ms) if state.evaluated_ms else 0
    alerts = {}
    for labels, alert in state.alerts.items():
        if alert.phase is Phase.PENDING:
            if away > OUTAGE_MS_MAX:
                continue
            alerts[labels] = replace(alert, active_ms=alert.active_ms + away)
        else:
            alerts[labels] = alert
    return replace(state, alerts=alerts, health=Health.UNKNOWN, error="", failing_ms=0)


def adopted(state: RuleState, other: RuleState) -> RuleState:
    """Return *state* with what fires in both having begun when the *other* replica found it."""
    alerts = dict(state.alerts)
    for labels, theirs in other.alerts.items():
        ours = alerts.get(labels)
        if ours is not None and ours.phase is theirs.phase is Phase.FIRING:
            alerts[labels] = replace(
                ours,
                active_ms=theirs.active_ms,
                fired_ms=theirs.fired_ms,
                firings=theirs.firings,
                flapping=theirs.flapping,
            )
    return replace(state, alerts=alerts)


def _holding(
    timing: Timing,
    alert: Alert | None,
    labels: Labels,
    holds: Holds,
    at_ms: int,
    *,
    events: list[Event],
) -> Alert:
    """Return the alert of labels for which the condition holds."""
    if alert is None or alert.phase is Phase.RESOLVED:
        firings = alert.firings if alert is not None else ()
        alert = Alert(
            labels=labels,
            value=holds.value,
            active_ms=at_ms,
            firings=firings,
            flapping=alert.flapping if alert is not None else False,
        )
        if timing.hold_ms:
            events.append(Event(what=Happened.PENDING, alert=alert))
    had_no_data = alert.no_data_ms
    alert = replace(
        alert,
        value=holds.value,
        annotations=holds.annotations,
        event_ms=holds.event_ms,
        ended_ms=0,
        no_data_ms=0,
    )
    if had_no_data:
        events.append(Event(what=Happened.DATA_BACK, alert=alert))
    if alert.phase is Phase.PENDING and at_ms - alert.active_ms >= timing.hold_ms:
        alert = replace(
            alert,
            phase=Phase.FIRING,
            fired_ms=at_ms,
            firings=(*alert.firings, at_ms)[-FLAPS:],
        )
        events.append(Event(what=Happened.FIRING, alert=alert))
    return alert


def _ended(
    timing: Timing, alert: Alert, at_ms: int, events: list[Event], *, has_data: bool
) -> Alert | None:
    """Return what is left of an alert whose condition doesn't hold."""
    if alert.phase is Phase.PENDING:
        if not alert.firings:
            events.append(Event(what=Happened.ENDED, alert=alert))
            return None
        # It has fired not long ago: that goes on being listed.
        left = replace(alert, phase=Phase.RESOLVED, resolved_ms=at_ms)
        events.append(Event(what=Happened.ENDED, alert=left))
        return left
    if alert.phase is Phase.RESOLVED:
        if at_ms - alert.resolved_ms >= RESOLVED_KEPT_MS:
            events.append(Event(what=Happened.FORGOTTEN, alert=alert))
            return None
        return alert
    if not has_data and timing.no_data is NoData.KEEP:
        since = alert.no_data_ms or at_ms
        if at_ms - since < NO_DATA_KEPT_MS:
            kept = replace(alert, no_data_ms=since)
            if not alert.no_data_ms:
                events.append(Event(what=Happened.NO_DATA, alert=kept))
            return kept
    ended = alert.ended_ms or at_ms
    if at_ms - ended < timing.keep_firing_ms:
        return replace(alert, ended_ms=ended)
    resolved = replace(alert, phase=Phase.RESOLVED, resolved_ms=at_ms, ended_ms=0)
    events.append(Event(what=Happened.RESOLVED, alert=resolved))
    return resolved


def _flaps(alert: Alert, at_ms: int, events: list[Event]) -> Alert:
    """Return *alert* marked as flapping, or calm again."""
    recent = tuple(one for one in alert.firings if at_ms - one < FLAP_WINDOW_MS)
    flapping = len(recent) >= FLAPS or (alert.flapping and len(recent) > 0)
    if recent == alert.firings and flapping is alert.flapping:
        return alert
    changed = replace(alert, firings=recent, flapping=flapping)
    if flapping is not alert.flapping:
        what = Happened.FLAPPING if flapping else Happened.CALM
        events.append(Event(what=what, alert=changed))
    return changed
