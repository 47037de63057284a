"""
The rules that are made of an objective. Pure.

Two rules record how many events, and how many bad ones, there are a second over the shortest
window; all others are made of these, so that a long window reads few series. Of each window the
burn rate is recorded: the share of bad events, over the share that may be.

Alerts are those of Google's SRE workbook (chapter 5, "Alerting on SLOs", sixth approach): a page
when 2 % of the budget went in a 672nd of the window, or 5 % in a 112th, a ticket when 10 % went in
a 28th, or in three of them; of 28 days an hour, 6 hours, a day and three days. The same must hold
for a twelfth of that time, so that the alert ends soon after its cause.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from telemetry.objectives.model import HOUR_MS, MINUTE_MS
from telemetry.promql.numbers import number
from telemetry.rules.model import Group, Rule, duration_text


if TYPE_CHECKING:
    from telemetry.objectives.model import Objective

GROUP_PREFIX = "objectives."
"""What the ids of these rule groups begin with; nobody else's do."""

EVENTS = "objective:events:rate"
BAD_EVENTS = "objective:bad_events:rate"
BURN_RATE = "objective:burn_rate"
BUDGET_REMAINING = "objective:budget_remaining"
PAGE, TICKET = "page", "ticket"
ALERTS = {PAGE: "ErrorBudgetBurnsFast", TICKET: "ErrorBudgetBurns"}

_PARTS = ((1, 672, 0.02, PAGE), (1, 112, 0.05, PAGE), (1, 28, 0.1, TICKET), (3, 28, 0.1, TICKET))
"""Of the window this over that; which share of the budget in that time; what it is worth."""

_SHORT = 12
_INTERVAL_MS_MAX = 30_000
_BUDGET_INTERVAL_MS_MAX = 120_000
"""A query finds what is recorded for five minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Windows that an alert looks at together."""

    long_ms: int
    short_ms: int
    factor: float
    """The burn rate beyond which it fires."""

    severity: str


def pairs_of(objective: Objective) -> list[Pair]:
    """
    Return what the alerts of *objective* look at, by rising windows.

    A burn rate that couldn't be reached if every event were bad is left out.
    """
    found = []
    for over, under, share, severity in _PARTS:
        long_ms = _whole(objective.window_ms * over / under)
        factor = share * objective.window_ms / long_ms
        if factor * objective.budget < 1:
            short_ms = _whole(long_ms / _SHORT)
            found.append(Pair(long_ms=long_ms, short_ms=short_ms, factor=factor, severity=severity))
    return found


def windows_of(objective: Objective) -> list[int]:
    """Return the windows, shorter than the objective's, that burn rates are recorded of."""
    lengths = [_whole(objective.window_ms * over / under) for over, under, _, _ in _PARTS]
    return sorted({*lengths, *(_whole(length / _SHORT) for length in lengths)})


def group_ids(objective_id: str) -> tuple[str, str]:
    """Return the ids of the rule groups of an objective."""
    return f"{GROUP_PREFIX}{objective_id}", f"{GROUP_PREFIX}{objective_id}.budget"


def groups_of(objective: Objective) -> dict[str, Group]:
    """Return the rule groups of *objective*, by their ids."""
    windows = windows_of(objective)
    own, budget = group_ids(objective.id)
    rules = [*_rates(objective, windows[0]), *(_burn(objective, one) for one in windows)]
    if objective.alerts:
        rules += _alerts(objective)
    interval_ms = max(1_000, min(_INTERVAL_MS_MAX, windows[0] // 10))
    budget_ms = max(MINUTE_MS, min(_BUDGET_INTERVAL_MS_MAX, objective.window_ms // 8_064))
    name = f"objectives/{objective.id}"
    return {
        own: Group(name=name, interval_ms=interval_ms, rules=tuple(rules)),
        budget: Group(
            name=f"{name} budget", interval_ms=budget_ms, rules=tuple(_budget(objective))
        ),
    }


def burn_query(objective: Objective, window_ms: int) -> str:
    """Return the burn rate over a window, in PromQL over what is recorded."""
    window = duration_text(window_ms)
    chosen = f'{{objective="{objective.id}"}}[{window}]'
    bad, events = f"sum_over_time({BAD_EVENTS}{chosen})", f"sum_over_time({EVENTS}{chosen})"
    return f"{bad} / ({events} > 0) / {number(objective.budget)}"


def _rates(objective: Objective, window_ms: int) -> list[Rule]:
    by = f"sum by ({', '.join(objective.group_by)}) "
    window = duration_text(window_ms)
    total = f"{by}(rate({objective.total}[{window}]))"
    part = f"({by}(rate({objective.bad or objective.good}[{window}])) or {total} * 0)"
    bad = part if objective.bad else f"clamp_min({total} - {part}, 0)"
    labels = (("objective", objective.id),)
    return [
        Rule(record=EVENTS, expr=total, labels=labels),
        Rule(record=BAD_EVENTS, expr=bad, labels=labels),
    ]


def _burn(objective: Objective, window_ms: int) -> Rule:
    return Rule(
        record=BURN_RATE,
        expr=burn_query(objective, window_ms),
        labels=(("window", duration_text(window_ms)),),
    )


def _budget(objective: Objective) -> list[Rule]:
    window = duration_text(objective.window_ms)
    chosen = f'{BURN_RATE}{{objective="{objective.id}", window="{window}"}}'
    return [
        _burn(objective, objective.window_ms),
        Rule(record=BUDGET_REMAINING, expr=f"1 - {chosen}"),
    ]


def _alerts(objective: Objective) -> list[Rule]:
    found = []
    policies = {PAGE: objective.page_policy, TICKET: objective.ticket_policy}
    title = (objective.title or objective.id).replace("{{", "{ {")
    for severity, policy in policies.items():
        looks = [_beyond(objective, one) for one in pairs_of(objective) if one.severity == severity]
        if not looks:
            continue
        found.append(
            Rule(
                alert=ALERTS[severity],
                expr=f"max without (window) ({' or '.join(looks)})",
                labels=tuple(sorted({**dict(objective.labels), "severity": severity}.items())),
                annotations=(
                    (
                        "summary",
                        f"{title}: the error budget burns {{{{ $value | humanize }}}} times"
                        " as fast as it may",
                    ),
                ),
                escalation=policy,
            )
        )
    return found


def _beyond(objective: Objective, pair: Pair) -> str:
    def burning(window_ms: int) -> str:
        window = duration_text(window_ms)
        return (
            f'{BURN_RATE}{{objective="{objective.id}", window="{window}"}}'
            f" > {number(round(pair.factor, 3))}"
        )

    return f"({burning(pair.long_ms)} and ignoring (window) {burning(pair.short_ms)})"


def _whole(ms: float) -> int:
    """Return *ms* in whole minutes, or hours where there are many; at least one minute."""
    unit = HOUR_MS if ms >= 3 * HOUR_MS else MINUTE_MS
    return max(MINUTE_MS, round(ms / unit) * unit)
