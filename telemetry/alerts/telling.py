"""
What is told, when and to whom: grouping and escalation.

Pure: no clock, no I/O. The alerts of one group of one policy, as they are now, go in; the
notifications that are due come out.

    - The first alert of a group is told at once; what follows waits, to be told together.
    - What nobody acknowledges is told to the next step when its time has come, and again after a
      while to all steps so far.
    - An alert that flaps is told once; then nothing of its comings and goings until it is calm.
    - What is silenced or inhibited isn't told; what was told before that isn't thereby resolved.
    - The end of what was told is told to whom it was told.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from telemetry.alerts.routing import Policy


class Why(StrEnum):
    """What a notification is for."""

    FIRING = "firing"
    CHANGED = "changed"
    """More alerts of the group, or some have ended."""

    RESOLVED = "resolved"
    """Nothing of the group fires any more."""

    ESCALATED = "escalated"
    REPEATED = "repeated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """An alert of the group that fires, or flaps."""

    id: str
    fired_ms: int
    acknowledged: bool = False
    flapping: bool = False
    held: bool = False
    """Whether it is silenced or inhibited."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupState:
    """What a group's people know. Never changed: each step makes a new one."""

    told: Mapping[str, int] = field(default_factory=dict)
    """When each alert that was told began to fire, by its id."""

    unacknowledged_ms: int = 0
    """Since when something has been unacknowledged; 0: nothing is."""

    steps_told: int = 0
    """How many steps of the policy have been told."""

    sent_ms: int = 0
    """When the last notification was made; 0: never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """Something to tell."""

    why: Why
    firing: tuple[str, ...]
    """Ids of alerts that fire."""

    resolved: tuple[str, ...]
    """Ids of alerts that were told and have ended."""

    steps: tuple[int, ...]
    """To whom: the policy's steps, by their numbers."""


def tell(
    policy: Policy, state: GroupState, seen: Sequence[Seen], at_ms: int
) -> tuple[GroupState, list[Notification]]:
    """Return what the group's state becomes, and what is due."""
    now = {one.id: one for one in seen}
    # What flaps and was told stays told: its comings and goings are not.
    new = [one.id for one in seen if not one.held and not _known(one, state)]
    gone = [alert for alert in state.told if alert not in now]
    out: list[Notification] = []
    waited = at_ms - state.sent_ms >= policy.followers_wait_ms
    if new and (not state.told or waited):
        out.append(_changed(Why.CHANGED if state.told else Why.FIRING, now, gone, state))
    elif gone and not new and waited:
        out.append(_changed(Why.CHANGED if now else Why.RESOLVED, now, gone, state))
    if out:
        told = {one.id: one.fired_ms for one in seen if not one.held or one.id in state.told}
        state = replace(
            state, told=told, sent_ms=at_ms, steps_told=max(1, state.steps_told) if told else 0
        )
    state = _clocked(state, now, at_ms)
    more = _escalated(policy, state, now, at_ms)
    if more is not None:
        out.append(more)
        state = replace(state, sent_ms=at_ms, steps_told=max(more.steps) + 1)
    return state, out


def _known(one: Seen, state: GroupState) -> bool:
    told = state.told.get(one.id)
    return told is not None and (told == one.fired_ms or one.flapping)


def _is_open(one: Seen) -> bool:
    return not one.acknowledged and not one.held


def _changed(
    why: Why, now: Mapping[str, Seen], gone: Sequence[str], state: GroupState
) -> Notification:
    return Notification(
        why=why,
        firing=tuple(one.id for one in now.values() if not one.held),
        resolved=tuple(gone),
        steps=tuple(range(max(1, state.steps_told))),
    )


def _clocked(state: GroupState, now: Mapping[str, Seen], at_ms: int) -> GroupState:
    """Return *state* with the clock of escalation started, or stopped."""
    open_ = any(_is_open(now[one]) for one in state.told if one in now)
    if not open_:
        # Whoever was told so far is to hear of the end, too.
        return replace(state, unacknowledged_ms=0, steps_told=state.steps_told if state.told else 0)
    if not state.unacknowledged_ms:
        return replace(state, unacknowledged_ms=at_ms, steps_told=min(1, state.steps_told))
    return state


def _escalated(
    policy: Policy, state: GroupState, now: Mapping[str, Seen], at_ms: int
) -> Notification | None:
    """Return what must be told because nobody has acknowledged."""
    if not state.unacknowledged_ms:
        return None
    open_for_ms = at_ms - state.unacknowledged_ms
    due = [
        number
        for number, step in enumerate(policy.steps)
        if number >= state.steps_told and step.after_ms <= open_for_ms
    ]
    told = tuple(one for one in state.told if one in now and not now[one].held)
    if due:
        return Notification(why=Why.ESCALATED, firing=told, resolved=(), steps=tuple(due))
    if at_ms - state.sent_ms >= policy.repeat_ms:
        steps = tuple(range(max(1, state.steps_told)))
        return Notification(why=Why.REPEATED, firing=told, resolved=(), steps=steps)
    return None
