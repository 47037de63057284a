"""Keeps what discovery must remember in the database, and learns what other replicas put there."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from gateway.store.discovery import Changes
from gateway.xds.feed import Flavour
from meshkit.errors import MeshError


if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.store.discovery import DiscoveryStore, Remembered
    from gateway.xds.feed import Feed
    from gateway.xds.verdicts import Key, Verdict

K = TypeVar("K")
V = TypeVar("V")

WAITING_MAX: Final = 4_000
"""Of each kind, what waits to be written; beyond it the oldest is lost, but not from memory."""

log = structlog.get_logger()


class Keeper:
    """
    The journal of a feed.

    It is told at once and writes soon after: what a client refuses in the last moments of a
    process may have to be refused once more. While the database is away nothing is lost.
    """

    def __init__(
        self, store: DiscoveryStore, *, poll: timedelta, wrote: Callable[[], None]
    ) -> None:
        """*wrote* is called when other replicas have something to learn; must not block."""
        self._store = store
        self._poll_s = poll.total_seconds()
        self._wrote = wrote
        self._feed: Feed | None = None
        self._version = -1
        self._verdicts: dict[tuple[Flavour, Key], Verdict] = {}
        self._over: dict[tuple[Flavour, Key], Verdict] = {}
        self._nodes: dict[str, None] = {}
        self._wake = asyncio.Event()

    async def start(self, feed: Feed) -> None:
        """
        Tell *feed* what is remembered, and keep its journal from now on.

        Raises:
            Unavailable: The database is away.

        """
        self._feed = feed
        found = await self._store.read()
        if found is not None:
            self._version = found.version
            self._tell(feed, found)  # Nothing is published yet that it could be applied to.

    async def run(self) -> None:
        """Write and learn until cancelled; what waits then is written if the database lets."""
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._poll_s):
                        await self._wake.wait()
                self._wake.clear()
                await self._step()
        finally:
            with contextlib.suppress(MeshError):
                await self._write()

    def hint(self, _: bytes) -> None:
        """Look at the database soon: another replica has written. Never blocks."""
        self._wake.set()

    def on_verdict(self, flavour: Flavour, key: Key, verdict: Verdict) -> None:
        """Take note of a verdict, or that one is lifted."""
        if flavour is not Flavour.PREFLIGHT:  # It asks anew each time it starts.
            self._over.pop((flavour, key), None)
            _put(self._verdicts, (flavour, key), verdict)
            self._wake.set()

    def on_verdict_over(self, flavour: Flavour, key: Key, verdict: Verdict) -> None:
        """Take note that a verdict is of the past."""
        if flavour is not Flavour.PREFLIGHT:
            self._verdicts.pop((flavour, key), None)
            _put(self._over, (flavour, key), verdict)
            self._wake.set()

    def on_doubts(self, node_id: str) -> None:
        """Take note that there is something else to remember of a node."""
        _put(self._nodes, node_id, None)
        self._wake.set()

    async def _step(self) -> None:
        try:
            await self._write()
            await self._learn()
        except MeshError as error:
            log.warning("verdicts_unkept", reason=error.reason)

    async def _write(self) -> None:
        feed = self._feed
        if feed is None or not (self._verdicts or self._over or self._nodes):
            return
        verdicts, self._verdicts = self._verdicts, {}
        over, self._over = self._over, {}
        nodes, self._nodes = self._nodes, {}
        changes = Changes(
            verdicts=[(flavour.value, key, one) for (flavour, key), one in verdicts.items()],
            over=[(flavour.value, key, one) for (flavour, key), one in over.items()],
            doubts=[(node, feed.doubts.of(node)) for node in nodes],
            now=datetime.now(UTC),
        )
        try:
            version = await self._store.write(changes)
        except BaseException:  # Cancelled, too: what wasn't written is written at the end.
            self._verdicts = {**verdicts, **self._verdicts}
            self._over = {**over, **self._over}
            self._nodes = {**nodes, **self._nodes}
            raise
        if version == self._version + 1:
            self._version = version  # Nothing in it is news.
        self._wrote()

    async def _learn(self) -> None:
        found = await self._store.read(self._version)
        if found is not None and self._feed is not None:
            self._version = found.version
            for flavour in self._tell(self._feed, found):
                self._feed.reconsider(flavour)

    def _tell(self, feed: Feed, found: Remembered) -> set[Flavour]:
        """Tell *feed* what was found; returns for whom something else is to be served."""
        changed: set[Flavour] = set()
        for name, key, verdict in found.verdicts:
            flavour = Flavour(name)
            if (flavour, key) in self._verdicts or (flavour, key) in self._over:
                continue  # Ours is newer.
            if feed.verdicts[flavour].learn(key, verdict):
                changed.add(flavour)
        feed.doubts.learn({n: names for n, names in found.doubts.items() if n not in self._nodes})
        return changed


def _put(waiting: dict[K, V], key: K, value: V) -> None:
    waiting.pop(key, None)
    while len(waiting) >= WAITING_MAX:
        del waiting[next(iter(waiting))]
    waiting[key] = value
