"""What a series should be by its own past: bands beyond which it is odd."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from telemetry.trends.grid import MAD_TO_SIGMA, trimmed


if TYPE_CHECKING:
    from telemetry.trends.grid import Floats

CYCLES = 6
"""Seasons back that a value is compared with."""

PLAIN_WINDOW = 30
"""Points back, for a series without a season."""

_NEIGHBOURS = 2
_KNOWN_MIN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Bands:
    """One value per point of the series; NaN where too little came before."""

    expected: Floats
    lower: Floats
    upper: Floats


def bands(y: Floats, seasons: tuple[int, ...], deviations: float = 4.0) -> Bands:
    """
    Return what each point of *y* was expected to be by those before it.

    The median of the same phase in the last six of the longest season (of the last 30 points
    without one), plus and minus *deviations* robust standard deviations of how far points of
    about that phase were from theirs. Only the past counts, and an outlier moves neither; so a
    band is the same whether it is drawn later or was watched by an alert.
    """
    known, gone = trimmed(y)
    backs = _backs(seasons, 0)
    past = np.array([_earlier(known, back) for back in backs])
    middle = _median(past)
    middle[np.sum(~np.isnan(past), axis=0) < _KNOWN_MIN] = np.nan
    off = np.abs(known - middle)
    spread = MAD_TO_SIGMA * _median(
        np.array([_earlier(off, back) for back in _backs(seasons, _NEIGHBOURS)])
    )
    typical = _running_scale(spread)
    spread = np.maximum(np.nan_to_num(spread), 0.25 * typical)
    middle[np.isnan(typical)] = np.nan
    lead = np.full(gone, np.nan)
    return Bands(
        expected=np.concatenate([lead, middle]),
        lower=np.concatenate([lead, middle - deviations * spread]),
        upper=np.concatenate([lead, middle + deviations * spread]),
    )


def _backs(seasons: tuple[int, ...], neighbours: int) -> list[int]:
    """Return how many points back lie those that a point is compared with."""
    if not seasons:
        return list(range(1, PLAIN_WINDOW + 1))
    around = range(-neighbours, neighbours + 1)
    all_of = (cycle * seasons[-1] + near for cycle in range(1, CYCLES + 1) for near in around)
    return [back for back in all_of if back > 0]


def _earlier(y: Floats, back: int) -> Floats:
    """Return *y* as it was *back* points before, NaN before its beginning."""
    out = np.full(y.size, np.nan)
    if 0 < back < y.size:
        out[back:] = y[:-back]
    return out


def _median(table: Floats) -> Floats:
    """Return the medians of columns, NaN apart, without a word where a column is empty."""
    table = np.sort(table, axis=0)
    count = np.sum(~np.isnan(table), axis=0)
    columns = np.arange(table.shape[1])
    low = np.maximum((count - 1) // 2, 0)
    high = np.minimum(count // 2, np.maximum(count - 1, 0))
    return np.asarray((table[low, columns] + table[high, columns]) / 2)


def _running_scale(spread: Floats) -> Floats:
    """Return the mean spread so far: it keeps a quiet phase from having no width at all."""
    count = np.cumsum(~np.isnan(spread))
    total = np.cumsum(np.nan_to_num(spread))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
