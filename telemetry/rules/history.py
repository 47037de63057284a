"""What a rule would have done: its expression over a past range, through the same states."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from telemetry.rules.model import alert_labels
from telemetry.rules.states import Found, Happened, Holds, Phase, RuleState, step


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from telemetry.promql.engine import Answer
    from telemetry.promql.labels import Labels
    from telemetry.rules.states import Timing

EPISODES_MAX = 1_000
"""Firings that are listed; all are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """One firing. Unix milliseconds."""

    labels: Labels
    active_ms: int
    fired_ms: int
    resolved_ms: int
    """0: it was firing at the end."""

    value: float
    """When it began to fire."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What would have happened."""

    firings: int
    median_ms: int
    """How long half of the firings lasted at most; those that were still firing up to the end."""

    episodes: tuple[Episode, ...]
    pendings: int
    """Times that a condition held and ended before `for` had passed."""


def replay(
    answer: Answer,
    *,
    timing: Timing,
    alert: str,
    added: Labels,
    grid: tuple[int, int, int],
    begins: Callable[[float], bool] | None = None,
) -> History:
    """
    Return what a rule would have done.

    Args:
        answer: Its expression over *grid*: start, end and step in milliseconds.
        added: The rule's own labels.
        begins: Whether an alert that doesn't fire may begin to, by the value; None: always.

    """
    start_ms, end_ms, step_ms = grid
    holding: dict[int, dict[Labels, Holds]] = {}
    for series in answer.series:
        labels = alert_labels(series.labels, added, alert)
        for at, value in zip(series.ts.tolist(), series.values.tolist(), strict=True):
            holding.setdefault(at, {})[labels] = Holds(value=value)
    state = RuleState()
    firing: dict[Labels, Episode] = {}
    done: list[Episode] = []
    firings = pendings = 0
    for at in range(start_ms, end_ms + 1, step_ms):
        found = holding.get(at)
        if found is None and not state.alerts:
            continue
        now = _beginning(found or {}, state, begins)
        state, events = step(timing, state, at, Found(holding=now))
        for event in events:
            one = event.alert
            if event.what is Happened.FIRING:
                firings += 1
                firing[one.labels] = Episode(
                    labels=one.labels,
                    active_ms=one.active_ms,
                    fired_ms=one.fired_ms,
                    resolved_ms=0,
                    value=one.value,
                )
            elif event.what is Happened.RESOLVED:
                episode = firing.pop(one.labels)
                done.append(_closed(episode, one.resolved_ms))
            elif event.what is Happened.ENDED:
                pendings += 1
    done += [firing[labels] for labels, one in state.alerts.items() if one.phase is Phase.FIRING]
    return History(
        firings=firings,
        median_ms=_median(done, end_ms),
        episodes=tuple(sorted(done, key=lambda one: one.fired_ms)[:EPISODES_MAX]),
        pendings=pendings,
    )


def _beginning(
    found: dict[Labels, Holds], state: RuleState, begins: Callable[[float], bool] | None
) -> dict[Labels, Holds]:
    """Return what of *found* holds: all of it, or what fires and what begins to."""
    if begins is None:
        return found
    firing = {labels for labels, one in state.alerts.items() if one.phase is Phase.FIRING}
    return {k: v for k, v in found.items() if k in firing or begins(v.value)}


def grid_of(start_ms: int, end_ms: int, interval_ms: int, steps_max: int) -> tuple[int, int, int]:
    """Return the grid to evaluate on: each interval, or coarser where that were too many."""
    step_ms = interval_ms
    if (end_ms - start_ms) // step_ms >= steps_max:
        needed = -(-(end_ms - start_ms) // (steps_max - 1))
        step_ms = -(-needed // interval_ms) * interval_ms
    first = -(-start_ms // step_ms) * step_ms
    return min(first, end_ms), end_ms, step_ms


def _closed(episode: Episode, resolved_ms: int) -> Episode:
    return Episode(
        labels=episode.labels,
        active_ms=episode.active_ms,
        fired_ms=episode.fired_ms,
        resolved_ms=resolved_ms,
        value=episode.value,
    )


def _median(episodes: Sequence[Episode], end_ms: int) -> int:
    if not episodes:
        return 0
    return int(statistics.median((one.resolved_ms or end_ms) - one.fired_ms for one in episodes))
