"""Which sessions there are in this process, open or between two streams."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from meshkit.errors import Overloaded
from meshkit.ids import new_id


class Stream(Protocol):
    """An open stream of a session."""

    def take_over(self) -> None:
        """End: a newer stream has the session."""

    def tell(self, data: bytes) -> None:
        """Send this frame, if there is room."""


@dataclass(slots=True)
class Entry:
    """A session and its stream, if it has one. Cursors are the device's to keep."""

    tenant: str
    device: str
    stream: Stream | None
    left_at: float = 0.0


class Sessions:
    """Sessions by id. One that has no stream is remembered for *keep*."""

    def __init__(self, *, open_max: int, keep: timedelta, clock: Callable[[], float]) -> None:
        self._open_max = open_max
        self._keep_s = keep.total_seconds()
        self._clock = clock
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self.open = 0

    def enter(
        self, session_id: str, *, tenant: str, device: str, stream: Stream
    ) -> tuple[str, bool]:
        """
        Return the id of the session *stream* belongs to, and whether it was known.

        Raises:
            Overloaded: This process has as many open sessions as it may.

        """
        self._forget_old()
        if self.open >= self._open_max:
            raise Overloaded(
                "SESSIONS_TOO_MANY",
                "This process holds as many sessions as it may; come back later.",
                retry_after=timedelta(seconds=5),
            )
        self.open += 1
        entry = self._entries.get(session_id)
        if entry is not None and (entry.tenant, entry.device) == (tenant, device):
            if entry.stream is not None:
                entry.stream.take_over()
            entry.stream = stream
            return session_id, True
        session_id = new_id()
        self._entries[session_id] = Entry(tenant, device, stream)
        return session_id, False

    def leave(self, session_id: str, stream: Stream) -> None:
        """*stream* has ended."""
        self.open -= 1
        entry = self._entries.get(session_id)
        if entry is not None and entry.stream is stream:
            entry.stream = None
            entry.left_at = self._clock()
            self._entries.move_to_end(session_id)

    def tell(self, session_id: str, *, tenant: str, device: str, data: bytes) -> None:
        """Send a frame to the session's stream, if it has one here and is this device's."""
        entry = self._entries.get(session_id)
        if entry and entry.stream and (entry.tenant, entry.device) == (tenant, device):
            entry.stream.tell(data)

    def _forget_old(self) -> None:
        oldest = self._clock() - self._keep_s
        for session_id, entry in list(self._entries.items())[:16]:
            if entry.stream is None and entry.left_at < oldest:
                del self._entries[session_id]
            elif entry.stream is not None:
                self._entries.move_to_end(session_id)
