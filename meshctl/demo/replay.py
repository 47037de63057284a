"""
Days in a row: which event comes next, and when it comes on our clocks.

A day's last flights land while the next day's first ones board, so a replay is cut into windows of
24 simulated hours: window *n* holds what of loop *n* happens within its first 24 hours and what of
loop *n-1* happens later. A window is a fixed list; a position in it says where a replay stands.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from meshctl.demo.day import Day
from meshctl.demo.timeline import Event


DAY = timedelta(hours=24)
DEFAULT_SPEED = 144.0
"""Simulated seconds a second: a day in ten minutes."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Position:
    """The next event to happen. Positions are ordered as their events are."""

    window: int = 0
    index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Occurrence:
    """One event of one loop."""

    position: Position
    loop: int
    at: datetime
    """The simulated instant, in UTC."""

    operating_date: date
    """The day the flight belongs to: the replayed date, one later with each loop."""

    event: Event

    @property
    def flight_id(self) -> str:
        """Unique among all loops, such as `ua1545-ewr-20130308`."""
        return f"{self.event.flight.key}-{self.operating_date:%Y%m%d}"

    @property
    def event_id(self) -> str:
        """Unique among all loops, such as `ua1545-ewr-20130308/3`."""
        return f"{self.flight_id}/{self.event.number}"

    def shifted(self, base: datetime) -> datetime:
        """An instant of the replayed day, moved to this loop."""
        return base + self.loop * DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """The events of a day, loop after loop."""

    day: Day
    events: tuple[Event, ...]

    loops: int | None = None
    """How many; None means without end."""

    def occurrences(self, position: Position = Position()) -> Iterator[Occurrence]:
        """Everything from *position* on, ordered by instant."""
        while not self._over(position.window):
            window = self._window(position.window)
            for index in range(position.index, len(window)):
                loop, event = window[index]
                yield Occurrence(
                    position=Position(window=position.window, index=index),
                    loop=loop,
                    at=self.day.begins + loop * DAY + event.offset,
                    operating_date=self.day.date + timedelta(days=loop),
                    event=event,
                )
            position = Position(window=position.window + 1)

    def _over(self, window: int) -> bool:
        return self.loops is not None and window > self.loops

    def _window(self, number: int) -> list[tuple[int, Event]]:
        today = [] if number == self.loops else [e for e in self.events if e.offset < DAY]
        before = [] if number == 0 else [e for e in self.events if e.offset >= DAY]
        both = [(number, e) for e in today] + [(number - 1, e) for e in before]
        return sorted(
            both, key=lambda one: (one[0] * DAY + one[1].offset, one[0], one[1].flight.key)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Maps simulated instants to real ones and back. Both are aware datetimes."""

    simulated: datetime
    """The simulated instant at the real instant *real*."""

    real: datetime

    speed: float
    """Simulated seconds a second; greater than 0."""

    def __post_init__(self) -> None:
        if not self.speed > 0:
            raise ValueError(f"speed must be greater than 0, not {self.speed}")

    def real_at(self, simulated: datetime) -> datetime:
        """When *simulated* comes, on our clocks."""
        return self.real + (simulated - self.simulated) / self.speed

    def simulated_at(self, real: datetime) -> datetime:
        """What time it is in the replayed day at *real*."""
        return self.simulated + (real - self.real) * self.speed
