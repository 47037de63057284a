"""
Who is told of alerts: policies, schedules, inhibition. Pure.

Times are Unix milliseconds.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from telemetry.alerts.model import matching, selection_of
from telemetry.promql.labels import get


if TYPE_CHECKING:
    from collections.abc import Sequence

    from telemetry.promql.labels import Labels

DEFAULT_POLICY = "default"
FOLLOWERS_WAIT_MS = 30_000
REPEAT_MS = 4 * 3_600_000
TURN_DAYS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Whom to tell, so long after the first unacknowledged alert."""

    after_ms: int
    targets: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Whom to tell, and whom next."""

    id: str
    group_by: tuple[str, ...] = ()
    followers_wait_ms: int = FOLLOWERS_WAIT_MS
    repeat_ms: int = REPEAT_MS
    steps: tuple[Step, ...]
    fallback_mails: tuple[str, ...] = ()
    fallback_webhooks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """Somebody stands in."""

    start_ms: int
    end_ms: int
    participant: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Who is on call when."""

    id: str
    time_zone: str = "UTC"
    participants: tuple[str, ...]
    start_date: date
    handover: time = time()
    turn_days: int = TURN_DAYS
    overrides: tuple[Override, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Inhibition:
    """While a source fires, targets that are equal in some labels aren't told."""

    source: tuple[str, ...]
    target: tuple[str, ...]
    equal: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """All of it."""

    policies: tuple[Policy, ...] = ()
    schedules: tuple[Schedule, ...] = ()
    inhibitions: tuple[Inhibition, ...] = ()

    def policy(self, name: str) -> Policy | None:
        """Return the policy of that *name*, or else the default one, if there is any."""
        by_id = {one.id: one for one in self.policies}
        return by_id.get(name) or by_id.get(DEFAULT_POLICY)

    def recipients(self, targets: Sequence[str], at_ms: int) -> list[str]:
        """Return *targets* with schedules replaced by who is on call; each once."""
        by_id = {one.id: one for one in self.schedules}
        found: dict[str, None] = {}
        for target in targets:
            kind, _, name = target.partition("/")
            if kind != "schedules":
                found[target] = None
            elif name in by_id and (participant := on_call(by_id[name], at_ms)):
                found[participant] = None
        return list(found)


def on_call(schedule: Schedule, at_ms: int) -> str:
    """Return who is on call; empty before the first turn."""
    for override in reversed(schedule.overrides):
        if override.start_ms <= at_ms < override.end_ms:
            return override.participant
    zone = ZoneInfo(schedule.time_zone)
    local = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(zone)
    # Turns change at a local time of day: a day is what the calendar says, not 24 hours.
    day = local.date()
    if local.timetz().replace(tzinfo=None) < schedule.handover:
        day -= timedelta(days=1)
    days = (day - schedule.start_date).days
    if days < 0:
        return ""
    turn = days // schedule.turn_days
    return schedule.participants[turn % len(schedule.participants)]


def inhibited(firing: Sequence[Labels], inhibitions: Sequence[Inhibition]) -> list[bool]:
    """Return which alerts that fire others hold back."""
    held = [False] * len(firing)
    for one in inhibitions:
        sources = matching(firing, _selection(one.source))
        targets = matching(firing, _selection(one.target))
        by_key: dict[tuple[str, ...], set[int]] = {}
        for i, is_source in enumerate(sources):
            if is_source:
                key = tuple(get(firing[i], name) for name in one.equal)
                by_key.setdefault(key, set()).add(i)
        for i, is_target in enumerate(targets):
            # What is both isn't held back by its like: nobody would be told of either.
            if is_target and not sources[i]:
                key = tuple(get(firing[i], name) for name in one.equal)
                held[i] = held[i] or bool(by_key.get(key))
    return held


@functools.lru_cache(maxsize=1024)
def _selection(texts: tuple[str, ...]):  # type: ignore[no-untyped-def]  # noqa: ANN202 - lru_cache
    return selection_of(texts)
