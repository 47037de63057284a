"""A series as trend, seasons and remainder; robust against outliers and gaps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from telemetry.trends.grid import clipped, filled, phase_medians


if TYPE_CHECKING:
    from telemetry.trends.grid import Floats

_ROUNDS = 2
_BLOCKS_MAX = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a series is the sum of; all arrays are as long as the series."""

    trend: Floats
    seasonal: tuple[Floats, ...]
    """One for each season, shortest first; each sums to about 0 over its season."""

    remainder: Floats
    """What is left, NaN in gaps."""

    @property
    def seasonal_strength(self) -> float:
        """Share of the detrended variance that seasons explain, 0 to 1 (Hyndman, FPP3 4.3)."""
        rest = self.remainder[~np.isnan(self.remainder)]
        both = self.remainder + sum(self.seasonal, np.zeros_like(self.remainder))
        both = both[~np.isnan(both)]
        whole = float(np.var(both)) if both.size else 0.0
        return max(0.0, 1 - float(np.var(rest)) / whole) if whole > 0 else 0.0


def decompose(y: Floats, seasons: tuple[int, ...]) -> Parts:
    """
    Split *y* into a smooth trend, one pattern per season, and the rest.

    As MSTL (Bandara, Hyndman, Bergmeir 2021) with medians in LOESS's place: the trend is a moving
    average over the longest season of what outliers were taken from, a season is the median of
    its phases, and both are refined in turn.
    """
    whole = clipped(filled(y, seasons), seasons)
    seasonal = [np.zeros_like(whole) for _ in seasons]
    trend = _moving_average(whole, seasons[-1] if seasons else max(3, whole.size // 10))
    for _ in range(_ROUNDS if seasons else 0):
        for number, season in enumerate(seasons):
            others = sum((s for n, s in enumerate(seasonal) if n != number), np.zeros_like(whole))
            pattern = phase_medians(whole - trend - others, season)
            pattern -= np.nanmean(pattern)
            seasonal[number] = np.resize(np.nan_to_num(pattern), whole.size)
        flat = whole - sum(seasonal, np.zeros_like(whole))
        trend = _moving_average(flat, seasons[-1])
    remainder = y - trend - sum(seasonal, np.zeros_like(whole))
    return Parts(trend=trend, seasonal=tuple(seasonal), remainder=remainder)


def slope_of(y: Floats, season: int) -> float:
    """
    Return the change per point: Theil and Sen's median of slopes between means of whole seasons.

    0 where fewer than three seasons (or, without one, eight points) are there.
    """
    block = season if season > 1 else max(1, y.size // _BLOCKS_MAX)
    count = min(y.size // block, _BLOCKS_MAX)
    if count < 3 or (season <= 1 and y.size < 8):
        return 0.0
    means = y[y.size - count * block :].reshape(count, block).mean(axis=1)
    left, right = np.triu_indices(count, 1)
    return float(np.median((means[right] - means[left]) / (right - left))) / block


def _moving_average(y: Floats, length: int) -> Floats:
    """Return centred averages over *length* points; straight lines go on at both ends."""
    length = min(length, max(1, y.size // 2))
    if length <= 1:
        return y.copy()
    weights = np.ones(length + 1 - length % 2)
    if length % 2 == 0:
        weights[[0, -1]] = 0.5
    middle = np.convolve(y, weights / weights.sum(), "valid")
    lead = (y.size - middle.size) // 2
    slope = slope_of(y, length)
    steps = np.arange(1, lead + 1)
    before = middle[0] - slope * steps[::-1]
    after = middle[-1] + slope * np.arange(1, y.size - middle.size - lead + 1)
    return np.concatenate([before, middle, after])
