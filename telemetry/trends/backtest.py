"""What a forecast would have been, had it been made earlier: the only judge of methods."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from telemetry.trends.methods import METHODS


if TYPE_CHECKING:
    from collections.abc import Mapping

    from telemetry.trends.grid import Floats

ORIGINS_MAX = 28
"""Times from which a forecast is made anew."""

_SHARPNESS = 6
_WORSE_THAN_BEST_MAX = 1.35
_EXACT = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Backtest:
    """How methods did on the last part of a series."""

    weights: Mapping[str, float]
    """Share of each method in the forecast; sums to 1."""

    residuals: Floats
    """Actual less forecast of the mixture, `[origins, horizon]`; NaN in gaps."""

    mae: float
    """Mean absolute error of the mixture, in the series' unit."""

    naive_mae: float
    """The same of the seasonal naive method at the same origins."""

    scale: float
    """Mean absolute change over one season in the series before: MASE is an error over this."""

    def times(self, factor: float) -> Backtest:
        """Return the same of a series *factor* times as large."""
        return replace(
            self,
            residuals=self.residuals * factor,
            mae=self.mae * factor,
            naive_mae=self.naive_mae * factor,
            scale=self.scale * factor,
        )

    @property
    def mase(self) -> float:
        """Mean absolute scaled error (Hyndman and Koehler 2006); NaN for a series that is one."""
        return self.mae / self.scale if self.scale > 0 else float("nan")

    @property
    def naive_mase(self) -> float:
        """The same of the seasonal naive method."""
        return self.naive_mae / self.scale if self.scale > 0 else float("nan")


def origins_of(points: int, seasons: tuple[int, ...], horizon: int) -> list[int]:
    """
    Return from how many points each forecast is made, oldest first; none where there are too few.

    They lie whole short seasons apart, so that a horizon always meets the same phase, and leave
    the oldest part of the series, two longest seasons or eight points, to learn from.
    """
    apart = seasons[0] if seasons else max(1, horizon // 4)
    least = max(8, 2 * seasons[-1] if seasons else 0, points // 4)
    latest = points - horizon
    return list(range(latest, least - 1, -apart))[:ORIGINS_MAX][::-1]


def backtest(y: Floats, filled: Floats, seasons: tuple[int, ...], horizon: int) -> Backtest | None:
    """
    Judge all methods on the end of a series; None where it is too short.

    How much each is believed is decided without outliers, which nobody foresees; the errors
    that are told, and the residuals that intervals are made of, have them.

    Args:
        y: The series, within -1 to 1, NaN where nothing is known: gaps judge nobody.
        filled: The same without gaps and outliers, which methods see.
        seasons: In points, shortest first.
        horizon: In points.

    """
    origins = origins_of(y.size, seasons, horizon)
    if len(origins) < 2:
        return None
    names = [name for name, method in METHODS.items() if method.seasons <= len(seasons)]
    made = np.array(
        [
            [METHODS[name].go_on(filled[:origin], seasons, horizon) for name in names]
            for origin in origins
        ]
    )
    actual = np.array([y[origin : origin + horizon] for origin in origins])
    if not np.isfinite(actual).any():
        return None
    usual = np.array([filled[origin : origin + horizon] for origin in origins])
    usual = np.where(np.isnan(actual), np.nan, usual)
    weights = weights_of(np.nanmean(np.abs(usual[:, None, :] - made), axis=(0, 2)))
    naive = made[:, names.index("seasonal_naive")]
    mixed = np.einsum("m,omh->oh", weights, made)
    season = seasons[-1] if seasons else 1
    before = filled[: max(origins[0], season + 1)]
    return Backtest(
        weights={
            name: float(weight) for name, weight in zip(names, weights, strict=True) if weight
        },
        residuals=actual - mixed,
        mae=float(np.nanmean(np.abs(actual - mixed))),
        naive_mae=float(np.nanmean(np.abs(actual - naive))),
        scale=float(np.mean(np.abs(before[season:] - before[:-season]))),
    )


def weights_of(errors: Floats) -> Floats:
    """Return shares that favour small errors of a series within -1 to 1; the far worse have none."""
    best = float(np.nanmin(errors))
    if best <= _EXACT:
        return np.asarray((errors <= _EXACT) / int(np.sum(errors <= _EXACT)))
    relative = errors / best
    shares = np.where(relative <= _WORSE_THAN_BEST_MAX, relative**-_SHARPNESS, 0.0)
    return np.asarray(shares / shares.sum())


def quantiles_of(residuals: Floats, horizon: int, levels: tuple[float, ...]) -> Floats:
    """
    Return the split-conformal quantiles of *residuals* by horizon: `[levels, horizon]`.

    Neighbouring horizons, two to each side, are taken together, since origins are few. The ranks
    are those of conformal prediction, (n + 1) q (Vovk; Lei et al. 2018), within what was seen.
    Beyond the horizon that could be backtested they grow with its square root.
    """
    seen = residuals.shape[1]
    out = np.empty((len(levels), horizon))
    for at in range(min(seen, horizon)):
        near = residuals[:, max(0, at - 2) : at + 3]
        near = np.sort(near[np.isfinite(near)])
        if not near.size:
            near = np.zeros(1)
        for row, level in enumerate(levels):
            rank = _rank(near.size, level)
            out[row, at] = near[rank]
    if horizon > seen:
        growth = np.sqrt(np.arange(seen + 1, horizon + 1) / seen)
        wide = np.sort(residuals[np.isfinite(residuals)])
        for row, level in enumerate(levels):
            last = wide[_rank(wide.size, level)] if wide.size else 0.0
            out[row, seen:] = last * growth
    return out


def _rank(count: int, level: float) -> int:
    """Return the place of the quantile *level* among *count* sorted values."""
    if level > 0.5:
        return min(count - 1, int(np.ceil((count + 1) * level)) - 1)
    if level < 0.5:
        return max(0, int(np.floor((count + 1) * level)) - 1)
    return count // 2
