"""Samples on a regular grid, and what stands in for gaps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np


if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

STEPS_MS = tuple(
    seconds * 1000
    for seconds in (
        1,
        5,
        10,
        15,
        30,
        60,
        300,
        600,
        900,
        1800,
        3600,
        7200,
        10800,
        21600,
        43200,
        86400,
    )
)
"""Usual steps: a day has a whole number of each."""

CLIP_DEVIATIONS = 8.0
"""How many robust deviations make an outlier."""

MAD_TO_SIGMA = 1.4826
"""A normal distribution's standard deviation, in median absolute deviations."""

_USUAL = 0.95


def on_grid(ts: Ints, values: Floats, start_ms: int, step_ms: int, points: int) -> Floats:
    """Return *points* values from *start_ms* on; NaN where no sample is at that time."""
    grid = np.full(points, np.nan)
    place, rest = np.divmod(ts - start_ms, step_ms)
    fits = (rest == 0) & (place >= 0) & (place < points)
    grid[place[fits]] = values[fits]
    grid[~np.isfinite(grid)] = np.nan
    return grid


def averaged(ts: Ints, values: Floats, end_ms: int, step_ms: int, points: int) -> Floats:
    """Return the means of *points* intervals, open to the left, up to *end_ms*; NaN where empty."""
    place = points - 1 - (end_ms - ts) // step_ms
    fits = (ts <= end_ms) & (place >= 0) & np.isfinite(values)
    count = np.bincount(place[fits], minlength=points)
    total = np.bincount(place[fits], values[fits], minlength=points)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def step_for(range_ms: int, points_max: int) -> int:
    """Return the shortest usual step at which *range_ms* has at most *points_max* points."""
    fitting = (step for step in STEPS_MS if range_ms <= step * points_max)
    return next(fitting, -(-range_ms // points_max))


def trimmed(y: Floats) -> tuple[Floats, int]:
    """Return *y* from its first value on, infinities as gaps, and how many points went."""
    y = np.where(np.isfinite(y), y, np.nan)
    known = np.flatnonzero(~np.isnan(y))
    first = int(known[0]) if known.size else y.size
    return y[first:], first


def filled(y: Floats, seasons: tuple[int, ...] = ()) -> Floats:
    """
    Return *y* without gaps.

    A gap takes the median of its phase in the longest season, moved by how far its
    neighbourhood is from theirs; without a season, or a phase never seen, it is interpolated.
    """
    missing = np.isnan(y)
    if not missing.any():
        return y.copy()
    if missing.all():
        return np.zeros_like(y)
    places = np.arange(y.size)
    straight = np.interp(places, places[~missing], y[~missing])
    if not seasons or y.size < 2 * seasons[-1]:
        return straight
    typical = np.tile(phase_medians(y, seasons[-1]), -(-y.size // seasons[-1]))[: y.size]
    known = ~np.isnan(typical)
    usable = ~missing & known
    if not usable.any():
        return straight
    offset = np.interp(places, places[usable], (y - typical)[usable])
    return np.where(missing & known, typical + offset, straight)


def clipped(y: Floats, seasons: tuple[int, ...] = ()) -> Floats:
    """
    Return *y* with outliers pulled in to `CLIP_DEVIATIONS` robust deviations of their phase.

    Where most points deviate by nothing, to twice what 95 of 100 deviate by; where those deviate
    by nothing either, what is rare may be all there is, such as a job once a day: nothing is.

    A value is told from a step or a trend by its neighbours: what also differs from the median
    of the five points around it is an outlier, a new level isn't.
    """
    if y.size < 8:
        return y.copy()
    around = np.median(np.lib.stride_tricks.sliding_window_view(np.pad(y, 2, "reflect"), 5), axis=1)
    rest = y - around
    if seasons and y.size >= 3 * seasons[-1]:
        typical = phase_medians(rest, seasons[-1])
        rest = rest - np.tile(typical, -(-y.size // seasons[-1]))[: y.size]
    off = np.abs(rest)
    bound = CLIP_DEVIATIONS * MAD_TO_SIGMA * float(np.median(off))
    if bound == 0:
        bound = 2 * float(np.quantile(off, _USUAL)) or np.inf
    return y - rest + np.clip(rest, -bound, bound)


def phase_medians(y: Floats, season: int) -> Floats:
    """Return the median of each phase of *season*, first point first; NaN where none is known."""
    rows = -(-y.size // season)
    table = np.full(rows * season, np.nan)
    table[: y.size] = y
    table = np.sort(table.reshape(rows, season), axis=0)
    count = np.sum(~np.isnan(table), axis=0)
    low, high = np.maximum((count - 1) // 2, 0), count // 2
    high = np.minimum(high, np.maximum(count - 1, 0))
    columns = np.arange(season)
    return np.asarray((table[low, columns] + table[high, columns]) / 2)
