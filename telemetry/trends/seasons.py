"""Which seasons a series has: peaks of its autocorrelation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from telemetry.trends.grid import clipped, filled, phase_medians


if TYPE_CHECKING:
    from telemetry.trends.grid import Floats

SEASONS_MAX = 3
"""Seasons found at most; a day and a week are the usual ones."""

_STRENGTH_MIN = 0.3
_AS_GOOD = 0.8
_SHARE_MIN = 1e-3
_CYCLES_MIN = 3


def find_seasons(y: Floats, *, shortest: int = 4) -> tuple[int, ...]:
    """
    Return the lengths of the seasons of *y* in points, shortest first; none is a fair answer.

    A season is a lag of at least *shortest* points, seen three times, at which the detrended
    series resembles itself: a local peak of the autocorrelation, at least 0.3 and well above what
    chance would make of so few points. Of peaks that are about as high the shortest counts, since
    each has its multiples. A longer season is looked for in what the shorter one leaves: beside a
    day, a week hardly shows in the series itself.
    """
    rest = _detrended(clipped(filled(y)))
    enough = _SHARE_MIN * float(np.var(rest)) if rest.size else 0.0
    found: list[int] = []
    while len(found) < SEASONS_MAX and float(np.var(rest)) > enough:
        season = _strongest(rest, found[-1] * 3 // 2 if found else shortest)
        if not season:
            break
        if found and abs(season - found[-1] * round(season / found[-1])) == 1:
            season = found[-1] * round(season / found[-1])
        found.append(season)
        rest = rest - np.resize(phase_medians(rest, season), rest.size)
    return tuple(found)


def autocorrelation(y: Floats, lags: int) -> Floats:
    """Return the correlation of *y*, without gaps and trend, with itself at lags 0 to *lags*."""
    size = 1 << (2 * y.size - 1).bit_length()
    power = np.abs(np.fft.rfft(y, size)) ** 2
    raw = np.fft.irfft(power, size)[: lags + 1]
    if raw[0] <= 0:
        return np.zeros(lags + 1)
    pairs = y.size - np.arange(lags + 1)
    return np.asarray((raw / pairs) / (raw[0] / y.size))


def _detrended(y: Floats) -> Floats:
    """Return *y* without its straight line; all zero where nothing but rounding is left."""
    if y.size < 3:
        return np.zeros_like(y)
    places = np.arange(y.size) - (y.size - 1) / 2
    slope = float(places @ y) / float(places @ places)
    rest = y - y.mean() - slope * places
    largest = float(np.abs(rest).max())
    if largest <= 1e-9 * float(np.abs(y).max()):
        return np.zeros_like(y)
    return np.asarray(rest / largest)


def _strongest(y: Floats, shortest: int) -> int:
    """Return the shortest of the highest peaks of the autocorrelation, 0 if there is none."""
    longest = y.size // _CYCLES_MIN
    if longest < shortest:
        return 0
    correlation = autocorrelation(y, longest + 1)
    lags = np.arange(shortest, longest + 1)
    here = correlation[lags]
    peaks = lags[(here >= correlation[lags - 1]) & (here >= correlation[lags + 1])]
    peaks = peaks[correlation[peaks] > max(_STRENGTH_MIN, 4 / np.sqrt(y.size))]
    if not peaks.size:
        return 0
    return int(peaks[correlation[peaks] >= _AS_GOOD * correlation[peaks].max()][0])
