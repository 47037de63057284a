"""
Who watches which inbox, and wakes them.

One query for all watched inboxes every *poll* finds what hints have missed.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from meshkit.errors import Overloaded, Unavailable


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from notifier.instruments import Instruments
    from notifier.store.inbox import InboxStore, Owner

log = structlog.get_logger()


class Watch:
    """One stream's interest in one inbox."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self.seen = 0
        """`change_seq` the stream has read up to."""


class Hub:
    """All watches of this process; at most *streams_max*."""

    def __init__(self, store: InboxStore, instruments: Instruments, *, streams_max: int) -> None:
        self._store = store
        self._instruments = instruments
        self._streams_max = streams_max
        self._watches: dict[Owner, set[Watch]] = {}
        self._number = 0

    @contextlib.contextmanager
    def watch(self, owner: Owner) -> Iterator[Watch]:
        """
        Watch an inbox while inside the block.

        Raises:
            Overloaded: TOO_MANY_STREAMS.

        """
        if self._number >= self._streams_max:
            raise Overloaded(
                "TOO_MANY_STREAMS",
                "This process holds as many streams as it may; try again.",
                retry_after=timedelta(seconds=2),
            )
        watch = Watch()
        self._watches.setdefault(owner, set()).add(watch)
        self._number += 1
        self._instruments.streams(self._number)
        try:
            yield watch
        finally:
            self._number -= 1
            self._instruments.streams(self._number)
            self._watches[owner].discard(watch)
            if not self._watches[owner]:
                del self._watches[owner]

    def wake(self, owners: Iterable[Owner]) -> None:
        """Wake the streams that watch *owners*' inboxes."""
        for owner in owners:
            for watch in self._watches.get(owner, ()):
                watch.changed.set()

    async def run(self, poll_s: float) -> None:
        """Look every *poll_s* for changes that no hint told of, until cancelled."""
        while True:
            await asyncio.sleep(poll_s)
            if not self._watches:
                continue
            try:
                heads = await self._store.heads(self._watches)
            except Unavailable as error:
                log.warning("inbox_poll_interrupted", reason=error.reason)
                continue
            for owner, head in heads.items():
                for watch in self._watches.get(owner, ()):
                    if watch.seen < head.change_seq:
                        watch.changed.set()
