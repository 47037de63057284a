"""
The revoked tokens in two parts, so that one more costs a small push and not all of the list.

    revoked ──▶ lately (current ──fold──▶ previous ──fold──▶ gone)
                   └──────────fold──▶ settled

Pure: the clock is an argument. A token leaves `lately` two folds after it came, and one after it
has come into `settled`: folds are far enough apart that no edge misses it in between.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final


FOLD_AT: Final = 256
"""Tokens revoked since the last fold that make the next one worth it."""

FOLD_PAUSE: Final = timedelta(seconds=30)
"""Shortest time between two folds; the first part grows meanwhile, however fast they come."""

PRUNE_EVERY: Final = timedelta(minutes=10)
"""How long expired ones may stay."""


@dataclass(slots=True)
class DenyList:
    """Token ids with the times at which they expire anyway."""

    settled: tuple[str, ...] = ()
    """Sorted; changes at folds."""

    _expiry: dict[str, datetime] = field(default_factory=dict)
    _current: list[str] = field(default_factory=list)
    _previous: list[str] = field(default_factory=list)
    _folded: datetime | None = None

    @property
    def lately(self) -> tuple[str, ...]:
        """Those since the fold before the last one, sorted."""
        return tuple(sorted({*self._current, *self._previous}))

    def __len__(self) -> int:
        return len(self._expiry)

    def __contains__(self, token_id: object) -> bool:
        return token_id in self._expiry

    def load(self, expiry: dict[str, datetime], now: datetime) -> None:
        """Begin with these, all of them settled."""
        self._expiry = {one: end for one, end in expiry.items() if end > now}
        self._current, self._previous = [], []
        self.settled = tuple(sorted(self._expiry))
        self._folded = now

    def add(self, token_id: str, expire_time: datetime) -> None:
        """Note a token; once more changes nothing but the later of its ends."""
        known = self._expiry.get(token_id)
        if known is None:
            self._current.append(token_id)
        self._expiry[token_id] = max(known, expire_time) if known else expire_time

    def advance(self, now: datetime) -> bool:
        """Fold and forget, if it is time; returns whether `settled` has changed."""
        since = now - self._folded if self._folded is not None else FOLD_PAUSE
        many = len(self._current) >= FOLD_AT and since >= FOLD_PAUSE
        if not many and since < PRUNE_EVERY:
            return False
        living = {one: end for one, end in self._expiry.items() if end > now}
        if not many and len(living) == len(self._expiry) and not self._current:
            self._folded, self._previous = now, []
            return False
        self._expiry = living
        self._previous = [one for one in self._current if one in living]
        self._current = []
        self.settled = tuple(sorted(living))
        self._folded = now
        return True
