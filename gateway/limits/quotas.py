"""All buckets of all quotas: reports in, assignments out. Pure: time is an argument."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.limits.allocator import Bucket, Part
from gateway.limits.envoy_quirks import ALLOW, TTL_S, strategy, told_apart
from gateway.limits.reach import EDITION_KEY, LIMIT_KEY, edition


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gateway.model import Limit

BUCKETS_MAX: Final = 100_000
"""Buckets that are divided at once; of what comes on top edges are told to let go."""

IDLE_S: Final = 30.0
"""A bucket without calls for so long is abandoned: Envoy would report it for ever."""

BucketId = tuple[tuple[str, str], ...]
"""Keys and values, sorted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What an edge says of a bucket since its last report."""

    bucket: BucketId
    allowed: int
    refused: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """What an edge is told of a bucket."""

    bucket: BucketId
    strategy: Any | None
    """A `RateLimitStrategy` to keep for `ASSIGNMENT_TTL`; None: abandon it."""


@dataclass(slots=True)
class _Divided:
    limit: Limit
    bucket: Bucket
    sent: dict[str, Any]
    """By edge, the strategy it has."""


class Quotas:
    """
    Every bucket that this replica of the gateway knows of.

    Args:
        limit_of: Returns the quota with a name, if it is one now.

    """

    def __init__(self, limit_of: Callable[[str], Limit | None]) -> None:
        self._limit_of = limit_of
        self._buckets: dict[BucketId, _Divided] = {}

    def __len__(self) -> int:
        return len(self._buckets)

    def buckets(self) -> Iterator[tuple[BucketId, Limit, Bucket]]:
        """Yield what there is, in no order."""
        for key, one in self._buckets.items():
            yield key, one.limit, one.bucket

    def report(self, edge: str, usages: Iterable[Usage], now: float) -> dict[str, list[Action]]:
        """Take a report of *edge*; returns what edges are to be told, it first of all."""
        told: dict[str, list[Action]] = {edge: []}
        for usage in usages:
            divided = self._bucket_of(usage.bucket)
            if divided is None:
                told[edge].append(Action(bucket=usage.bucket, strategy=None))
                continue
            self._take(divided, edge, usage, now)
            if edge not in divided.bucket.parts:
                self._drop_if_empty(usage.bucket)
                told[edge].append(Action(bucket=usage.bucket, strategy=None))
            for one in self._changed(divided, edge, now):
                told.setdefault(one, []).append(self._assignment(usage.bucket, divided, one, now))
        return told

    def gone(self, edge: str) -> None:
        """Note that *edge* can't be told anything now; it keeps what it has until that ends."""
        for divided in self._buckets.values():
            part = divided.bucket.parts.get(edge)
            if part is not None and not part.foreign:
                part.connected = False

    def tick(self, now: float) -> None:
        """Forget what has ended; call it each few seconds."""
        for key, divided in list(self._buckets.items()):
            divided.bucket.forget(now)
            if self._current(key) is None:
                del self._buckets[key]
            else:
                self._drop_if_empty(key)

    def hear(self, edge: str, key: BucketId, demand: float, assigned: float, now: float) -> None:
        """Take what another replica says of an edge of its own."""
        divided = self._bucket_of(key)
        if divided is None:
            return
        own = divided.bucket.parts.get(edge)
        if own is not None and own.connected and not own.foreign:
            return
        divided.bucket.parts[edge] = Part(
            reported_at=now,
            demand=demand,
            assigned=assigned,
            expires_at=now + TTL_S,
            foreign=True,
            busy_at=now,
        )

    def _take(self, divided: _Divided, edge: str, usage: Usage, now: float) -> None:
        part = divided.bucket.parts.get(edge)
        if part is None or part.foreign:
            part = divided.bucket.parts[edge] = Part(reported_at=now, busy_at=now)
            divided.sent.pop(edge, None)
        part.connected = True
        limit = divided.limit
        allowed, refused = usage.allowed, usage.refused
        if limit.shadow:
            burst = limit.most_at_once / limit.cost * part.assigned / divided.bucket.rate
            refused = part.exceeding(allowed, burst, now)
            allowed -= refused
        part.take(allowed, refused, now)
        if now - part.busy_at > IDLE_S:
            del divided.bucket.parts[edge]
            divided.sent.pop(edge, None)

    def _changed(self, divided: _Divided, edge: str, now: float) -> list[str]:
        """Return the edges to be told, the reporting one in any case: its assignment lives on."""
        bucket = divided.bucket
        bucket.forget(now)
        # Foreign parts end unless they are heard of again.
        for name in [n for n, p in bucket.parts.items() if p.foreign and p.expires_at <= now]:
            del bucket.parts[name]
        changed = bucket.rebalance()
        if edge in bucket.parts and edge not in changed:
            changed.append(edge)
        return changed

    def _assignment(self, key: BucketId, divided: _Divided, edge: str, now: float) -> Action:
        part = divided.bucket.parts[edge]
        limit, rate = divided.limit, divided.bucket.rate
        burst = limit.most_at_once / limit.cost * part.assigned / rate
        part.expires_at = now + TTL_S
        old = divided.sent.get(edge)
        wanted = ALLOW if limit.shadow else strategy(part.assigned, burst)
        new = told_apart(wanted, old)
        divided.sent[edge] = new
        return Action(bucket=key, strategy=new)

    def _bucket_of(self, key: BucketId) -> _Divided | None:
        limit = self._current(key)
        if limit is None:
            self._buckets.pop(key, None)
            return None
        found = self._buckets.get(key)
        if found is None and len(self._buckets) < BUCKETS_MAX:
            rate = limit.requests / limit.cost / limit.interval.total_seconds()
            found = self._buckets[key] = _Divided(limit, Bucket(rate=rate), {})
        return found

    def _current(self, key: BucketId) -> Limit | None:
        """Return the limit of a bucket; None: it is gone, or counts otherwise by now."""
        said = dict(key)
        limit = self._limit_of(said.get(LIMIT_KEY, ""))
        return limit if limit is not None and edition(limit) == said.get(EDITION_KEY) else None

    def _drop_if_empty(self, key: BucketId) -> None:
        if not self._buckets[key].bucket.parts:
            del self._buckets[key]
