"""When a simulated device is online: pure, the same for the same device for ever."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from meshctl.demo.timeline import chance


STEADY_PERCENT = 40
"""How many devices never go offline."""

_GRAIN = 1_000_000


def is_steady(device: str) -> bool:
    """Whether *device* stays online all the time."""
    return chance(device, "steady", 100) < STEADY_PERCENT


def spells(
    device: str, *, online: timedelta, offline: timedelta
) -> Iterator[tuple[timedelta, timedelta]]:
    """
    How long *device* is online, then offline, again and again without end.

    Each is half to one and a half times the average, so that devices don't move in step.
    """
    turn = 0
    while True:
        yield (
            online * _factor(device, f"online-{turn}"),
            offline * _factor(device, f"offline-{turn}"),
        )
        turn += 1


def _factor(device: str, purpose: str) -> float:
    return 0.5 + chance(device, purpose, _GRAIN) / _GRAIN
