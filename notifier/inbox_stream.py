"""
One live view of an inbox: what changed since a cursor, read whenever something did.

    no cursor ──▶ the newest few ─┐
    cursor ──────▶ changes since ─┼─▶ CaughtUp ─▶ changes, as they come
    cursor of another epoch, ─────┘
    or older than what was removed: Reset first, then the newest few
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from meshkit.errors import InvalidInput
from notifier.store.inbox import InboxMessage


if TYPE_CHECKING:
    from notifier.hub import Watch
    from notifier.store.inbox import Head, InboxStore, Owner

PAGE = 100


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Nothing new."""


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """What follows is live."""


@dataclass(frozen=True, slots=True)
class Reset:
    """What the client has can't be brought up to date."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in an inbox's changes. Opaque to clients, never an authorisation."""

    epoch: str
    """Which inbox, should it be made anew; "" while there is none."""
    change_seq: int

    def encode(self) -> str:
        text = json.dumps([self.epoch, self.change_seq], separators=(",", ":"))
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @classmethod
    def read(cls, text: str) -> Cursor | None:
        """
        Return the cursor a client gave; None for "".

        Raises:
            InvalidInput: INVALID_CURSOR.

        """
        if not text:
            return None
        try:
            padded = text + "=" * (-len(text) % 4)
            epoch, change_seq = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        except (binascii.Error, ValueError, TypeError):
            epoch, change_seq = None, None
        if not isinstance(epoch, str) or type(change_seq) is not int or not 0 <= change_seq < 2**62:
            raise InvalidInput(
                "INVALID_CURSOR",
                "The cursor is none of ours; start again without one.",
                field_violations={"cursor": "none of ours, or damaged"},
            )
        return cls(epoch, change_seq)


Told = tuple[InboxMessage | CaughtUp | Reset, Cursor]


class InboxStream:
    """Reads an inbox on; whoever owns it calls `read` when *watch* says something changed."""

    def __init__(
        self,
        store: InboxStore,
        owner: Owner,
        watch: Watch,
        *,
        cursor: Cursor | None,
        backlog: int,
    ) -> None:
        self._store = store
        self._owner = owner
        self._watch = watch
        self._given = cursor
        self._backlog = backlog
        self._begun = False
        self.cursor = cursor or Cursor("", 0)
        self.caught_up = False

    async def read(self) -> list[Told]:
        """Return what is new, at most a page; raises `NotFound` if the recipient is gone."""
        # Cleared before the query: what comes during it sets the event again.
        self._watch.changed.clear()
        if not self._begun:
            return await self._begin()
        if self.cursor.epoch == "":
            head = await self._store.head(self._owner)
            self.cursor = Cursor(head.epoch, self.cursor.change_seq)
        found = await self._store.changes(self._owner, after=self.cursor.change_seq, limit=PAGE)
        told: list[Told] = [(m, self._at(m.change_seq)) for m in found]
        if found:
            self._go(found[-1].change_seq)
        full = len(found) == PAGE
        if not full and not self.caught_up:
            told.append((CaughtUp(), self.cursor))
        self.caught_up = not full
        return told

    async def _begin(self) -> list[Told]:
        head = await self._store.head(self._owner)
        given = self._given
        told: list[Told] = []
        if given is not None and not _continues(given, head):
            told.append((Reset(), Cursor(head.epoch, 0)))
            given = None
        self._begun = True
        if given is not None:
            self.cursor = Cursor(head.epoch, given.change_seq)
            return [*told, *await self.read()]
        newest = await self._store.newest(self._owner, limit=self._backlog, through=head.change_seq)
        # Whoever stops in the middle of these begins again with them: cursor 0 isn't past any.
        told += [(m, Cursor("", 0)) for m in newest]
        self.cursor = Cursor(head.epoch, head.change_seq)
        self._watch.seen = head.change_seq
        self.caught_up = True
        return [*told, (CaughtUp(), self.cursor)]

    def _at(self, change_seq: int) -> Cursor:
        return Cursor(self.cursor.epoch, change_seq)

    def _go(self, change_seq: int) -> None:
        self.cursor = self._at(change_seq)
        self._watch.seen = change_seq


def _continues(given: Cursor, head: Head) -> bool:
    """Whether everything that changed since *given* is still there."""
    if given.epoch == "":
        # There was no inbox yet, or the client stopped within its first messages.
        return head.trimmed_seq == 0
    return given.epoch == head.epoch and head.trimmed_seq <= given.change_seq <= head.change_seq
