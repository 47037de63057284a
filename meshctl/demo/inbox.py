"""
A passenger's inbox, followed live through the edge, over any number of interruptions.

What a stream brings is one of three: the backlog of the very first call, what was missed since the
cursor of the call before, and what comes live. Messages are numbered without gaps, so a
message that was lost would show.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from aerofusion.notify.v1 import inbox_service_pb2


SEQS_REMEMBERED_MAX = 10_000


class Came(StrEnum):
    """How a message came."""

    BACKLOG = "backlog"
    RESUMED = "resumed"
    LIVE = "live"
    UPDATED = "updated"
    """It was there and changed: read, or superseded."""


@dataclass(slots=True)
class Inbox:
    """What one device knows of its passenger's inbox. Pure: answers in, what they mean out."""

    cursor: str = ""
    newest: int = 0
    """Greatest number seen."""

    missing: set[int] = field(default_factory=set)
    """Numbers between those seen that never came."""

    _first: int = 0
    _seen: set[int] = field(default_factory=set)
    _caught_up: bool = False
    _begun: bool = False

    def connected(self) -> None:
        """A stream was opened with `cursor`."""
        self._caught_up = False
        self._begun = self._begun or bool(self.cursor)

    def take(self, answer: inbox_service_pb2.WatchInboxResponse) -> Came | None:
        """Take an answer in; return how its message came, if it holds one."""
        self.cursor = answer.cursor
        match answer.WhichOneof("event"):
            case "message":
                return self._take_message(answer.message.seq)
            case "caught_up":
                self._caught_up = True
            case "reset":
                self.missing.clear()
                self._seen.clear()
                self._first = self.newest = 0
        return None

    def _take_message(self, seq: int) -> Came:
        if seq in self._seen or (self._first and seq < self._first):
            return Came.UPDATED
        self._first = min(self._first or seq, seq)
        self.missing.discard(seq)
        if self.newest and seq > self.newest:
            self.missing.update(range(self.newest + 1, min(seq, self.newest + 1000)))
        self.newest = max(self.newest, seq)
        self._seen.add(seq)
        if len(self._seen) > SEQS_REMEMBERED_MAX:
            self._first = self.newest - SEQS_REMEMBERED_MAX // 2
            self._seen = {one for one in self._seen if one >= self._first}
        if self._caught_up:
            return Came.LIVE
        return Came.RESUMED if self._begun else Came.BACKLOG


def age_seconds(
    message: inbox_service_pb2.InboxMessage, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> float:
    """How long ago *message* came in; never negative."""
    return max(0.0, (now() - message.create_time.ToDatetime(UTC)).total_seconds())
