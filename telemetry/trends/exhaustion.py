"""When a series will have reached a bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np


if TYPE_CHECKING:
    from telemetry.trends.forecast import Forecast

NEVER = -1
"""In place of a number of points: not within the horizon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exhaustion:
    """After how many points the bound is reached, 1 being the next; `NEVER` if it isn't."""

    likely: int
    """By then half of the paths are there."""

    earliest: int
    """By then one path in ten is there."""

    latest: int
    """By then nine paths in ten are there."""

    probability: float
    """Share of the paths that get there within the horizon, 0 to 1."""


def exhaustion(made: Forecast, bound: float, *, rising: bool) -> Exhaustion:
    """
    Return when *made* reaches *bound*, from below where *rising*, else from above.

    Each path is the forecast with errors it once made, so what is told is the first time a whole
    path is there, not where a quantile's line crosses.
    """
    there = made.paths >= bound if rising else made.paths <= bound
    reached = there.any(axis=1)
    first = np.where(reached, there.argmax(axis=1) + 1.0, np.inf)
    first.sort()
    places = [first[min(first.size - 1, int(first.size * share))] for share in (0.1, 0.5, 0.9)]
    early, middle, late = (NEVER if np.isinf(place) else int(place) for place in places)
    return Exhaustion(likely=middle, earliest=early, latest=late, probability=float(reached.mean()))
