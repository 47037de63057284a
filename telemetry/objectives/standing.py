"""How objectives stand: what is left of their budgets, and how fast it is used up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from telemetry.objectives.rules import BURN_RATE, burn_query, windows_of
from telemetry.promql.labels import NAME, get, without
from telemetry.rules.model import duration_text


if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from telemetry.objectives.model import Objective
    from telemetry.promql.engine import Series
    from telemetry.promql.labels import Labels
    from telemetry.query.queries import Queries

STANDINGS_MAX = 1_000
"""Sets of labels of one objective that are told of."""

_OURS = (NAME, "objective", "window")


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One budget of an objective."""

    labels: Labels
    rates: Mapping[int, float] = field(default_factory=dict)
    """Burn rates by window in milliseconds, that of the objective among them."""

    spent: float
    """Share of the budget that is used up; 1 is all of it."""

    exhaust_ms: int = 0
    """When it will be used up, Unix milliseconds; 0: not at the present rate, or it is already."""


async def standings(
    queries: Queries, objectives: Sequence[Objective], at_ms: int, *, tenant: str
) -> dict[str, list[Standing]]:
    """
    Return how each of *objectives* stands at *at_ms*, by their ids, the least budget first.

    Raises:
        Unavailable: QUERY_TIMED_OUT, STORE_FAILED.
        Overloaded: QUERY_QUEUE_FULL.

    """
    if not objectives:
        return {}
    ids = "|".join(one.id for one in objectives)
    answer = await queries.instant(f'{BURN_RATE}{{objective=~"{ids}"}}', at_ms, tenant=tenant)
    recorded: dict[str, list[Series]] = {}
    for series in answer.series:
        recorded.setdefault(get(series.labels, "objective"), []).append(series)
    found = {}
    for one in objectives:
        rates = by_labels(one, recorded.get(one.id, ()))
        if rates and not any(one.window_ms in each for each in rates.values()):
            # Recorded every few minutes: it is new.
            window_ms = one.window_ms
            whole = await queries.instant(burn_query(one, window_ms), at_ms, tenant=tenant)
            for series in whole.series:
                labels = without(series.labels, _OURS)
                rates.setdefault(labels, {})[window_ms] = float(series.values[-1])
        found[one.id] = ordered(one, rates, at_ms)
    return found


def by_labels(objective: Objective, recorded: Iterable[Series]) -> dict[Labels, dict[int, float]]:
    """Return the burn rates by labels and window. Pure."""
    windows = {duration_text(ms): ms for ms in (*windows_of(objective), objective.window_ms)}
    rates: dict[Labels, dict[int, float]] = {}
    for series in recorded:
        window_ms = windows.get(get(series.labels, "window"))
        if window_ms is not None:  # Else of what it was before a change.
            rates.setdefault(without(series.labels, _OURS), {})[window_ms] = float(
                series.values[-1]
            )
    return rates


def ordered(
    objective: Objective, rates: Mapping[Labels, Mapping[int, float]], at_ms: int
) -> list[Standing]:
    """Return the budgets, the one that is spent most first. Pure."""
    found = []
    for labels, each in rates.items():
        spent = each.get(objective.window_ms, 0.0)
        found.append(
            Standing(
                labels=labels,
                rates=dict(sorted(each.items())),
                spent=spent,
                exhaust_ms=_exhausted(objective, each, spent, at_ms),
            )
        )
    found.sort(key=lambda one: (-one.spent, one.labels))
    return found[:STANDINGS_MAX]


def _exhausted(objective: Objective, rates: Mapping[int, float], spent: float, at_ms: int) -> int:
    """Return when the budget is used up; 0: never, at this rate, or it is already."""
    near = min(rates, key=lambda window_ms: abs(window_ms - objective.window_ms / 112))
    rate = rates[near]
    # Below 1 what is used up grows no further than that: old events leave the window.
    if spent >= 1 or rate <= 1:
        return 0
    return at_ms + round((1 - spent) * objective.window_ms / rate)
