"""
In which order clients that come all at once are taken up. Pure.

After a restart of the gateway every relay comes back within a second. Few are brought up to date
at a time, so that the first are done while the last still wait, instead of all of them late; and
whoever holds nothing, and so serves nothing, comes before those that serve what they have.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable


class Turn:
    """One client's place. It is the client's turn once it no longer `waits`, until it `leave`s."""

    def __init__(self, admission: Admission, wake: Callable[[], None]) -> None:
        self.waits = True
        self.over = False
        self._admission = admission
        self._wake = wake

    def begin(self) -> None:
        """Take note that it is the client's turn."""
        self.waits = False
        self._wake()

    def leave(self) -> None:
        """Give the place to the next; again is no matter."""
        if not self.over:
            self.over = True
            self._admission.left(self)


class Admission:
    """Has at most *at_once* clients begin at a time."""

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._queue: list[tuple[bool, int, Turn]] = []
        self._numbers = itertools.count()

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return sum(not turn.over for _, _, turn in self._queue)

    def ask(self, wake: Callable[[], None], *, empty: bool) -> Turn:
        """
        Return a client's turn, which may have come.

        Args:
            wake: Called, and must not block, when it comes.
            empty: The client holds nothing: it comes before those that do.

        """
        turn = Turn(self, wake)
        heapq.heappush(self._queue, (not empty, next(self._numbers), turn))
        self._go_on()
        return turn

    def left(self, turn: Turn) -> None:
        """Take note that a client's turn is over, or that it waits no longer."""
        if not turn.waits:
            self._free += 1
        self._go_on()

    def _go_on(self) -> None:
        while self._queue and (self._free > 0 or self._queue[0][2].over):
            _, _, turn = heapq.heappop(self._queue)
            if not turn.over:
                self._free -= 1
                turn.begin()
