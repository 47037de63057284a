"""The shell around `incidents`: those that are open, and what the database doesn't know of them."""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING

from opentelemetry import metrics

from meshkit.ids import new_id
from telemetry.alerts.incidents import (
    TARGETS_MAX,
    TEXT_CHARS_MAX,
    Event,
    Incident,
    Kind,
    advance,
    noted,
)
from telemetry.alerts.telling import Why


if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from telemetry.alerts.incidents import Standing
    from telemetry.alerts.message import Message
    from telemetry.alerts.store.routing import GroupKey

UNSAVED_MAX = 10_000
"""Events that wait for the database; beyond them the oldest are forgotten."""


class Book:
    """Open incidents by the group of their alerts. Used on the event loop only."""

    def __init__(self) -> None:
        self._open: dict[GroupKey, Incident] = {}
        self._unsaved: dict[str, Incident] = {}
        self._events: list[tuple[str, Event]] = []
        meter = metrics.get_meter("telemetry")
        self._opened = meter.create_counter(
            "telemetry.incidents.opened", unit="{incident}", description="Incidents that began"
        )
        self._acknowledging = meter.create_histogram(
            "telemetry.incidents.time_to_acknowledge",
            unit="s",
            description="From the first alert of an incident to its acknowledgement",
        )
        self._repairing = meter.create_histogram(
            "telemetry.incidents.time_to_repair",
            unit="s",
            description="From the first alert of an incident to the end of the last",
        )

    @property
    def open(self) -> Sequence[Incident]:
        """Those that are open."""
        return list(self._open.values())

    def join(self, incidents: Iterable[Incident]) -> None:
        """Go on with those that an earlier run left open."""
        self._open = {(one.policy, one.key): one for one in incidents}

    def look(self, groups: Mapping[GroupKey, Sequence[Standing]], at_ms: int) -> bool:
        """Take in which alerts fire, by their groups; return whether anything changed."""
        changed = False
        for group in {**groups, **self._open}:
            before = self._open.get(group)
            after, events = advance(
                before,
                groups.get(group, ()),
                at_ms,
                new=functools.partial(_new, *group),
            )
            if after is not None and after != before:
                changed = True
                self._keep(group, before, after, events)
        return changed

    def escalated(self, message: Message, at_ms: int) -> None:
        """Note that *message* goes to the next step of its policy."""
        text = f"Nobody has acknowledged: {message.subject}"
        self._note(
            message.group,
            Event(
                kind=Kind.ESCALATED,
                at_ms=at_ms,
                text=text[:TEXT_CHARS_MAX],
                targets=message.targets[:TARGETS_MAX],
            ),
        )

    def told(self, message: Message, *, at_ms: int, route: str) -> None:
        """Note that something took *message*, or with no *route* that nothing did."""
        if message.why is Why.RESOLVED:
            return  # It is over; that people hear of it is no part of it.
        self._note(
            message.group,
            Event(
                kind=Kind.NOTIFIED,
                at_ms=at_ms,
                text=message.subject[:TEXT_CHARS_MAX],
                route=route,
                targets=message.targets[:TARGETS_MAX],
            ),
        )

    def take_unsaved(self) -> tuple[list[Incident], list[tuple[str, Event]]]:
        """Return what the database must be told; it counts as told."""
        unsaved, self._unsaved = list(self._unsaved.values()), {}
        events, self._events = self._events, []
        return unsaved, events

    def put_back(self, incidents: Iterable[Incident], events: Sequence[tuple[str, Event]]) -> None:
        """The database couldn't be told: it must be told again."""
        self._unsaved = {one.id: one for one in incidents} | self._unsaved
        self._events = [*events, *self._events][-UNSAVED_MAX:]

    def _note(self, group: GroupKey, event: Event) -> None:
        before = self._open.get(group)
        if before is not None:
            after, events = noted(before, [event])
            self._keep(group, before, after, events)

    def _keep(
        self, group: GroupKey, before: Incident | None, after: Incident, events: Sequence[Event]
    ) -> None:
        if before is None:
            self._opened.add(1)
        if after.acknowledged_ms and (before is None or not before.acknowledged_ms):
            self._acknowledging.record((after.acknowledged_ms - after.opened_ms) / 1000)
        if after.resolved_ms:
            self._repairing.record((after.resolved_ms - after.opened_ms) / 1000)
            self._open.pop(group, None)
        else:
            self._open[group] = after
        self._unsaved[after.id] = after
        self._events += zip(itertools.repeat(after.id), events)
        del self._events[:-UNSAVED_MAX]


def _new(policy: str, key: str, opened_ms: int) -> Incident:
    return Incident(id=new_id(), policy=policy, key=key, opened_ms=opened_ms)
