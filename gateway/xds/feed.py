"""The newest snapshots, what clients make of them, and who waits for them."""

from __future__ import annotations

import dataclasses
import enum
import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from gateway.xds import names
from gateway.xds.doubts import Doubts
from gateway.xds.resources import Snapshot
from gateway.xds.verdicts import Verdicts


if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from datetime import datetime

    from gateway.xds.plan import Plan
    from gateway.xds.resources import ResourceType
    from gateway.xds.subscription import Refusal, Request
    from gateway.xds.verdicts import Key, Verdict


class Flavour(enum.Enum):
    """
    What a client is configured as.

    A client's node says what it is: Envoy calls itself `envoy` in `user_agent_name`, whatever
    variant of the protocol it speaks; everything else is a gRPC client ("gRPC C-core" and so
    on) and gets only what gRPC's own xDS client supports. An Envoy of the cluster `preflight`
    takes no requests: it is there to say what it makes of a change.
    """

    EDGE = "edge"
    PROXYLESS = "proxyless"
    PREFLIGHT = "preflight"

    @classmethod
    def of(cls, user_agent_name: str, cluster: str = "") -> Flavour:
        """Return the flavour for a client that calls itself so."""
        if user_agent_name == "envoy" and cluster == cls.PREFLIGHT.value:
            return cls.PREFLIGHT
        return cls.EDGE if user_agent_name == "envoy" else cls.PROXYLESS


class Journal(Protocol):
    """What must outlive this process is told to it. Never blocks."""

    def on_verdict(self, flavour: Flavour, key: Key, verdict: Verdict) -> None:
        """Take note of a verdict, or that one is lifted."""

    def on_verdict_over(self, flavour: Flavour, key: Key, verdict: Verdict) -> None:
        """Take note that a verdict is of the past: its content is no longer wanted."""

    def on_doubts(self, node_id: str) -> None:
        """Take note that there is something else to remember of a node."""


class NoJournal:
    """Nothing is remembered."""

    def on_verdict(self, flavour: Flavour, key: Key, verdict: Verdict) -> None:
        """Do nothing."""

    def on_verdict_over(self, flavour: Flavour, key: Key, verdict: Verdict) -> None:
        """Do nothing."""

    def on_doubts(self, node_id: str) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What a request came to."""

    refusals: Sequence[Refusal] = ()
    accepted: bool = False
    """It acknowledges the response that was out."""


class Feed:
    """What is compiled, less what was refused, for the streams of this process. Pure."""

    def __init__(self, journal: Journal | None = None) -> None:
        journal = journal or NoJournal()
        self.verdicts = {
            flavour: Verdicts(
                changed=functools.partial(journal.on_verdict, flavour),
                ended=functools.partial(journal.on_verdict_over, flavour),
            )
            for flavour in Flavour
        }
        self.doubts = Doubts(changed=journal.on_doubts)
        self._compiled = {flavour: Snapshot() for flavour in Flavour}
        self._served = dict(self._compiled)
        self._denied: Callable[[str], Collection[str]] = lambda _: ()
        self._views_of: Snapshot | None = None
        self._views: dict[str, Snapshot] = {}
        """By SPIFFE id, what is left of `_views_of`."""

        self._first: _First | None = None
        self._wakers: dict[Flavour, set[Callable[[], None]]] = {f: set() for f in Flavour}

    def publish(self, flavour: Flavour, snapshot: Snapshot) -> None:
        """Make *snapshot* the newest and wake who waits."""
        self._compiled[flavour] = snapshot
        self.verdicts[flavour].forget(snapshot)
        self.reconsider(flavour)

    def reconsider(self, flavour: Flavour) -> None:
        """Apply the verdicts anew: one has been given or lifted."""
        served = self.verdicts[flavour].apply(self._compiled[flavour])
        if served is not self._served[flavour]:
            self._served[flavour] = served
            self._wake(flavour)
        if flavour is Flavour.EDGE and self._first is not None:
            self._first.verdicts.adopt(self.verdicts[flavour])
            if self._first.reconsider():
                self._wake(flavour)

    def serve_first(self, nodes: frozenset[str], snapshot: Snapshot | None) -> None:
        """Give edges of these names *snapshot*, whatever the others get; None: what all get."""
        before, ours = self._first, self.verdicts[Flavour.EDGE]
        if snapshot is None:
            self._first = None
            if before is not None:
                ours.absorb(before.verdicts)
                self.reconsider(Flavour.EDGE)
                self._wake(Flavour.EDGE)
            return
        if before is None or before.nodes != nodes:
            self._first = _First(nodes=nodes, verdicts=ours.fork())
            self._wake(Flavour.EDGE)
        assert self._first is not None, "made above"
        if self._first.compiled is not snapshot:
            self._first.compiled = snapshot
            self._first.verdicts.forget(snapshot)
            self.reconsider(Flavour.EDGE)

    def _wake(self, flavour: Flavour) -> None:
        for wake in list(self._wakers[flavour]):
            wake()

    def newest(self, flavour: Flavour, peer: str = "", node: str = "") -> Snapshot:
        """
        Return what is to be served now.

        Args:
            peer: The client's SPIFFE id, if that matters.
            node: Its name, if that matters.

        """
        first = self._first
        if first is not None and flavour is Flavour.EDGE and node in first.nodes:
            return first.served
        snapshot = self._served[flavour]
        if flavour is not Flavour.PROXYLESS or not peer:
            return snapshot
        if self._views_of is not snapshot:
            self._views_of, self._views = snapshot, {}
        if peer not in self._views:
            self._views[peer] = without(snapshot, self._denied(peer))
        return self._views[peer]

    def deny(self, denied: Callable[[str], Collection[str]]) -> None:
        """Have *denied* say which services a client without a proxy isn't given, by SPIFFE id."""
        self._denied = denied

    def watch(self, flavour: Flavour, wake: Callable[[], None]) -> Callable[[], None]:
        """Call *wake*, which must not block, at each change; returns how to stop that."""
        self._wakers[flavour].add(wake)
        return lambda: self._wakers[flavour].discard(wake)

    def opened(self, node_id: str, plan: Plan) -> None:
        """Tell a new stream's plan what its node may hold unsaid."""
        for key, doubtful in self.doubts.of(node_id).items():
            plan.doubt(key, doubtful)

    def closed(self, node_id: str, plan: Plan) -> None:
        """Remember what the node of a stream that ends may hold unsaid."""
        self.doubts.note(node_id, plan.doubtful())

    def hear(
        self,
        flavour: Flavour,
        node_id: str,
        plan: Plan,
        kind: ResourceType,
        request: Request,
        *,
        now: float,
        time: datetime,
    ) -> Heard:
        """
        Hand a request to a stream's plan, and take note of what it says of contents.

        Args:
            now: Seconds, of the clock that the plan is told.
            time: The same as a date, for people.

        """
        subscription = plan.subscriptions.get(kind)
        out = subscription.pending if subscription else None
        told, changed = self._told(flavour, node_id), False
        if subscription is None and request.held:
            for verdicts in told:
                changed = verdicts.vouch(kind, request.held) or changed
        refusals = plan.on_request(kind, request, now)
        accepted = out is not None and request.nonce == out.nonce and not request.error
        for verdicts in told:
            if refusals:
                verdicts.refuse(refusals, node_id=node_id, time=time)
            elif accepted and out is not None:
                changed = verdicts.accept(out, wanted=verdicts is not told[0]) or changed
        if refusals or changed:
            self.reconsider(flavour)
        if request.error or self.doubts.of(node_id):
            self.doubts.note(node_id, plan.doubtful())
        return Heard(refusals=refusals, accepted=accepted)

    def _told(self, flavour: Flavour, node_id: str) -> list[Verdicts]:
        """Return whom a client's word is for; the first is of those who are served the same."""
        ours, first = self.verdicts[flavour], self._first
        if flavour is not Flavour.EDGE or first is None:
            return [ours]
        return [first.verdicts, ours] if node_id in first.nodes else [ours, first.verdicts]


@dataclass(slots=True, kw_only=True)
class _First:
    """Edges that have a change before the others, and what they are served."""

    nodes: frozenset[str]
    verdicts: Verdicts
    compiled: Snapshot = field(default_factory=Snapshot)
    served: Snapshot = field(default_factory=Snapshot)

    def reconsider(self) -> bool:
        """Apply the verdicts anew; returns whether something else is served."""
        before, self.served = self.served, self.verdicts.apply(self.compiled)
        return before is not self.served


def without(snapshot: Snapshot, services: Collection[str]) -> Snapshot:
    """Return *snapshot* less the resources of these services, as a client sees it."""
    if not services:
        return snapshot
    gone = names.absences(services)
    removals = [(key, name) for key, found in gone.items() for name in found]
    absences = {key: {**snapshot.absences.get(key, {}), **found} for key, found in gone.items()}
    left = snapshot.changed(snapshot.revision, (), removals)
    return dataclasses.replace(left, absences={**snapshot.absences, **absences})
