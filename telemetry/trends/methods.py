"""
Ways to go on from a series, one function and one row each; a backtest decides between them.

Each takes a series without gaps, its seasons in points (shortest first) and how many points are
wanted, and returns that many. None is fitted by search: what is tuned is which are believed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from telemetry.trends.decompose import slope_of


if TYPE_CHECKING:
    from telemetry.trends.grid import Floats

_CYCLES_MAX = 12
_TAIL_MAX = 16


@dataclass(frozen=True, slots=True)
class Method:
    """One way to go on."""

    go_on: Callable[[Floats, tuple[int, ...], int], Floats]

    seasons: int = 0
    """How many seasons it needs."""


def seasonal_naive(y: Floats, seasons: tuple[int, ...], horizon: int) -> Floats:
    """What was, one longest season ago; the last value where there is no season."""
    season = seasons[-1] if seasons else 1
    return np.resize(y[-season:], horizon)


def short_naive(y: Floats, seasons: tuple[int, ...], horizon: int) -> Floats:
    """What was, one shortest season ago."""
    return np.resize(y[-seasons[0] :], horizon)


def level(y: Floats, _seasons: tuple[int, ...], horizon: int) -> Floats:
    """The mean of the last points, the newest counting most."""
    tail = y[-_TAIL_MAX:]
    weights = 0.7 ** np.arange(tail.size)[::-1]
    return np.full(horizon, float(tail @ weights / weights.sum()))


def drift(y: Floats, seasons: tuple[int, ...], horizon: int) -> Floats:
    """A straight line with the median slope, through the median of what is left of it."""
    slope = slope_of(y, seasons[-1] if seasons else 1)
    tail = y[-(seasons[-1] if seasons else min(y.size, _TAIL_MAX)) :]
    here = float(np.median(tail + slope * np.arange(tail.size)[::-1]))
    return np.asarray(here + slope * np.arange(1, horizon + 1))


def profile(
    y: Floats, seasons: tuple[int, ...], horizon: int, *, decay: float, which: int, trend: bool
) -> Floats:
    """The mean of the last seasons, each older one counting *decay* of the next, on a trend."""
    season = seasons[which]
    slope = slope_of(y, seasons[-1]) if trend else 0.0
    flat = y - slope * np.arange(1 - y.size, 1) if trend else y
    cycles = min(y.size // season, _CYCLES_MAX)
    table = flat[y.size - cycles * season :].reshape(cycles, season)
    weights = decay ** np.arange(cycles)[::-1]
    mean = weights @ table / weights.sum()
    return np.asarray(np.resize(mean, horizon) + slope * np.arange(1, horizon + 1))


def lifted(y: Floats, seasons: tuple[int, ...], horizon: int) -> Floats:
    """The profile, moved by how far the last short season was off it; that wears off."""
    season, short = seasons[-1], seasons[0]
    ahead = profile(y, seasons, horizon, decay=0.7, which=-1, trend=False)
    if y.size < 2 * season + short:
        return ahead
    before = profile(y[:-short], seasons, short, decay=0.7, which=-1, trend=False)
    off = float(np.mean(y[-short:] - before))
    return np.asarray(ahead + off * 0.5 ** (np.arange(1, horizon + 1) / short))


METHODS: Mapping[str, Method] = {
    "seasonal_naive": Method(seasonal_naive),
    "short_naive": Method(short_naive, 2),
    "level": Method(level),
    "drift": Method(drift),
    "profile_quick": Method(partial(profile, decay=0.6, which=-1, trend=False), 1),
    "profile_slow": Method(partial(profile, decay=0.9, which=-1, trend=False), 1),
    "profile_trend": Method(partial(profile, decay=0.8, which=-1, trend=True), 1),
    "short_profile": Method(partial(profile, decay=0.7, which=0, trend=False), 2),
    "lifted": Method(lifted, 1),
}
"""Every method by name; `seasonal_naive` is also what others are measured against."""
