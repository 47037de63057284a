"""
Plays a replay's events as they come due, in lanes that don't wait for one another.

Each lane has its own place in the replay. If notifications can't be sent for a while, the boards
go on; whatever a lane has missed it makes up for as fast as it can.

    next event due ──▶ wait one tick ──▶ note the batch ──▶ publish it ──▶ next
                                            ▲ after a crash: the noted batch again, unchanged
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from meshctl.demo.progress import Note, Progress, Run
from meshctl.demo.replay import Clock, Occurrence, Position, Replay


Publish = Callable[[Sequence[Occurrence], Clock], Awaitable[None]]
"""Sends a batch; returns once all of it is durable, or refused for good."""


def utc_now() -> datetime:
    """The real time."""
    return datetime.now(UTC)


class Timekeeper:
    """The clock all lanes go by; its speed can change while they run."""

    def __init__(self, clock: Clock, now: Callable[[], datetime] = utc_now) -> None:
        self.clock = clock
        self.now = now
        self._changed = asyncio.Event()

    @property
    def simulated(self) -> datetime:
        """What time it is in the replayed day."""
        return self.clock.simulated_at(self.now())

    def set_speed(self, speed: float) -> None:
        """Go on from here at another speed."""
        if speed != self.clock.speed:
            now = self.now()
            self.clock = Clock(simulated=self.clock.simulated_at(now), real=now, speed=speed)
            self._changed.set()
            self._changed = asyncio.Event()

    async def wait_for(self, simulated: datetime) -> None:
        """Return once *simulated* has come."""
        while (left := (self.clock.real_at(simulated) - self.now()).total_seconds()) > 0:
            try:
                async with asyncio.timeout(left):
                    await self._changed.wait()
            except TimeoutError:
                continue


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How much is sent together."""

    tick: timedelta
    batch_max: int


class Lane:
    """One kind of work along the replay. `run` ends when the replay does; cancel it to stop."""

    def __init__(
        self,
        name: str,
        *,
        replay: Replay,
        run: Run,
        progress: Progress,
        keeper: Timekeeper,
        pace: Pace,
        publish: Publish,
    ) -> None:
        self.name = name
        self.behind = timedelta(0)
        """How late the last batch was when it had been sent."""
        self._replay = replay
        self._run = run
        self._progress = progress
        self._keeper = keeper
        self._pace = pace
        self._publish = publish

    async def run(self) -> None:
        """Play the lane from where it stood to the end of the replay."""
        noted = self._progress.noted(self.name, self._run)
        position = Position()
        if noted is not None:
            await self._publish(self._between(noted.start, noted.end), noted.clock)
            position = noted.end
        coming = self._replay.occurrences(position)
        held = next(coming, None)
        while held is not None:
            await self._keeper.wait_for(held.at)
            await asyncio.sleep(self._pace.tick.total_seconds())
            batch, held = self._due(held, coming)
            end = held.position if held else _behind(batch[-1].position)
            clock = self._keeper.clock
            note = Note(
                start=batch[0].position, end=end, clock=clock, simulated=self._keeper.simulated
            )
            self._progress.note(self.name, self._run, note)
            await self._publish(batch, clock)
            self.behind = self._keeper.now() - clock.real_at(batch[-1].at)

    def _between(self, start: Position, end: Position) -> list[Occurrence]:
        found = []
        for occurrence in self._replay.occurrences(start):
            if occurrence.position >= end:
                break
            found.append(occurrence)
        return found

    def _due(
        self, first: Occurrence, coming: Iterator[Occurrence]
    ) -> tuple[list[Occurrence], Occurrence | None]:
        now = self._keeper.simulated
        batch = [first]
        for occurrence in coming:
            if occurrence.at > now or len(batch) >= self._pace.batch_max:
                return batch, occurrence
            batch.append(occurrence)
        return batch, None


def _behind(position: Position) -> Position:
    return Position(window=position.window, index=position.index + 1)


def start_clock(replay: Replay, notes: Sequence[Note | None], speed: float, now: datetime) -> Clock:
    """A clock that goes on where the furthest of the lanes was, or begins with the day."""
    stood = [note.simulated for note in notes if note is not None]
    return Clock(simulated=max([replay.day.begins, *stood]), real=now, speed=speed)
