"""
The flight board of an airport: one record for each flight, from its publication to its clearing.

Pure: an occurrence in, the change of the record out.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from meshctl.demo.replay import Clock, Occurrence, Position
from meshctl.demo.timeline import Kind


Cell = str | int | datetime

FIELDS: dict[str, type[str | int | datetime]] = {
    "flight": str,
    "airline": str,
    "destination": str,
    "scheduled": datetime,
    "expected": datetime,
    "delay_minutes": int,
    "gate": str,
    "status": str,
    "update_time": datetime,
}
"""What a record of a board consists of."""

EVENTS_PER_WINDOW_MAX = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of a board."""

    number: int
    """Greater for each later change; the same for the same occurrence, however often it is made."""

    airport: str
    record: str

    fields: dict[str, Cell] | None
    """What to set, the rest stays; None removes the record."""


def space_of(airport: str) -> str:
    """Id of the space that holds the board of *airport*, such as `board-ewr`."""
    return f"board-{airport.lower()}"


def number_of(position: Position) -> int:
    """A number for a mutation, ordered as positions are, from 1 up."""
    assert position.index < EVENTS_PER_WINDOW_MAX, "a day has some thousand events"
    return position.window * EVENTS_PER_WINDOW_MAX + position.index + 1


def record_of(occurrence: Occurrence) -> str:
    """
    Id of the flight's record, such as `ua1545-ewr.0`.

    Every other loop uses it again, since a space remembers each id it ever had; by then the flight
    of two days before has been cleared.
    """
    return f"{occurrence.event.flight.key}.{occurrence.loop % 2}"


def change_of(occurrence: Occurrence, clock: Clock) -> Change:
    """How *occurrence* changes its airport's board; *clock* says when that really was."""
    event = occurrence.event
    fields = _fields(occurrence)
    if fields is not None:
        fields["update_time"] = clock.real_at(occurrence.at)
    return Change(
        number=number_of(occurrence.position),
        airport=event.flight.origin,
        record=record_of(occurrence),
        fields=fields,
    )


def _fields(occurrence: Occurrence) -> dict[str, Cell] | None:
    event, flight = occurrence.event, occurrence.event.flight
    if event.kind is Kind.CLEARED:
        return None
    if event.kind is Kind.SCHEDULED:
        return {
            "flight": flight.designator,
            "airline": flight.airline,
            "destination": flight.place.city,
            "scheduled": occurrence.shifted(flight.scheduled),
            "expected": occurrence.shifted(event.expected),
            "delay_minutes": 0,
            "gate": "",
            "status": event.kind.value,
        }
    if event.kind is Kind.GATE:
        return {"gate": event.gate}
    fields: dict[str, Cell] = {"status": event.kind.value}
    if event.kind in (Kind.DELAYED, Kind.BOARDING, Kind.DEPARTED):
        fields["expected"] = occurrence.shifted(event.expected)
        fields["delay_minutes"] = event.delay // timedelta(minutes=1)
    return fields
