"""How much of a resource a replica needs, by what it has used and will use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from telemetry.trends.forecast import Refused, forecast


if TYPE_CHECKING:
    from telemetry.trends.grid import Floats

MARGIN = 1.15
"""Above what is expected; as the Vertical Pod Autoscaler's safety margin."""

HARD_LIMIT_MARGIN = 1.5
"""What a limit leaves above what is requested, of a resource that kills when it runs out."""

_FEW_POINTS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizing:
    """Of the busiest replica, in the unit of what was given."""

    p50: float
    p95: float
    peak: float
    expected_peak: float | None
    """The most that is expected within the horizon (P90); None without a forecast."""

    request: float
    limit: float
    """0: none is advised."""

    reasons: tuple[str, ...]


def size(use: Floats, horizon: int, *, kills: bool) -> Sizing | None:
    """
    Return what each replica should be given; None where nothing was ever used.

    Args:
        use: `[replicas, points]`, NaN where a replica wasn't there.
        horizon: In points.
        kills: A replica that needs more than its limit is killed (memory). One that doesn't only
            waits (CPU): then the 95th percentile is requested, and no limit advised, since a
            limit of CPU makes a replica wait while cores idle.

    """
    busiest = _busiest(use)
    known = busiest[~np.isnan(busiest)]
    if not known.size:
        return None
    p50, p95, peak = (float(np.quantile(known, q)) for q in (0.5, 0.95, 1.0))
    reasons: list[str] = []
    if known.size < _FEW_POINTS:
        reasons.append(f"Only {known.size} points of time are known.")
    ahead = forecast(busiest, horizon)
    expected = None
    if isinstance(ahead, Refused):
        reasons.extend(ahead.reasons)
    else:
        line = np.maximum(ahead.p90, 0)
        expected = float(line.max() if kills else np.quantile(line, 0.95))
        reasons.extend(ahead.reasons)
    request = MARGIN * max(peak if kills else p95, expected or 0.0)
    return Sizing(
        p50=p50,
        p95=p95,
        peak=peak,
        expected_peak=expected,
        request=request,
        limit=HARD_LIMIT_MARGIN * request if kills else 0.0,
        reasons=tuple(reasons),
    )


def _busiest(use: Floats) -> Floats:
    """Return the highest use of any replica at each point."""
    highest = np.where(np.isnan(use), -np.inf, use).max(axis=0, initial=-np.inf)
    return np.where(np.isinf(highest), np.nan, highest)
