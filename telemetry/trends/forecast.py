"""A series' forecast: point, P10, P50, P90, and how far it may be believed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from telemetry.trends.backtest import backtest, quantiles_of
from telemetry.trends.grid import clipped, filled, trimmed
from telemetry.trends.methods import METHODS
from telemetry.trends.seasons import find_seasons


if TYPE_CHECKING:
    from telemetry.trends.backtest import Backtest
    from telemetry.trends.grid import Floats

POINTS_MIN = 16
"""A series with fewer values isn't forecast."""

LEVELS = (0.1, 0.5, 0.9)

_SMALLEST = 1e-280


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What comes after a series; arrays have one value per point of the horizon."""

    seasons: tuple[int, ...]
    """In points, shortest first."""

    point: Floats
    p10: Floats
    p50: Floats
    p90: Floats

    paths: Floats
    """Ways it may go, `[paths, horizon]`: the point forecast with errors as they once were."""

    backtest: Backtest
    positive: bool
    """The series was never below 0, so the forecast isn't either."""

    reasons: tuple[str, ...]
    """What lessens confidence, in plain words."""

    def quantile(self, level: float) -> Floats:
        """Return what it stays under with a probability of *level*, between 0 and 1."""
        found = self.point + quantiles_of(self.backtest.residuals, self.point.size, (level,))[0]
        return np.asarray(np.maximum(found, 0) if self.positive else found)


@dataclass(frozen=True, slots=True)
class Refused:
    """Why there is no forecast, in plain words."""

    reasons: tuple[str, ...]


def forecast(y: Floats, horizon: int, seasons: tuple[int, ...] | None = None) -> Forecast | Refused:
    """
    Go on from *y* by *horizon* points.

    Args:
        y: A regular series, the newest last; NaN and infinities are gaps.
        horizon: At least 1.
        seasons: Their lengths in points, shortest first; found where None. Seasons that weren't
            seen twice are left out, with a reason.

    """
    y, _ = trimmed(y)
    known = int(np.sum(~np.isnan(y)))
    if known < POINTS_MIN:
        return Refused((f"{known} values are too few; a forecast takes {POINTS_MIN}.",))
    reasons: list[str] = []
    if known < 0.8 * y.size:
        reasons.append(f"{y.size - known} of {y.size} points are missing.")
    size = float(np.nanmax(np.abs(y)))
    size = size if size > _SMALLEST else 1.0
    y = y / size
    used = find_seasons(y) if seasons is None else _usable(seasons, y.size, reasons)
    if seasons is None and not used:
        reasons.append("No season was found in so short or so irregular a series.")
    whole = clipped(filled(y, used), used)
    tried = min(horizon, max(1, (y.size - max(8, 2 * used[-1] if used else 0)) // 2))
    judged = backtest(y, whole, used, tried)
    if judged is None:
        return Refused(("The series is too short to test a forecast on its own past.",))
    if tried < horizon:
        reasons.append(
            f"Only {tried} of {horizon} points ahead could be tested on the past; beyond, the "
            "interval is widened by the square root of the distance."
        )
    return _mixed(whole * size, used, horizon, judged.times(size), tuple(reasons))


def _mixed(
    whole: Floats,
    seasons: tuple[int, ...],
    horizon: int,
    judged: Backtest,
    reasons: tuple[str, ...],
) -> Forecast:
    point = sum(
        (
            weight * METHODS[name].go_on(whole, seasons, horizon)
            for name, weight in judged.weights.items()
        ),
        np.zeros(horizon),
    )
    off = quantiles_of(judged.residuals, horizon, LEVELS)
    low, middle, high = np.sort(point + off, axis=0)
    paths = point + _errors(judged.residuals, horizon)
    positive = bool(whole.min() >= 0)
    if positive:
        point, low, middle, high = (np.maximum(a, 0) for a in (point, low, middle, high))
        paths = np.maximum(paths, 0)
    return Forecast(
        seasons=seasons,
        point=point,
        p10=low,
        p50=middle,
        p90=high,
        paths=paths,
        backtest=judged,
        positive=positive,
        reasons=reasons,
    )


def _errors(residuals: Floats, horizon: int) -> Floats:
    """Return past paths of errors, as long as the horizon; beyond what was seen they spread."""
    known = np.nan_to_num(residuals)[:, :horizon]
    seen = known.shape[1]
    if horizon <= seen:
        return known
    growth = np.sqrt(np.arange(seen + 1, horizon + 1) / seen)
    return np.hstack([known, known[:, -1:] * growth])


def _usable(seasons: tuple[int, ...], points: int, reasons: list[str]) -> tuple[int, ...]:
    used = tuple(sorted(season for season in set(seasons) if 2 <= season <= points // 3))
    reasons.extend(
        f"A season of {season} points was not seen three times and is left out."
        for season in sorted(set(seasons) - set(used))
    )
    return used
