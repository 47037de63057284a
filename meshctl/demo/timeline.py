"""
What happens on an operating day, in order: a pure function of the day's flights.

    SCHEDULED ─▶ GATE ─▶ (DELAYED | GATE)* ─▶ BOARDING ─▶ DEPARTED ─▶ ARRIVED | DIVERTED ─▶ CLEARED
              └▶ (GATE | DELAYED)* ─▶ CANCELLED ─────────────────────────────────────────▶ CLEARED

The data says when a flight really left and landed. When its gate was posted, how a long delay crept
up and when a cancellation was announced, it doesn't say: those follow from a hash of the flight's
key, so the same day always has the same events.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from meshctl.demo.day import AIRPORTS, Day, Flight


class Kind(StrEnum):
    """What became known about a flight."""

    SCHEDULED = "scheduled"
    GATE = "gate"
    DELAYED = "delayed"
    BOARDING = "boarding"
    DEPARTED = "departed"
    CANCELLED = "cancelled"
    ARRIVED = "arrived"
    DIVERTED = "diverted"
    CLEARED = "cleared"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that became known about one flight."""

    offset: timedelta
    """When, since the operating day began. At least 0, less than two days."""

    flight: Flight
    kind: Kind

    number: int
    """Position among the flight's events, from 1, without gaps; orders what is told about it."""

    gate: str
    """The flight's gate as of now; empty while it has none."""

    expected: datetime
    """When the flight leaves or left, as of now."""

    @property
    def delay(self) -> timedelta:
        """How much later than scheduled it leaves, as of now; negative when early."""
        return self.expected - self.flight.scheduled


PUBLISHED_BEFORE = timedelta(hours=4)
"""How long before its schedule a flight appears on the board."""

BOARDING_BEFORE = timedelta(minutes=30)
LATE = timedelta(minutes=15)
"""From here on a flight counts as delayed, as in the official statistics."""

CLEARED_AFTER_ARRIVAL = timedelta(minutes=20)
CLEARED_AFTER_OTHERS = timedelta(hours=2)
GATES_PER_AIRPORT = {
    "EWR": ("A", "B", "C"),
    "JFK": ("T1-", "T2-", "T4-", "T5-", "T8-"),
    "LGA": ("B", "C", "D"),
}
GATES_PER_TERMINAL = 30
GATE_CHANGES_PERCENT = 8
CANCELLED_AFTER_DELAY_PERCENT = 40


@dataclass(frozen=True, slots=True)
class _Draft:
    at: datetime
    kind: Kind
    delay: timedelta


def events_of(day: Day) -> tuple[Event, ...]:
    """Everything that happens to the flights of *day*, ordered by offset, flight and number."""
    gates = _assign_gates(day)
    events = [event for flight in day.flights for event in _events(day, flight, gates[flight.key])]
    return tuple(sorted(events, key=lambda e: (e.offset, e.flight.key, e.number)))


def chance(key: str, purpose: str, below: int) -> int:
    """A number in [0, *below*), the same for the same key and purpose for ever."""
    digest = hashlib.blake2b(f"{key}/{purpose}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) % below


def _events(day: Day, flight: Flight, gates: tuple[str, str]) -> Iterator[Event]:
    drafts = sorted(_drafts(flight), key=lambda draft: draft.at)
    at = day.begins
    gate = ""
    expected = flight.scheduled
    for number, draft in enumerate(drafts, start=1):
        # What should have been known before the day began is known within its first minutes.
        at = max(at + timedelta(seconds=20), draft.at)
        if draft.kind is Kind.GATE:
            gate = gates[1] if gate else gates[0]
        expected = max(flight.scheduled + draft.delay, expected)
        if draft.kind in (Kind.BOARDING, Kind.DEPARTED) and flight.departed:
            expected = flight.departed
        yield Event(
            offset=at - day.begins,
            flight=flight,
            kind=draft.kind,
            number=number,
            gate=gate,
            expected=expected,
        )


def _drafts(flight: Flight) -> Iterator[_Draft]:
    def draft(at: datetime, kind: Kind, delay: timedelta = timedelta(0)) -> _Draft:
        # Seconds of their own keep a busy minute from being one burst.
        return _Draft(at + timedelta(seconds=chance(flight.key, kind, 50)), kind, delay)

    scheduled = flight.scheduled
    yield draft(scheduled - PUBLISHED_BEFORE, Kind.SCHEDULED)
    if flight.departed is None:
        yield from _cancellation(flight, draft)
        return
    boarding = max(flight.departed - BOARDING_BEFORE, scheduled - BOARDING_BEFORE * 2)
    posted = scheduled - timedelta(minutes=90 + chance(flight.key, "posted", 60))
    yield draft(posted, Kind.GATE)
    if chance(flight.key, "change", 100) < GATE_CHANGES_PERCENT:
        yield draft(posted + (boarding - posted) * 0.6, Kind.GATE)
    for at, delay in _creeping_delay(flight, boarding):
        yield draft(at, Kind.DELAYED, delay)
    yield draft(boarding, Kind.BOARDING)
    yield draft(flight.departed, Kind.DEPARTED)
    if flight.arrived is None:
        diverted = flight.departed + timedelta(hours=2)
        yield draft(diverted, Kind.DIVERTED)
        yield draft(diverted + CLEARED_AFTER_OTHERS, Kind.CLEARED)
    else:
        yield draft(flight.arrived, Kind.ARRIVED)
        yield draft(flight.arrived + CLEARED_AFTER_ARRIVAL, Kind.CLEARED)


def _cancellation(flight: Flight, draft: Callable[..., _Draft]) -> Iterator[_Draft]:
    scheduled = flight.scheduled
    announced = scheduled - timedelta(minutes=30 + chance(flight.key, "announced", 180))
    if chance(flight.key, "hope", 100) < CANCELLED_AFTER_DELAY_PERCENT:
        yield draft(scheduled - timedelta(minutes=100), Kind.GATE)
        late = timedelta(minutes=30 + 5 * chance(flight.key, "late", 12))
        yield draft(scheduled - timedelta(minutes=60), Kind.DELAYED, late)
        announced = scheduled + late * 0.5
    yield draft(announced, Kind.CANCELLED)
    yield draft(announced + CLEARED_AFTER_OTHERS, Kind.CLEARED)


def _creeping_delay(flight: Flight, boarding: datetime) -> Iterator[tuple[datetime, timedelta]]:
    """A long delay isn't known at once: each announcement comes when the last can't be kept."""
    if flight.delay < LATE:
        return
    minutes = flight.delay / timedelta(minutes=1)
    steps = 1 + sum(minutes >= bound for bound in (30, 90, 180))
    at = flight.scheduled - timedelta(minutes=45 + chance(flight.key, "known", 45))
    for step in range(1, steps):
        share = timedelta(minutes=5 * max(1, round(minutes * step / steps / 5)))
        yield at, share
        at = max(at + timedelta(minutes=5), flight.scheduled + share - timedelta(minutes=40))
    yield min(at, boarding - timedelta(minutes=5)), flight.delay


def _assign_gates(day: Day) -> dict[str, tuple[str, str]]:
    """For each flight its first gate and the one it would change to, none used twice at a time."""
    free_at: dict[str, dict[str, datetime]] = {
        airport: {
            f"{terminal}{number}": day.begins
            for terminal in GATES_PER_AIRPORT[airport]
            for number in range(1, GATES_PER_TERMINAL + 1)
        }
        for airport in AIRPORTS
    }
    chosen = {}
    for flight in sorted(day.flights, key=lambda f: (f.departed or f.scheduled, f.key)):
        gates = free_at[flight.origin]
        terminals = GATES_PER_AIRPORT[flight.origin]
        terminal = terminals[chance(flight.carrier, flight.origin, len(terminals))]
        leaves = flight.departed or flight.scheduled
        wanted = leaves - BOARDING_BEFORE * 2
        # The airline's own terminal first; then the gate that has been free the longest.
        first, second = sorted(
            gates, key=lambda g: (gates[g] > wanted, not g.startswith(terminal), gates[g], g)
        )[:2]
        gates[first] = gates[second] = leaves
        chosen[flight.key] = (first, second)
    return chosen
