"""Objectives. Lengths of time are milliseconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from telemetry.promql.labels import Labels

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
MINUTE_MS = 60_000
WINDOW_MS = 28 * DAY_MS
"""Four whole weeks: each has as many weekends as every other."""

WINDOW_MS_MAX = 90 * DAY_MS
OBJECTIVES_MAX = 1_000
TARGET_MAX = 0.999999
GROUP_BY_MAX = 5
LABELS_MAX = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What is promised."""

    id: str
    title: str = ""
    description: str = ""
    target: float
    """Share of events that is to be good, above 0 and below 1."""

    window_ms: int = WINDOW_MS
    total: str
    """PromQL selector of the counters of all events."""

    bad: str = ""
    good: str = ""
    """The same of bad, or of good ones; one of the two is empty."""

    group_by: tuple[str, ...] = ()
    page_policy: str = ""
    ticket_policy: str = ""
    alerts: bool = True
    labels: Labels = ()

    @property
    def budget(self) -> float:
        """Share of events that may be bad."""
        return round(1 - self.target, 12)
