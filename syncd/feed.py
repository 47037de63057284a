"""
Live fan-out: one watcher of all spaces that sessions follow, one encoding per step for all of them.

Hints (a commit here, a message on the bus) say which spaces to look at; a poll finds what hints
have lost. Sessions are woken, ask for the delta after their cursor, and share it: it is read and
encoded once for all who stand at the same place. Nobody's messages are queued.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

import structlog

from meshkit.errors import MeshError
from syncd.model import Changes, Space


log = structlog.get_logger()

Wake = Callable[[], None]
Key = tuple[int, int, bool]


@dataclass(frozen=True, slots=True)
class Frame:
    """An encoded delta."""

    data: bytes
    to_seq: int
    more: bool
    state_hash: int | None
    cells: int
    full_bytes: int
    """Size of the whole space when it was last sent whole; 0 if it wasn't."""


@dataclass(slots=True, eq=False)
class Feed:
    """What is known of a space that someone follows."""

    space: Space
    head: int
    gone: bool = False
    full_bytes: int = 0
    listeners: list[Wake] = field(default_factory=list)


class ReadsSpaces(Protocol):
    """Where spaces come from."""

    async def by_keys(self, keys: list[int]) -> dict[int, Space]: ...


class ReadsChanges(Protocol):
    """Where changes come from."""

    async def after(self, space_key: int, seq: int) -> tuple[Space, Changes]: ...


class Feeds:
    """All followed spaces of this process."""

    def __init__(
        self,
        spaces: ReadsSpaces,
        changes: ReadsChanges,
        encode: Callable[[Changes, bool], bytes],
        *,
        coalesce: timedelta,
        poll: timedelta,
        cache_bytes_max: int,
    ) -> None:
        self._spaces = spaces
        self._changes = changes
        self._encode = encode
        self._coalesce_s = coalesce.total_seconds()
        self._poll_s = poll.total_seconds()
        self._feeds: dict[int, Feed] = {}
        self._dirty: set[int] = set()
        self._hinted = asyncio.Event()
        self._frames = _FrameCache(cache_bytes_max)

    def follow(self, space: Space, wake: Wake) -> Feed:
        """Call *wake* whenever there is news of *space*, until `leave`."""
        feed = self._feeds.get(space.space_key)
        if feed is None:
            feed = self._feeds[space.space_key] = Feed(space, space.head_seq)
        feed.listeners.append(wake)
        self._learn(feed, space)
        return feed

    def leave(self, space_key: int, wake: Wake) -> None:
        feed = self._feeds.get(space_key)
        if feed is None or wake not in feed.listeners:
            return
        feed.listeners.remove(wake)
        if not feed.listeners:
            del self._feeds[space_key]

    def get(self, space_key: int) -> Feed | None:
        return self._feeds.get(space_key)

    def hint(self, space_key: int) -> None:
        """There may be news of this space."""
        if space_key in self._feeds:
            self._dirty.add(space_key)
            self._hinted.set()

    async def frame(self, space_key: int, after: int, *, reset: bool) -> Frame:
        """
        Return the delta after a `seq`, read and encoded once for all who ask.

        Raises:
            NotFound: The space is gone.
            Unavailable: The database is away.

        """
        feed = self._feeds.get(space_key)
        head = 0 if feed is None else feed.head
        return await self._frames.get(
            (space_key, after, reset), head, lambda: self._read(space_key, after, reset=reset)
        )

    async def watch(self) -> None:
        """Look at spaces when hinted at, and at all of them now and then, until cancelled."""
        loop = asyncio.get_running_loop()
        next_poll = loop.time() + self._poll_s
        while True:
            try:
                async with asyncio.timeout_at(next_poll):
                    await self._hinted.wait()
            except TimeoutError:
                next_poll = loop.time() + self._poll_s
                self._dirty.update(self._feeds)
            # What happens within this time goes out as one frame.
            await asyncio.sleep(self._coalesce_s)
            self._hinted.clear()
            keys, self._dirty = list(self._dirty), set()
            if not keys:
                continue
            try:
                await self._look(keys)
            except MeshError as error:
                log.info("feed_awaited", reason=error.reason)
                self._dirty.update(keys)

    async def _look(self, keys: list[int]) -> None:
        found = await self._spaces.by_keys(keys)
        for key in keys:
            feed = self._feeds.get(key)
            if feed is None:
                continue
            space = found.get(key)
            if space is None:
                feed.gone = True
                _wake(feed)
            else:
                self._learn(feed, space)

    def _learn(self, feed: Feed, space: Space) -> None:
        if space.head_seq > feed.head or space.version > feed.space.version:
            feed.head = max(feed.head, space.head_seq)
            if space.version >= feed.space.version:
                feed.space = space
            _wake(feed)

    async def _read(self, space_key: int, after: int, *, reset: bool) -> Frame:
        space, changes = await self._changes.after(space_key, after)
        feed = self._feeds.get(space_key)
        if feed is not None:
            self._learn(feed, space)
        data = self._encode(changes, reset)
        full_bytes = 0
        if feed is not None:
            if after == 0 and not changes.more:
                feed.full_bytes = len(data)
            full_bytes = feed.full_bytes
        return Frame(
            data=data,
            to_seq=changes.to_seq,
            more=changes.more,
            state_hash=changes.state_hash,
            cells=len(changes.cells),
            full_bytes=full_bytes,
        )


def _wake(feed: Feed) -> None:
    for wake in feed.listeners:
        wake()


class _FrameCache:
    """Frames by where they begin, the least recently used ones dropped beyond a size."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._frames: OrderedDict[Key, Frame] = OrderedDict()
        self._reading: dict[Key, asyncio.Task[Frame]] = {}

    async def get(self, key: Key, head: int, read: Callable[[], Awaitable[Frame]]) -> Frame:
        known = self._frames.get(key)
        if known is not None and (known.more or known.to_seq >= head):
            self._frames.move_to_end(key)
            return known
        task = self._reading.get(key)
        if task is None:
            task = asyncio.ensure_future(self._fill(key, read))
            self._reading[key] = task
            task.add_done_callback(lambda done: self._finished(key, done))
        # Whoever asked first may leave; the others still want it.
        return await asyncio.shield(task)

    def _finished(self, key: Key, done: asyncio.Task[Frame]) -> None:
        del self._reading[key]
        if not done.cancelled():
            done.exception()  # Those who waited have it; if all have left, nobody needs it.

    async def _fill(self, key: Key, read: Callable[[], Awaitable[Frame]]) -> Frame:
        frame = await read()
        old = self._frames.pop(key, None)
        self._bytes += len(frame.data) - (len(old.data) if old else 0)
        self._frames[key] = frame
        while self._bytes > self._bytes_max:
            _, dropped = self._frames.popitem(last=False)
            self._bytes -= len(dropped.data)
        return frame
