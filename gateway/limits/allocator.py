"""How a quota is divided among edges by demand. Pure: time is an argument, nothing is sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final


if TYPE_CHECKING:
    from collections.abc import Mapping

HEADROOM: Final = 0.05
"""What an edge gets above what it asked for, where there is enough."""

HYSTERESIS: Final = 0.1
"""A share that would change by less stays as it is: each change fills an edge's bucket anew."""

FLOOR: Final = 0.05
"""Of an even share, what an edge without demand keeps: its next calls shan't wait for a report."""

LEAST: Final = 0.1
"""Of the whole, what edges that can be reached have together while lost ones hold the rest."""

JUMP: Final = 0.25
"""Demand that differs by more is believed at once; by less, it is smoothed."""

SMOOTHING: Final = 0.5
_LEAST_ELAPSED_S: Final = 1.0


def divide(rate: float, demands: Mapping[str, float | None]) -> dict[str, float]:
    """
    Return each edge's share of *rate*, max-min fair: who wants little gets it, the rest is even.

    What nobody wants is divided evenly. The shares come to *rate* together.

    Args:
        rate: Calls a second, above 0.
        demands: Calls a second that each edge gets; None: not known, it is taken to want an even
            share.

    """
    if not demands:
        return {}
    even = rate / len(demands)
    floor = even * FLOOR
    wanted = {
        edge: even if demand is None else max(floor, demand * (1 + HEADROOM))
        for edge, demand in demands.items()
    }
    shares: dict[str, float] = {}
    left, waiting = rate, sorted(wanted, key=lambda edge: (wanted[edge], edge))
    while waiting:
        fair = left / len(waiting)
        share = min(wanted[waiting[0]], fair)
        shares[waiting.pop(0)] = share
        left -= share
    return {edge: share + left / len(demands) for edge, share in shares.items()}


@dataclass(slots=True, kw_only=True)
class Part:
    """One edge's part of a bucket."""

    reported_at: float
    """When it told of it last; seconds of a monotonic clock."""

    demand: float | None = None
    """Calls a second; None: it has only said that there is one."""

    assigned: float = 0.0
    """Calls a second that it may let through, by what was sent to it."""

    expires_at: float = 0.0
    """When what was sent ends by itself."""

    connected: bool = True
    """Whether it can be told of a change. If not, it goes on with what it has until that ends."""

    foreign: bool = False
    """Whether another replica of the gateway tells it what it gets."""

    busy_at: float = 0.0
    """When it last had calls."""

    allowed: int = 0
    refused: int = 0
    _pending: int = 0
    _tokens: float | None = None
    _filled_at: float = 0.0

    def take(self, allowed: int, refused: int, now: float) -> None:
        """Count what happened since the report before."""
        self.allowed += allowed
        self.refused += refused
        self._pending += allowed + refused
        if allowed or refused:
            self.busy_at = now
        elapsed = now - self.reported_at
        if elapsed < _LEAST_ELAPSED_S:
            return
        seen = self._pending / elapsed
        self._pending, self.reported_at = 0, now
        if self.demand is None or abs(seen - self.demand) > JUMP * max(seen, self.demand):
            self.demand = seen
        else:
            self.demand += SMOOTHING * (seen - self.demand)

    def exceeding(self, calls: int, burst: float, now: float) -> int:
        """Return how many of *calls* its share would have refused, were it kept by the edge."""
        if not self.assigned:
            return 0  # It wasn't told yet.
        if self._tokens is None:
            self._tokens, self._filled_at = burst, now
        tokens = self._tokens + self.assigned * (now - self._filled_at)
        self._tokens, self._filled_at = min(max(tokens - calls, 0.0), burst), now
        return max(0, calls - int(tokens))


@dataclass(slots=True, kw_only=True)
class Bucket:
    """
    One bucket of a quota and its division.

    What was sent to edges comes to at most `rate` together, whatever they report: who gets more,
    gets it from what others no longer have, and who can't be reached keeps its part until it ends.
    Only where that would leave nothing for the others they have `LEAST` of it on top, once more for
    each edge that is lost with such a share. And each new share starts with its part of the burst, and an edge cut off for longer than an assignment's
    life falls back to its even share: those nobody here can take back.
    """

    rate: float
    """Calls a second for all edges together, above 0."""

    parts: dict[str, Part] = field(default_factory=dict)

    def forget(self, now: float) -> None:
        """Drop the parts whose edges can't be reached and whose assignments have ended."""
        gone = [
            edge
            for edge, part in self.parts.items()
            if not part.connected and part.expires_at <= now
        ]
        for edge in gone:
            del self.parts[edge]

    def rebalance(self) -> list[str]:
        """Assign anew; returns the edges of this replica whose share differs, in their order."""
        targets = self._targets()
        before = {edge: part.assigned for edge, part in self.parts.items()}
        changing = {edge for edge in targets if _differs(before[edge], targets[edge])}
        self._apply(targets, changing)
        short = any(
            part.assigned < (1 - HYSTERESIS) * targets[edge]
            for edge, part in self.parts.items()
            if edge in targets
        )
        if short:
            self._apply(targets, set(targets))
        return [edge for edge in sorted(targets) if self.parts[edge].assigned != before[edge]]

    def _targets(self) -> dict[str, float]:
        """Return what the edges of this replica should have."""
        reachable = {edge: part for edge, part in self.parts.items() if part.connected}
        shares = divide(
            self._whole() - self._kept(), {edge: part.demand for edge, part in reachable.items()}
        )
        return {edge: share for edge, share in shares.items() if not reachable[edge].foreign}

    def _kept(self) -> float:
        """Return what edges have that can't be told otherwise."""
        return sum(part.assigned for part in self.parts.values() if not part.connected)

    def _whole(self) -> float:
        return max(self.rate, self._kept() + LEAST * self.rate)

    def _apply(self, targets: Mapping[str, float], edges: set[str]) -> None:
        for edge in edges:
            part = self.parts[edge]
            part.assigned = min(part.assigned, targets[edge])
        free = self._whole() - sum(part.assigned for part in self.parts.values())
        for edge in sorted(edges, key=lambda one: targets[one]):
            part = self.parts[edge]
            more = min(targets[edge] - part.assigned, max(free, 0.0))
            part.assigned += more
            free -= more


def _differs(old: float, new: float) -> bool:
    return abs(new - old) > HYSTERESIS * max(old, new)
