"""Rule groups, as Prometheus has them, and what we add."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from telemetry.promql.labels import make


if TYPE_CHECKING:
    from telemetry.promql.labels import Labels

ALERT_NAME = "alertname"
GROUPS_MAX = 10_000
RULES_MAX = 1_000
"""Rules of one group."""

SECOND_MS = 1_000

_DURATION = re.compile(
    r"(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?"
)
_UNITS_MS = (31_536_000_000, 604_800_000, 86_400_000, 3_600_000, 60_000, 1_000, 1)
_UNITS = ("y", "w", "d", "h", "m", "s", "ms")
DURATION_MS_MAX = 100 * _UNITS_MS[0]


class NoData(StrEnum):
    """What becomes of a firing alert when no selector of its rule finds a sample any more."""

    KEEP = "keep"
    """It stays, marked, for `NO_DATA_KEPT_MS`: that nothing is heard is no good news."""

    RESOLVE = "resolve"
    """It is resolved, as Prometheus does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule: it records, or it alerts."""

    record: str = ""
    """Name of the recorded series; empty: the rule alerts."""

    alert: str = ""
    """Name of the alert; empty: the rule records."""

    expr: str
    hold_ms: int = 0
    """`for`: how long the condition must hold before the alert fires."""

    keep_firing_ms: int = 0
    """`keep_firing_for`: how long the alert fires on after the condition has ended."""

    labels: Labels = ()
    annotations: Labels = ()
    no_data: NoData = NoData.KEEP
    recovery: float | None = None
    """The number up to which the alert fires on, once it does; None: that of `expr`."""

    escalation: str = ""
    """Policy by which it is told; empty: the default one."""

    @property
    def name(self) -> str:
        """What the rule is called."""
        return self.record or self.alert

    @property
    def key(self) -> str:
        """What makes it the same rule after a change of its group: its alerts live on."""
        identity = json.dumps([self.record, self.alert, self.expr, self.labels])
        return f"{self.name}/{hashlib.sha256(identity.encode()).hexdigest()[:12]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Rules that are evaluated together, in order."""

    name: str
    interval_ms: int = 0
    """How often; 0: as often as the settings say."""

    offset_ms: int = 0
    """`query_offset`: how far behind now it is evaluated."""

    limit: int = 0
    """Most series a rule may produce; 0: no limit."""

    labels: Labels = ()
    """Added to those of each rule, which count more."""

    rules: tuple[Rule, ...]

    def labels_of(self, rule: Rule) -> Labels:
        """Return the labels that *rule* adds; a template may stand in them, or nothing."""
        return tuple(sorted((dict(self.labels) | dict(rule.labels)).items()))


def parse_duration(text: str) -> int:
    """
    Return milliseconds of a duration such as `1h30m` or `0`.

    Raises:
        ValueError: It is none, or longer than a century.

    """
    if text == "0":
        return 0
    found = _DURATION.fullmatch(text)
    if not text or found is None or not any(found.groups()):
        raise ValueError(f"{text!r} is no duration such as 30s, 5m or 1h30m")
    total = sum(
        int(number) * unit
        for number, unit in zip(found.groups(), _UNITS_MS, strict=True)
        if number is not None
    )
    if total > DURATION_MS_MAX:
        raise ValueError(f"{text!r} is longer than a century")
    return total


def duration_text(ms: int) -> str:
    """Return *ms* as Prometheus writes durations: `1h30m`, `15s`, `0s`."""
    if ms == 0:
        return "0s"
    parts = []
    for unit, name in zip(_UNITS_MS, _UNITS, strict=True):
        # Years and weeks only where they come out even: 90d is no 12w6d.
        if name in {"y", "w"} and ms % unit:
            continue
        count, ms = divmod(ms, unit)
        if count:
            parts.append(f"{count}{name}")
    return "".join(parts)


def alert_labels(sample: Labels, added: Labels, name: str) -> Labels:
    """Return the labels of an alert: the sample's without its name, then the rule's."""
    kept = {key: value for key, value in sample if key != "__name__"}
    return make(kept | dict(added) | {ALERT_NAME: name})


def recorded_labels(sample: Labels, added: Labels, name: str) -> Labels:
    """Return the labels of a recorded series."""
    return make(dict(sample) | dict(added) | {"__name__": name})
