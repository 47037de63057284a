"""
What follows an attempt. A pure state machine: no clock, no chance, no I/O.

    PENDING ──claim──▶ IN_FLIGHT ──Delivered──▶ DELIVERED
       ▲                  │ │ │ └──Refused────▶ FAILED
       │ due              │ │ └────Dropped────▶ DROPPED
    WAITING ◀─RetryLater──┘ │
                            └──Unconfirmed, or the lease ran out
                                     │ the channel recognises repeats ──▶ PENDING
                                     │ critical, and not resent yet ────▶ PENDING, marked resent
                                     └──────────────────────────────────▶ UNCERTAIN
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING

from notifier.model import Category, DeliveryState, EventKind, Lane, Reason
from notifier.outcome import Delivered, Dropped, Outcome, Refused, RetryLater, Unconfirmed


if TYPE_CHECKING:
    from datetime import datetime

BACKOFF_FIRST = {
    Lane.URGENT: timedelta(seconds=1),
    Lane.NORMAL: timedelta(seconds=4),
    Lane.BULK: timedelta(seconds=30),
}
BACKOFF_MAX = timedelta(minutes=15)


class Resolution(IntEnum):
    """What an operator found out or decided about an uncertain delivery."""

    DELIVERED = 1
    RESEND = 2
    GIVE_UP = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What is known about a delivery when one of its attempts ends."""

    lane: Lane
    category: Category
    attempt: int
    """Number of the attempt that ended, from 1."""
    attempts_max: int
    useless_after: datetime
    repeatable: bool
    """Whether the channel recognises a repeated delivery by its id."""
    resent: bool
    """Whether it has been resent after an uncertain attempt before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What the delivery becomes, and the event that tells of it."""

    state: DeliveryState
    event: EventKind
    reason: Reason = Reason.NONE
    run_at: datetime | None = None
    """When it is due again; only for WAITING."""
    resent: bool = False
    receipt: str = ""
    detail: str = ""


def after(outcome: Outcome, situation: Situation, *, now: datetime, chance: float) -> Step:
    """
    Return what follows *outcome*.

    Args:
        chance: From 0 up to 1; spreads the retries of many.

    """
    match outcome:
        case Delivered(receipt=receipt):
            return Step(
                state=DeliveryState.DELIVERED, event=EventKind.DELIVERED, receipt=receipt[:200]
            )
        case Refused(reason=reason, detail=detail):
            return Step(
                state=DeliveryState.FAILED, event=EventKind.FAILED, reason=reason, detail=detail
            )
        case Dropped(reason=reason):
            return Step(state=DeliveryState.DROPPED, event=EventKind.DROPPED, reason=reason)
        case RetryLater():
            return _again(outcome, situation, now=now, chance=chance)
        case Unconfirmed(reason=reason, detail=detail):
            return after_uncertain(situation, reason=reason, detail=detail, now=now)


def after_uncertain(
    situation: Situation, *, reason: Reason, detail: str = "", now: datetime
) -> Step:
    """Return what follows an attempt of which nobody knows how it ended."""
    attempts_left = situation.attempt < situation.attempts_max and now < situation.useless_after
    if situation.repeatable and attempts_left:
        return Step(
            state=DeliveryState.PENDING,
            event=EventKind.RETRY_SCHEDULED,
            reason=reason,
            detail=detail,
        )
    urgent = situation.category is Category.CRITICAL and not situation.resent
    if urgent and attempts_left:
        # Twice is a nuisance, a missed boarding call is a missed flight; the timeline says so.
        return Step(
            state=DeliveryState.PENDING,
            event=EventKind.RESENT,
            reason=reason,
            detail=detail,
            resent=True,
        )
    return Step(
        state=DeliveryState.UNCERTAIN, event=EventKind.UNCERTAIN, reason=reason, detail=detail
    )


def resolved(resolution: Resolution) -> Step:
    """Return what follows an operator's decision on an uncertain delivery."""
    match resolution:
        case Resolution.DELIVERED:
            state, event = DeliveryState.DELIVERED, EventKind.DELIVERED
        case Resolution.RESEND:
            state, event = DeliveryState.PENDING, EventKind.RESENT
        case Resolution.GIVE_UP:
            state, event = DeliveryState.FAILED, EventKind.FAILED
    return Step(
        state=state,
        event=event,
        reason=Reason.OPERATOR,
        resent=resolution is Resolution.RESEND,
    )


def backoff(lane: Lane, attempt: int, chance: float) -> timedelta:
    """Return how long to wait after attempt number *attempt*: doubling, half of it by chance."""
    doublings: int = 1 << min(attempt - 1, 20)
    full = min(BACKOFF_FIRST[lane] * doublings, BACKOFF_MAX)
    return full * (0.5 + chance / 2)


def _again(failure: RetryLater, situation: Situation, *, now: datetime, chance: float) -> Step:
    if situation.attempt >= situation.attempts_max:
        return Step(
            state=DeliveryState.FAILED,
            event=EventKind.FAILED,
            reason=Reason.ATTEMPTS_EXHAUSTED,
            detail=f"{failure.reason.name}: {failure.detail}",
        )
    run_at = now + max(failure.after, backoff(situation.lane, situation.attempt, chance))
    if run_at >= situation.useless_after:
        return Step(
            state=DeliveryState.DROPPED,
            event=EventKind.DROPPED,
            reason=Reason.TOO_LATE,
            detail=f"{failure.reason.name}: {failure.detail}",
        )
    return Step(
        state=DeliveryState.WAITING,
        event=EventKind.RETRY_SCHEDULED,
        reason=failure.reason,
        run_at=run_at,
        detail=failure.detail,
    )
