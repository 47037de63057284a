"""Follows queries for all who watch: each is evaluated once, and only where something is new."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from meshkit.errors import MeshError, Overloaded
from telemetry.dashboards.watched import Points, Watched


if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Sequence

    from telemetry.query.queries import Queries

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class HubLimits:
    """Bounds of all that is followed."""

    watches_max: int = 1_000
    """Different queries."""

    followers_max: int = 1_000
    """Streams."""

    cells_max: int = 200_000
    """Points kept of one query; series beyond it are left out, which is told."""

    settle_ms: int = 30_000
    """How far back steps are evaluated anew: what comes later than that is not seen."""

    together: int = 2
    """Queries evaluated at once."""

    apart_s: float = 0.05
    """Least time between two evaluations for new samples."""

    share: float = 0.25
    """Of a core: evaluations for new samples, between steps, take no more than this."""


@dataclass(frozen=True, slots=True)
class Key:
    """What makes two followed queries the same."""

    tenant: str
    query: str
    step_ms: int
    range_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """What is new of one query."""

    query: int
    """Its place among those asked for."""

    full: bool
    series: list[Points]
    newest: list[Points]
    problem: str


@dataclass(slots=True)
class _Watch:
    key: Key
    watched: Watched
    followers: int = 0
    mark: int | None = None
    """As of its newest value: with another one, samples of its own have come."""


class Hub:
    """
    Evaluates what is followed. `run` until cancelled; all on the event loop.

    Args:
        news: Set by whoever takes samples in; cleared here. None: only whole steps bring news.
        clock: Unix nanoseconds.

    """

    def __init__(
        self,
        queries: Queries,
        *,
        news: asyncio.Event | None = None,
        limits: HubLimits | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._queries = queries
        self._news = news or asyncio.Event()
        self.limits = limits or HubLimits()
        self._clock = clock
        self._watches: dict[Key, _Watch] = {}
        self._followers = 0
        self._joined = asyncio.Event()
        self._changed = asyncio.Event()
        self.evaluations = 0
        """Queries evaluated since the start."""

    async def follow(self, keys: Sequence[Key]) -> AsyncGenerator[list[Update], None]:
        """
        Tell of *keys*: all first, then what is new. Never ends by itself.

        A follower that is slow gets more at once, not everything one by one.

        Raises:
            Overloaded: TOO_MANY_WATCHES.

        """
        with self._following(keys) as watches:
            seen = [0] * len(watches)
            while True:
                changed = self._changed
                updates = [
                    self._update(number, watch.watched, seen[number])
                    for number, watch in enumerate(watches)
                    if watch.watched.version > seen[number]
                ]
                for one in updates:
                    seen[one.query] = watches[one.query].watched.version
                if updates:
                    yield updates
                else:
                    await changed.wait()

    async def run(self) -> None:
        """Evaluate what is followed: at each step, and between steps when samples have come."""
        next_news = 0.0
        while True:
            self._joined.clear()
            now_ms = self._clock() // 1_000_000
            whole = [one for one in self._watches.values() if self._is_due(one, now_ms)]
            joined = any(not one.watched.evaluated_to_ms for one in whole)
            fresh = self._news.is_set() and time.monotonic() >= next_news
            began = time.monotonic()
            touched = []
            if fresh:
                self._news.clear()
                touched = await self._touched(whole)
            if whole or touched:
                await self._evaluate([*whole, *touched], now_ms)
                self._changed.set()
                self._changed = asyncio.Event()
            if fresh:
                rest = (time.monotonic() - began) * (1 / self.limits.share - 1)
                next_news = time.monotonic() + max(self.limits.apart_s, rest)
            if joined or (fresh and whole):
                # Who is new, or was evaluated at a step, is told next what is newest.
                self._news.set()
            if not (whole or touched):
                await self._until_due(now_ms, next_news)

    async def _touched(self, but: Sequence[_Watch]) -> list[_Watch]:
        """Return the watches, all *but* some, for which samples have come."""
        watches = [one for one in self._watches.values() if one not in but]

        def marked() -> list[int | None]:
            return [self._queries.mark(one.key.query, one.key.tenant) for one in watches]

        touched = []
        for one, mark in zip(watches, await asyncio.to_thread(marked), strict=True):
            # Marked before it is looked at: what comes meanwhile makes another mark.
            if mark is None or mark != one.mark:
                touched.append(one)
            one.mark = mark
        return touched

    def _is_due(self, watch: _Watch, now_ms: int) -> bool:
        return watch.watched.evaluated_to_ms + watch.key.step_ms <= now_ms

    async def _until_due(self, now_ms: int, next_news: float) -> None:
        """Wait for a step, a new query, or samples."""
        timeout: float | None = None
        if self._watches:
            steps = (one.key.step_ms - now_ms % one.key.step_ms for one in self._watches.values())
            timeout = max(0.001, min(steps) / 1000)
        waits = [asyncio.ensure_future(self._joined.wait())]
        if self._watches and not self._news.is_set():
            waits.append(asyncio.ensure_future(self._news.wait()))
        elif self._watches and timeout is not None:
            timeout = min(timeout, max(0.001, next_news - time.monotonic()))
        try:
            await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()

    async def _evaluate(self, watches: Sequence[_Watch], now_ms: int) -> None:
        turns = asyncio.Semaphore(self.limits.together)

        async def one(watch: _Watch) -> None:
            async with turns:
                await self._look(watch, now_ms)

        await asyncio.gather(*(one(watch) for watch in watches))

    async def _look(self, watch: _Watch, now_ms: int) -> None:
        key, watched = watch.key, watch.watched
        try:
            self.evaluations += 1
            if self._is_due(watch, now_ms):
                first, last = watched.span(now_ms, self.limits.settle_ms)
                answer = await self._queries.range(
                    key.query, (first, last, key.step_ms), tenant=key.tenant
                )
                if not watched.apply(answer.series, last):
                    watched.fail("There are more series than are followed; aggregate them.")
            else:
                at = self._clock() // 1_000_000
                newest = await self._queries.instant(key.query, at, tenant=key.tenant)
                watched.apply_newest(newest.series)
        except MeshError as error:
            watched.fail(f"{error} ({error.reason})")
            watched.evaluated_to_ms = max(
                watched.evaluated_to_ms, now_ms // key.step_ms * key.step_ms
            )

    def _update(self, number: int, watched: Watched, seen: int) -> Update:
        return Update(
            query=number,
            full=seen == 0,
            series=watched.since(seen),
            newest=watched.newest if watched.newest_version > seen else [],
            problem=watched.problem,
        )

    @contextlib.contextmanager
    def _following(self, keys: Sequence[Key]) -> Iterator[list[_Watch]]:
        new = len({key for key in keys if key not in self._watches})
        full = len(self._watches) + new > self.limits.watches_max
        if full or self._followers >= self.limits.followers_max:
            raise Overloaded(
                "TOO_MANY_WATCHES",
                "As many queries are followed as this process takes; try later.",
                watches_max=str(self.limits.watches_max),
            )
        watches = [self._watch(key) for key in keys]
        self._followers += 1
        for one in watches:
            one.followers += 1
        self._joined.set()
        try:
            yield watches
        finally:
            self._followers -= 1
            for one in watches:
                one.followers -= 1
                if not one.followers:
                    self._watches.pop(one.key, None)

    def _watch(self, key: Key) -> _Watch:
        watch = self._watches.get(key)
        if watch is None:
            watched = Watched(
                step_ms=key.step_ms, range_ms=key.range_ms, cells_max=self.limits.cells_max
            )
            watch = self._watches[key] = _Watch(key, watched)
        return watch
