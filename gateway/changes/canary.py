"""
Whether a change that some edges have first reaches the others. Pure: times are arguments.

    WATCH ──▶ PROMOTE      it was watched long enough, and has proven itself
      └─────▶ ROLL_BACK    an edge refuses it; errors; slow; or nobody can tell

Nothing is promoted unseen: without telemetry, or an edge's acknowledgement, it is watched for
longer, and rolled back in the end.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Final


REQUESTS_MIN: Final = 20
"""Answers at the first edges, fewer of which say nothing about their share of errors."""

FRESH_S: Final = 10.0
"""How old the newest that telemetry has of the edges may be."""

EXTRA_FACTOR: Final = 2.0
EXTRA_S: Final = 60.0
"""How much longer than its `bake` a change may be watched that nobody can judge."""

ERROR_FACTOR: Final = 2.0
"""The first edges' share of errors over the others', above which it is the change's."""


class Action(enum.Enum):
    """What to do with the change."""

    WATCH = "watch"
    PROMOTE = "promote"
    ROLL_BACK = "roll_back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a change is judged by."""

    bake_s: float = 60.0
    error_percent_max: float = 5.0
    latency_factor_max: float = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Answers of the services that a change is about, since it began."""

    requests: float = 0.0
    errors: float = 0.0
    """Server errors among them: 5xx, or gRPC's codes for such."""

    seconds: float = 0.0
    """What they took together."""

    @property
    def error_percent(self) -> float:
        """Share of errors."""
        return 100 * self.errors / self.requests if self.requests else 0.0

    @property
    def mean_s(self) -> float:
        """Mean latency; 0 if there were none."""
        return self.seconds / self.requests if self.requests else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What telemetry knows."""

    first: Traffic
    others: Traffic
    before: Traffic = field(default_factory=Traffic)
    """Of the first edges, before the change."""

    age_s: float
    """Of the newest it has of the first edges."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, and why; for people."""

    action: Action
    reason: str = ""


class Canary:
    """One change under watch."""

    def __init__(self, rules: Rules, edges: frozenset[str], began: float) -> None:
        """*edges* have it first; *began* is in seconds of the clock that `now` is read from."""
        self._rules = rules
        self._edges = edges
        self._began = began
        self._acknowledged: set[str] = set()
        self._refusal = ""
        self._evidence: Evidence | None = None
        self._unheard = "telemetry has not been asked yet"

    def acknowledged(self, node: str) -> None:
        """Take note that an edge has all of the change."""
        self._acknowledged.add(node)

    def refused(self, node: str, error: str) -> None:
        """Take note that an edge, or the preflight, refuses some of it."""
        self._refusal = self._refusal or f"{node} refuses it: {error}"

    def told(self, evidence: Evidence) -> None:
        """Take note of what telemetry knows by now."""
        self._evidence = evidence
        self._unheard = (
            f"telemetry has heard nothing of the first edges for {evidence.age_s:.0f} s"
            if evidence.age_s > FRESH_S
            else ""
        )

    def untold(self, why: str) -> None:
        """Take note that telemetry can't tell, and why."""
        self._unheard = why

    def decide(self, now: float) -> Decision:
        """Return what to do at *now*."""
        bad = self._refusal or self._errors() or self._latency()
        if bad:
            return Decision(Action.ROLL_BACK, bad)
        over = now - self._began - self._rules.bake_s
        if over < 0:
            return Decision(Action.WATCH, self._unheard)
        missing = sorted(self._edges - self._acknowledged)
        why = f"{missing[0]} has not acknowledged it" if missing else self._unheard
        if not why:
            return Decision(Action.PROMOTE, self._proof())
        if over < max(EXTRA_S, EXTRA_FACTOR * self._rules.bake_s):
            return Decision(Action.WATCH, why)
        return Decision(Action.ROLL_BACK, why)

    def _errors(self) -> str:
        seen = self._evidence
        if seen is None or seen.first.requests < REQUESTS_MIN:
            return ""
        share, other = seen.first.error_percent, seen.others.error_percent
        if share <= self._rules.error_percent_max or share <= ERROR_FACTOR * other:
            return ""
        return f"{share:.1f} % server errors at the first edges, {other:.1f} % at the others"

    def _latency(self) -> str:
        seen = self._evidence
        if seen is None or seen.first.requests < REQUESTS_MIN:
            return ""
        # Without others to compare with: what these edges did before.
        by_others = seen.others.requests >= REQUESTS_MIN
        usual = seen.others if by_others else seen.before
        if usual.requests < REQUESTS_MIN or usual.mean_s <= 0:
            return ""
        if seen.first.mean_s <= self._rules.latency_factor_max * usual.mean_s:
            return ""
        whom = "the others" if by_others else "them before"
        return (
            f"requests take {seen.first.mean_s * 1000:.1f} ms at the first edges,"
            f" {usual.mean_s * 1000:.1f} ms at {whom}"
        )

    def _proof(self) -> str:
        assert self._evidence is not None, "nothing is promoted unseen"
        first = self._evidence.first
        return f"{first.requests:.0f} requests at the first edges, {first.errors:.0f} failed"
