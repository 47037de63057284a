"""
Which leases the streams of this gateway keep. Pure: times, in seconds, are arguments.

    heartbeat on a stream ──▶ held ──stream breaks──▶ orphan ──1 s──▶ ended
                               ▲                        │
                               └── another heartbeat ───┘ (here, or at another gateway)

The database decides: a renewal says there who holds the lease, and an end counts only if that is
still so.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


UNHELD = ""
"""Who holds a lease that is kept by calls and not by a stream."""


@dataclass(frozen=True, slots=True)
class _Orphan:
    holder: str
    ends: float


class Leases:
    """What this gateway has heard since it last wrote it down."""

    def __init__(self, orphan_grace: float) -> None:
        """*orphan_grace*: how long a lease without its stream lasts, in seconds."""
        self._grace = orphan_grace
        self._held: dict[str, str] = {}
        self._renewed: dict[str, str] = {}
        self._orphans: dict[str, _Orphan] = {}

    def heard(self, names: Collection[str], holder: str = UNHELD) -> None:
        """Take note of a heartbeat for *names*."""
        for name in names:
            self._orphans.pop(name, None)
            if holder:
                self._held[name] = holder
            else:
                self._held.pop(name, None)
            self._renewed[name] = holder

    def dropped(self, names: Collection[str], holder: str) -> None:
        """Take note that a stream keeps these no longer: their leases run from now on."""
        for name in names:
            if self._held.get(name) == holder:
                del self._held[name]
                self._renewed[name] = UNHELD

    def broken(self, names: Collection[str], holder: str, now: float) -> None:
        """Take note that the stream which kept these has broken."""
        for name in names:
            if self._held.get(name) == holder:
                del self._held[name]
                self._orphans[name] = _Orphan(holder, now + self._grace)

    def forget(self, name: str) -> None:
        """Take note that a registration is gone."""
        self._held.pop(name, None)
        self._renewed.pop(name, None)
        self._orphans.pop(name, None)

    def renewals(self) -> list[tuple[str, str]]:
        """Return what is to be written down, names with their holders, and have it be written."""
        found, self._renewed = self._renewed, {}
        return sorted(found.items())

    def unwritten(self, renewals: Collection[tuple[str, str]]) -> None:
        """Take back *renewals* that couldn't be written; newer ones stay."""
        self._renewed = {**dict(renewals), **self._renewed}

    def ends(self, now: float) -> list[tuple[str, str]]:
        """Return the orphans whose time is over, names with their holders, until `ended`."""
        return [(name, one.holder) for name, one in self._orphans.items() if one.ends <= now]

    def ended(self, ends: Collection[tuple[str, str]]) -> None:
        """Take note that *ends* were written down, whatever that came to."""
        for name, holder in ends:
            orphan = self._orphans.get(name)
            if orphan is not None and orphan.holder == holder:
                del self._orphans[name]

    def deadline(self) -> float | None:
        """Return when the next orphan's time is over; None: there is none."""
        return min((one.ends for one in self._orphans.values()), default=None)
