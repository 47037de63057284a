"""
How far each change has come at each proxy. Pure: times are arguments.

    published ──▶ sent ──▶ warm ──▶ acknowledged ──▶ served
                     └────▶ refused: the proxy keeps what it had of that

A stream takes several changes as one when they come quickly: then their receipts move together.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final


CHANGES_MAX: Final = 1_000
"""Changes remembered; of older ones only what the database has."""

REFUSALS_MAX: Final = 100
WATCHERS_MAX: Final = 100

Name = tuple[str, str]
"""A type's key and the name of a resource."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Something that a proxy refuses."""

    type: str
    resource: str
    error: str


@dataclass(slots=True, kw_only=True)
class Receipt:
    """How far a change has come at one proxy."""

    node: str
    flavour: str
    send_time: datetime | None = None
    acknowledge_time: datetime | None = None
    warm_time: datetime | None = None
    serve_time: datetime | None = None
    refusals: list[Refused] = field(default_factory=list)
    unaffected: bool = False
    widened: bool = False
    """Others had the change first: the node may have acknowledged its revision without it."""

    @property
    def done(self) -> bool:
        """Whether the proxy has said what it will say of the change."""
        return self.acknowledge_time is not None or bool(self.refusals)


@dataclass(slots=True, kw_only=True)
class Tracked:
    """A change and its receipts."""

    first: int
    last: int
    touched: Mapping[str, frozenset[Name]]
    """Resources that differ, by flavour."""

    clusters: frozenset[str]
    """Clusters whose next request is served by it."""

    held: bool = False
    """It is on its way to some nodes only."""

    receipts: dict[str, Receipt] = field(default_factory=dict)
    """By node."""


@dataclass(slots=True)
class _Node:
    flavour: str
    streams: int = 0
    waiting: list[Tracked] = field(default_factory=list)
    """Changes it hasn't acknowledged, oldest first."""

    unserved: list[Tracked] = field(default_factory=list)


class Receipts:
    """The receipts of recent changes from the proxies connected here."""

    def __init__(self) -> None:
        self._changes: OrderedDict[int, Tracked] = OrderedDict()
        self._nodes: dict[str, _Node] = {}
        self._watchers: set[Callable[[], None]] = set()

    def opened(self, node: str, flavour: str) -> None:
        """Take note that a proxy has connected: later changes wait for it."""
        known = self._nodes.setdefault(node, _Node(flavour))
        known.streams += 1

    def closed(self, node: str) -> None:
        """Take note that a stream of a proxy has ended; without any, nothing waits for it."""
        known = self._nodes.get(node)
        if known is not None:
            known.streams -= 1
            self._wake()

    def published(
        self,
        first: int,
        last: int,
        touched: Mapping[str, frozenset[Name]],
        clusters: Iterable[str],
        only: Collection[str] | None = None,
    ) -> None:
        """Take note of a change that is on its way from now on, to these nodes *only* if given."""
        change = Tracked(first=first, last=last, touched=touched, clusters=frozenset(clusters))
        change.held = only is not None
        self._changes[last] = change
        while len(self._changes) > CHANGES_MAX:
            _, oldest = self._changes.popitem(last=False)
            for node in self._nodes.values():
                node.waiting = [one for one in node.waiting if one is not oldest]
                node.unserved = [one for one in node.unserved if one is not oldest]
        self._nodes = {name: node for name, node in self._nodes.items() if node.streams > 0}
        self._await(change, only)
        self._wake()

    def widen(self, revision: int) -> None:
        """Take note that a change is on its way to those who didn't have it yet, too."""
        change = self._changes.get(revision)
        if change is not None:
            change.held = False
            self._await(change, None, widened=True)
        self._wake()

    def step(self) -> None:
        """Tell those who watch that something besides the receipts is new."""
        self._wake()

    def _await(
        self, change: Tracked, only: Collection[str] | None, *, widened: bool = False
    ) -> None:
        for name, node in self._nodes.items():
            if name not in change.receipts and (only is None or name in only):
                receipt = Receipt(node=name, flavour=node.flavour, widened=widened)
                change.receipts[name] = receipt
                node.waiting.append(change)

    def add(self, revision: int, receipt: Receipt) -> None:
        """Add a receipt that is complete to a change."""
        change = self._changes.get(revision)
        if change is not None:
            change.receipts[receipt.node] = receipt
            self._wake()

    def sent(self, node: str, revision: int, names: Collection[Name], now: datetime) -> None:
        """Take note of a response towards *revision*."""
        for change, receipt in self._waiting(node, revision):
            touched = change.touched.get(receipt.flavour, frozenset())
            if receipt.send_time is None and not touched.isdisjoint(names):
                receipt.send_time = now
        self._wake()

    def warm(self, node: str, revision: int, now: datetime) -> None:
        """Take note that the clusters of the state at *revision* are warm."""
        for _, receipt in self._waiting(node, revision):
            if receipt.send_time is not None and receipt.warm_time is None:
                receipt.warm_time = now

    def acknowledged(self, node: str, revision: int, now: datetime, *, newest: bool = True) -> None:
        """
        Take note that a proxy has all it asked for of the state at *revision*.

        Args:
            newest: It is the newest state there is, also of what others had first.

        """
        known = self._nodes.get(node)
        if known is None:
            return
        for change, receipt in self._waiting(node, revision):
            if receipt.widened and not newest:
                continue
            receipt.acknowledge_time = now
            receipt.unaffected = receipt.send_time is None
            if receipt.send_time is None:
                continue
            receipt.warm_time = receipt.warm_time or now
            if change.clusters:
                known.unserved.append(change)
        known.waiting = [
            one for one in known.waiting if one.receipts[node].acknowledge_time is None
        ]
        del known.unserved[:-CHANGES_MAX]
        self._wake()

    def refused(self, node: str, refusals: Iterable[Refused]) -> None:
        """Take note of what a proxy refuses: on the newest change that touched it."""
        for refusal in refusals:
            name = (refusal.type, refusal.resource)
            for change in reversed(self._changes.values()):
                receipt = change.receipts.get(node)
                if receipt is None or name not in change.touched.get(receipt.flavour, ()):
                    continue
                if refusal not in receipt.refusals and len(receipt.refusals) < REFUSALS_MAX:
                    receipt.refusals.append(refusal)
                break
        self._wake()

    def served(
        self, node: str, clusters: Collection[str], window_start: datetime, now: datetime
    ) -> None:
        """Take note of a load report: *clusters* had requests in a window that began then."""
        known = self._nodes.get(node)
        if known is None or not known.unserved:
            return
        left = []
        for change in known.unserved:
            receipt = change.receipts[node]
            warm = receipt.warm_time
            if (
                warm is not None
                and warm <= window_start
                and not change.clusters.isdisjoint(clusters)
            ):
                receipt.serve_time = now
            else:
                left.append(change)
        if len(left) != len(known.unserved):
            known.unserved = left
            self._wake()

    def unserved(self, node: str) -> frozenset[str]:
        """Return the clusters of changes at a proxy that no request is known to be served by."""
        known = self._nodes.get(node)
        changes = known.unserved if known is not None else ()
        return frozenset(name for change in changes for name in change.clusters)

    def of(self, revision: int) -> Tracked | None:
        """Return the change that *revision* is part of, if it is remembered."""
        found = self._changes.get(revision)
        if found is not None:
            return found
        return next(
            (one for one in self._changes.values() if one.first <= revision <= one.last), None
        )

    def pending(self, change: Tracked) -> bool:
        """Return whether a connected proxy has yet to say what it makes of *change*."""
        return any(
            not receipt.done and node in self._nodes and self._nodes[node].streams > 0
            for node, receipt in change.receipts.items()
        )

    def watch(self, wake: Callable[[], None]) -> Callable[[], None] | None:
        """Call *wake*, which must not block, at each step; returns how to stop, None if full."""
        if len(self._watchers) >= WATCHERS_MAX:
            return None
        self._watchers.add(wake)
        return lambda: self._watchers.discard(wake)

    def _waiting(self, node: str, revision: int) -> list[tuple[Tracked, Receipt]]:
        known = self._nodes.get(node)
        if known is None:
            return []
        return [(one, one.receipts[node]) for one in known.waiting if one.last <= revision]

    def _wake(self) -> None:
        for wake in self._watchers:
            wake()
