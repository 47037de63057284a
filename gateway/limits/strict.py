"""Strict limits, decided one call after the other. Pure: time is an argument."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from gateway.limits.reach import LIMIT_KEY, edition
from meshkit.gcra import NS, Decision, Gcra


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gateway.model import Limit

BUCKETS_MAX: Final = 200_000
"""Buckets remembered, some 0.4 KiB each; beyond it those unused for longest are forgotten."""

Descriptor = tuple[tuple[str, str], ...]
"""Keys and values in their order; the first names the limit."""

_Key = tuple[str, Descriptor]


@dataclass(slots=True)
class Counted:
    """One bucket."""

    limit: Limit
    descriptor: Descriptor
    state: int = 0
    allowed: int = 0
    refused: int = 0
    decided_at_ns: int = 0
    began_at_ns: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the limits say to one call."""

    allowed: bool
    limit: Limit | None = None
    """The one that refuses, else the one with least left; None: no limit is about the call."""

    decision: Decision | None = None


@dataclass(slots=True)
class _Rule:
    limit: Limit
    edition: str
    gcra: Gcra


NOTHING: Final = Verdict(allowed=True)


@dataclass(slots=True)
class StrictLimits:
    """
    Every bucket of the strict limits, in the one process that decides.

    A call that several limits are about is taken from all buckets or from none.
    """

    limit_of: Callable[[str], Limit | None]
    """Returns the strict limit with a name, if it is one now."""

    _rules: dict[str, _Rule] = field(default_factory=dict)
    _buckets: dict[_Key, Counted] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._buckets)

    def buckets(self) -> Iterator[Counted]:
        """Yield what there is, those used last at the end."""
        yield from self._buckets.values()

    def ask(self, descriptors: Sequence[tuple[Descriptor, int]], now_ns: int) -> Verdict:
        """
        Decide on a call.

        Args:
            descriptors: What it is counted by, and what it costs there; 0: what the limit says.
            now_ns: Of a clock that never goes back.

        """
        taken: list[tuple[Counted, Decision]] = []
        refusal: Verdict | None = None
        least: Verdict = NOTHING
        for descriptor, cost in descriptors:
            rule = self._rule(descriptor)
            if rule is None:
                continue
            counted = self._bucket(rule, descriptor, now_ns)
            decision = rule.gcra.decide(counted.state, now_ns, cost or rule.limit.cost)
            taken.append((counted, decision))
            verdict = Verdict(decision.allowed or rule.limit.shadow, rule.limit, decision)
            if not verdict.allowed and (refusal is None or _later(decision, refusal)):
                refusal = verdict
            if least.decision is None or decision.remaining < least.decision.remaining:
                least = verdict
        for counted, decision in taken:
            counted.decided_at_ns = now_ns
            if not decision.allowed:
                counted.refused += 1
            elif refusal is None:
                counted.state = decision.state
                counted.allowed += 1
        return refusal or least

    def clear(self) -> None:
        """Forget every bucket: another process decides now."""
        self._buckets.clear()

    def _rule(self, descriptor: Descriptor) -> _Rule | None:
        if not descriptor or descriptor[0][0] != LIMIT_KEY:
            return None
        name = descriptor[0][1]
        limit = self.limit_of(name)
        if limit is None:
            self._rules.pop(name, None)
            return None
        rule = self._rules.get(name)
        if rule is None or rule.limit is not limit:
            burst = max(limit.most_at_once, limit.cost)
            gcra = Gcra(limit.requests, round(limit.interval.total_seconds()) * NS, burst)
            rule = self._rules[name] = _Rule(limit, edition(limit), gcra)
        return rule

    def _bucket(self, rule: _Rule, descriptor: Descriptor, now_ns: int) -> Counted:
        key = (rule.edition, descriptor)
        counted = self._buckets.pop(key, None)
        if counted is None:
            while len(self._buckets) >= BUCKETS_MAX:
                del self._buckets[next(iter(self._buckets))]
            counted = Counted(rule.limit, descriptor, began_at_ns=now_ns)
        self._buckets[key] = counted  # Behind all others: used last.
        return counted


def _later(decision: Decision, than: Verdict) -> bool:
    other = than.decision
    return other is None or decision.retry_after_ns > other.retry_after_ns


def told(verdict: Verdict) -> list[dict[str, Any]]:
    """Return the RateLimit headers of a verdict (draft-ietf-httpapi-ratelimit-headers-10)."""
    limit, decision = verdict.limit, verdict.decision
    if limit is None or decision is None:
        return []
    name = limit.name.removeprefix("limits/")
    window = round(limit.interval.total_seconds())
    reset = math.ceil(decision.reset_after_ns / NS)
    return [
        {"key": "ratelimit-policy", "value": f'"{name}";q={limit.requests};w={window}'},
        {"key": "ratelimit", "value": f'"{name}";r={decision.remaining};t={reset}'},
    ]
