"""
What is made of a source's answers, for one service. Pure: times, in seconds, are arguments.

    answer ──▶ bound ──▶ panic guard ──▶ damping ──▶ endpoints
               1,000     an empty answer    one that comes and goes
               at most   is believed after  again and again must
                         a while            wait to come back

Nothing here slows down the removal of an endpoint while others are left, nor of one that left by
its own word.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.model import Health


if TYPE_CHECKING:
    from gateway.model import Endpoint
    from gateway.sources.source import Found, Place

ENDPOINTS_MAX: Final = 1_000
"""Endpoints of a service that are taken; of more, those that sort first."""

FLAPS_MAX: Final = 2 * ENDPOINTS_MAX
"""Endpoints remembered for having gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeeperLimits:
    """How answers are doubted. Durations in seconds."""

    empty_grace: float = 30.0
    """How long a service keeps what it had when its source says that there is nothing."""

    flaps_free: int = 2
    """How often an endpoint may go within `flap_window` without having to wait."""

    flap_hold: float = 1.0
    """Its first wait; each one is twice as long as the one before."""

    flap_hold_max: float = 30.0
    flap_window: float = 60.0


@dataclass(slots=True)
class _Flap:
    times: int
    last: float
    until: float


class Keeper:
    """The endpoints of one service."""

    def __init__(self, limits: KeeperLimits, endpoints: tuple[Endpoint, ...] = ()) -> None:
        """*endpoints*: what was known earlier."""
        self._limits = limits
        self._shown: dict[Place, Endpoint] = {_place(one): one for one in endpoints}
        self._wanted = dict(self._shown)
        self._left: frozenset[Place] = frozenset()
        self._empty_since: float | None = None
        self._flaps: dict[Place, _Flap] = {}
        self.dropped = 0
        """How many the last answer had beyond `ENDPOINTS_MAX`."""

    def take(self, found: Found, now: float) -> None:
        """Take a source's answer."""
        wanted = {_place(one): one for one in sorted(found.endpoints, key=_order)}
        self.dropped = max(0, len(wanted) - ENDPOINTS_MAX)
        self._wanted = dict(list(wanted.items())[:ENDPOINTS_MAX])
        self._left = found.left
        if self._wanted:
            self._empty_since = None
        elif self._empty_since is None:
            self._empty_since = now

    def settle(self, now: float) -> tuple[Endpoint, ...]:
        """Return the endpoints there are now."""
        if self._doubted(now):
            shown = {at: one for at, one in self._shown.items() if at not in self._left}
        else:
            shown = self._damped(now)
        self._shown = shown
        return tuple(sorted(shown.values(), key=_order))

    def deadline(self) -> float | None:
        """Return when `settle` may say something else without another answer; None: never."""
        times = [flap.until for at, flap in self._flaps.items() if self._is_held(at)]
        if self._empty_since is not None and self._shown:
            times.append(self._empty_since + self._limits.empty_grace)
        return min(times, default=None)

    def _doubted(self, now: float) -> bool:
        since = self._empty_since
        return since is not None and now < since + self._limits.empty_grace

    def _damped(self, now: float) -> dict[Place, Endpoint]:
        for at, one in self._shown.items():
            if _usable(one) and not _usable(self._wanted.get(at)):
                self._note_gone(at, now)
        held = {at: one for at, one in self._wanted.items() if self._must_wait(at, now)}
        shown = {at: one for at, one in self._wanted.items() if at not in held}
        if not any(map(_usable, shown.values())):
            return dict(self._wanted)  # One that comes and goes is better than none.
        for at, one in held.items():
            before = self._shown.get(at)
            if before is not None:
                shown[at] = dataclasses.replace(one, health=before.health)
        return shown

    def _must_wait(self, at: Place, now: float) -> bool:
        flap = self._flaps.get(at)
        comes = _usable(self._wanted[at]) and not _usable(self._shown.get(at))
        return flap is not None and comes and now < flap.until

    def _is_held(self, at: Place) -> bool:
        return _usable(self._wanted.get(at)) and not _usable(self._shown.get(at))

    def _note_gone(self, at: Place, now: float) -> None:
        limits = self._limits
        flap = self._flaps.pop(at, None)
        if flap is None or now - flap.last > limits.flap_window:
            flap = _Flap(0, now, now)
        flap.times += 1
        flap.last = now
        beyond = flap.times - limits.flaps_free - 1
        hold = min(limits.flap_hold * 2.0 ** min(beyond, 16), limits.flap_hold_max)
        flap.until = now + hold if beyond >= 0 else now
        self._flaps[at] = flap  # The newest stand last.
        while len(self._flaps) > FLAPS_MAX:
            del self._flaps[next(iter(self._flaps))]


def _place(endpoint: Endpoint) -> Place:
    return (endpoint.address, endpoint.port)


def _order(endpoint: Endpoint) -> tuple[int, str, int]:
    return (endpoint.priority, endpoint.address, endpoint.port)


def _usable(endpoint: Endpoint | None) -> bool:
    return endpoint is not None and endpoint.health is Health.HEALTHY
