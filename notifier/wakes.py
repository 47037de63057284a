"""
Wake-ups: who should look at the database now.

Hints only. They may be lost or come twice; every sleeper wakes up after a while anyway.
The same hint goes to the sleepers of this process and, by NATS, to those of the others.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from notifier.model import Lane


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from meshkit.bus import Bus

WORK_SUBJECT = "aerofusion.notify.work"
INBOX_SUBJECT = "aerofusion.notify.inbox"
HINT_BYTES_MAX = 64_000

PLAN = "plan"
"""Stands in place of a channel where there is something to plan."""

Owner = tuple[str, str]


class Wakes:
    """Events by (channel or `PLAN`, lane), and a listener for inboxes that changed."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._events: dict[tuple[str, Lane], asyncio.Event] = {}
        self._on_inboxes: Callable[[set[Owner]], None] = lambda _: None

    async def listen(self) -> None:
        """Take hints of other processes in, from now on."""
        await self._bus.subscribe(WORK_SUBJECT, self._take_work)
        await self._bus.subscribe(INBOX_SUBJECT, self._take_inboxes)

    def on_inboxes(self, listener: Callable[[set[Owner]], None]) -> None:
        """Call *listener* with inboxes that changed; it must not block."""
        self._on_inboxes = listener

    def work(self, what: str, lane: Lane) -> None:
        """Say that there is work for *what*, a channel or `PLAN`, in *lane*."""
        self._event(what, lane).set()
        self._bus.publish(WORK_SUBJECT, f"{what} {int(lane)}".encode())

    def inboxes(self, owners: Iterable[Owner]) -> None:
        """Say that the inboxes of *owners* changed."""
        changed = set(owners)
        self._on_inboxes(changed)
        lines: list[str] = []
        size = 0
        for tenant, recipient in changed:
            lines.append(f"{tenant} {recipient}")
            size += len(lines[-1]) + 1
            if size > HINT_BYTES_MAX:
                self._bus.publish(INBOX_SUBJECT, "\n".join(lines).encode())
                lines, size = [], 0
        if lines:
            self._bus.publish(INBOX_SUBJECT, "\n".join(lines).encode())

    async def wait(self, what: str, lane: Lane, timeout_s: float) -> None:
        """Wait for a hint, at most *timeout_s*; one that came since the last wait counts."""
        event = self._event(what, lane)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await event.wait()
        event.clear()

    def _event(self, what: str, lane: Lane) -> asyncio.Event:
        return self._events.setdefault((what, lane), asyncio.Event())

    def _take_work(self, data: bytes) -> None:
        what, _, number = data.decode("ascii", "replace").partition(" ")
        if number in ("1", "2", "3"):
            event = self._events.get((what, Lane(int(number))))
            if event is not None:
                event.set()

    def _take_inboxes(self, data: bytes) -> None:
        lines = (line.split(" ") for line in data.decode("ascii", "replace").splitlines())
        self._on_inboxes({(parts[0], parts[1]) for parts in lines if len(parts) == 2})
