"""
In which order a stream is told of a change: make before break, with ACKs as barriers.

    secrets, clusters, endpoints     Envoy holds the ACK back until they are warm
    listeners, scopes, routes and    nothing points at what isn't there
      filter configs come
    scopes and listeners go          last of what points at it goes first
    routes and filter configs go
    clusters go
    endpoints and secrets go

A stream works towards one snapshot until it holds all of it, and only then looks at the newest:
changes that come meanwhile are told as one. A client that doesn't answer holds the plan up for
`barrier_timeout` at each barrier, not for ever: a cluster may never get warm.

Endpoints and secrets point at nothing, so their newest goes as soon as the client has answered the
last, whatever else it is waited for: an endpoint that dies must not wait for a cluster to get warm.

A client that comes back says type after type what it holds from before. Until it has had time to
say it all (`settle`) it loses nothing: what looks obsolete may be in use by what is yet unsaid.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from gateway.xds.resources import BY_KEY, Resource, Resources, ResourceType, Snapshot, since


if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.xds.subscription import Push, Refusal, Request, Subscription

SubscriptionFactory = Callable[[ResourceType], "Subscription"]

_STAGES: tuple[tuple[tuple[str, ...], bool], ...] = (
    (("SDS", "CDS", "EDS"), False),
    (("LDS", "SRDS", "RDS", "ECDS"), False),
    (("SRDS", "LDS"), True),
    (("RDS", "ECDS"), True),
    (("CDS",), True),
    (("EDS", "SDS"), True),
)
"""Types, and whether what is obsolete of them goes now. Each stage waits for those before."""

_POINT_AT_NOTHING: Final = ("SDS", "EDS")


class Plan:
    """One stream's way from what its client holds to the newest snapshot. Pure."""

    def __init__(
        self, make: SubscriptionFactory, *, barrier_timeout: float, settle: float = 1.0
    ) -> None:
        """*barrier_timeout* and *settle* are in seconds of whatever clock `now` is read from."""
        self.subscriptions: dict[ResourceType, Subscription] = {}
        self.acked_revision = 0
        """The newest revision of which the client has acknowledged all it asked for."""
        self.acked: Snapshot | None = None
        """The snapshot of which that holds."""

        self._make = make
        self._barrier_timeout = barrier_timeout
        self._settle = settle
        self._settled_at: float | None = None
        """When what is obsolete may go; None: at once."""
        self._target: Snapshot | None = None
        self._newest = Snapshot()
        self._overtaken: Snapshot | None = None
        """The newest of which endpoints and secrets have been taken in before their turn."""
        self._warming: set[str] = set()
        """Clusters sent before the client has said what endpoints it holds."""
        self._doubts: dict[str, set[str]] = {}
        """By type, for subscriptions that are yet to come."""
        self._nonces = 0
        self._blocked_at: tuple[int, float] | None = None
        """The stage that waits, and since when."""

    @property
    def target_revision(self) -> int:
        """The revision the client is being taken to."""
        return self._target.revision if self._target is not None else 0

    @property
    def rests(self) -> bool:
        """Whether the client has asked for something, and answered all it was told."""
        return bool(self.subscriptions) and not any(one.busy for one in self.subscriptions.values())

    def on_snapshot(self, snapshot: Snapshot) -> None:
        """Take note of the newest snapshot."""
        self._newest = snapshot

    def doubt(self, key: str, names: Iterable[str]) -> None:
        """Take note that the client may hold *names* of a type, though it doesn't say so."""
        subscription = self.subscriptions.get(BY_KEY[key])
        if subscription is None:
            self._doubts.setdefault(key, set()).update(names)
        else:
            subscription.doubt(names)

    def doubtful(self) -> dict[str, frozenset[str]]:
        """Return, by type, what the client may hold without knowing it, were it to leave now."""
        found = {kind.key: one.doubtful() for kind, one in self.subscriptions.items()}
        unasked = {key: frozenset(names) for key, names in self._doubts.items()}
        return {key: names for key, names in (unasked | found).items() if names}

    def on_request(self, kind: ResourceType, request: Request, now: float) -> Sequence[Refusal]:
        """Take note of a request; returns what the client refused."""
        if kind in self.subscriptions:
            return self.subscriptions[kind].on_request(request, now)
        made = self.subscriptions[kind] = self._make(kind)
        if request.held and self._settled_at is None:
            self._settled_at = now + self._settle
        refusals = made.on_request(request, now)
        made.doubt(self._doubts.pop(kind.key, ()))
        if kind.key == "EDS":
            made.resend(self._warming)
            self._warming.clear()
        return refusals

    def step(self, now: float) -> list[Push]:
        """Return what is to be sent now, in this order."""
        if self._settled_at is not None and now >= self._settled_at:
            self._settled_at = None
        pushes: list[Push] = []
        complete = self._target is None or self._run(self._target, now, pushes)
        if complete and self._newest is not self._target:
            self._target = self._newest
            self._run(self._target, now, pushes)
        elif self._target is not None and not complete:
            self._overtake(self._target, now, pushes)
        self._beat(now, pushes)
        return pushes

    def deadline(self) -> float | None:
        """Return when `step` will go on without an answer, or None: there is nothing to await."""
        times = [] if self._settled_at is None else [self._settled_at]
        if self._blocked_at is not None:
            times.append(self._blocked_at[1] + self._barrier_timeout)
        beats = [one.next_beat() for one in self.subscriptions.values()]
        times += [at for at in beats if at is not None]
        return min(times, default=None)

    def _overtake(self, target: Snapshot, now: float, pushes: list[Push]) -> None:
        """Have the newest of what points at nothing be sent before its turn; what is gone stays."""
        if self._overtaken is not self._newest and self._newest is not target:
            self._overtaken = self._newest
            tables: dict[str, Resources] = dict(target.resources)
            for key in _POINT_AT_NOTHING:
                tables[key] = _merged(target.of(BY_KEY[key]), self._newest.of(BY_KEY[key]))
            self._target = target = dataclasses.replace(target, resources=tables)
        for key in _POINT_AT_NOTHING:
            self._offer(BY_KEY[key], target, now, pushes, removals=False)

    def _beat(self, now: float, pushes: list[Push]) -> None:
        """Keep alive what would end, whoever is waited for."""
        if self._target is None:
            return
        for kind, subscription in self.subscriptions.items():
            push = subscription.beat(self._target.of(kind), str(self._nonces + 1), now)
            if push is not None:
                self._nonces += 1
                pushes.append(push)

    def _run(self, target: Snapshot, now: float, pushes: list[Push]) -> bool:
        """Go as far as the barriers let; returns whether *target* is reached or given up."""
        for number, (keys, removals) in enumerate(_STAGES):
            if removals and self._settled_at is not None:
                break
            waits = False
            for key in keys:
                waits = self._offer(BY_KEY[key], target, now, pushes, removals=removals) or waits
            if waits and not self._given_up(number, now):
                return False
        if not any(one.busy for one in self.subscriptions.values()):
            self._blocked_at = None
            self.acked = target
            self.acked_revision = target.revision
        return True

    def _offer(
        self,
        kind: ResourceType,
        target: Snapshot,
        now: float,
        pushes: list[Push],
        *,
        removals: bool,
    ) -> bool:
        subscription = self.subscriptions.get(kind)
        if subscription is None:
            return False
        push = subscription.offer(
            target.of(kind),
            str(self._nonces + 1),
            removals=removals,
            now=now,
            absences=target.absences_of(kind),
        )
        if push is not None:
            self._nonces += 1
            pushes.append(push)
            if kind.key == "CDS":
                self._warm_up([item.name for item in push.upserts])
        return subscription.busy

    def _warm_up(self, clusters: Sequence[str]) -> None:
        """A cluster that changes warms up again, and Envoy doesn't ask for its endpoints."""
        endpoints = self.subscriptions.get(BY_KEY["EDS"])
        if endpoints is None:
            self._warming.update(clusters)
        else:
            endpoints.resend(clusters)

    def _given_up(self, stage: int, now: float) -> bool:
        """Return whether *stage* has waited long enough; begins its wait if it is new."""
        if self._blocked_at is None:
            self._blocked_at = (stage, now)
            return False
        first, since = self._blocked_at
        over = now >= since + self._barrier_timeout
        if first > stage or (first < stage and not over):
            self._blocked_at = (stage, now)
            return False
        # Where an earlier stage is given up the order is lost already: wait no more.
        return over


def _merged(ours: Resources, newest: Resources) -> Resources:
    """Return *newest*, with what only *ours* has."""
    differing = since(newest, ours)
    names = {*ours, *newest} if differing is None else differing
    if all(name in newest for name in names if name in ours):
        return newest
    changes: Mapping[str, Resource | None] = {n: newest[n] for n in names if n in newest}
    return ours.with_changes(changes)
