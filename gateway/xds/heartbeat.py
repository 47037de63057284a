"""When what has a time to live is to be heard of again. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final


if TYPE_CHECKING:
    from gateway.xds.subscription import Push

BEATS_PER_TTL: Final = 3
"""So that two may be lost before a client drops a resource."""


class Heartbeat:
    """The clocks of what one client holds with a `ttl`."""

    def __init__(self) -> None:
        self._sent: dict[str, tuple[float, float]] = {}
        """Name to when it was last sent, and its seconds to live."""
        self._pushed_at = 0.0

    def sent(self, push: Push, now: float) -> None:
        """Take note of a response: its resources' time begins anew, or they have none."""
        self._pushed_at = now
        for item in push.upserts:
            if item.ttl:
                self._sent[item.name] = (now, item.ttl)
            else:
                self._sent.pop(item.name, None)
        for name in push.removals:
            self._sent.pop(name, None)

    def answered(self, push: Push, now: float) -> list[str]:
        """Take note of an answer to a response; returns what was kept alive too late, perhaps."""
        late = []
        for item in push.beats:
            if item.name not in self._sent:
                continue
            if self.is_over(item.name, now):
                late.append(item.name)
            else:
                self._sent[item.name] = (self._pushed_at, item.ttl)
        return late

    def __contains__(self, name: str) -> bool:
        return name in self._sent

    def stop(self, name: str) -> None:
        """Forget a resource."""
        self._sent.pop(name, None)

    def due(self, now: float) -> list[str]:
        """Return the names that should be heard of now."""
        return [name for name in self._sent if now >= self._at(name)]

    def is_over(self, name: str, now: float) -> bool:
        """Return whether the client has dropped it by now."""
        sent, ttl = self._sent[name]
        return now >= sent + ttl

    def next(self) -> float | None:
        """Return when the next is due; None: there is none."""
        return min((self._at(name) for name in self._sent), default=None)

    def _at(self, name: str) -> float:
        sent, ttl = self._sent[name]
        return sent + ttl / BEATS_PER_TTL
