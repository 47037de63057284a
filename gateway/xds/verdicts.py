"""What clients said of each content: a refused one is withheld from the others too."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from gateway.xds.resources import BY_KEY, RESOURCE_TYPES, Resource, Snapshot, since


if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.xds.subscription import Push, Refusal

REFUSALS_MAX = 1000
"""Refused contents remembered; the oldest is forgotten for a new one."""

Key = tuple[str, str]
"""A type's key and the name of a resource."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A refused content, and the one that is served in its place."""

    refusal: Refusal
    node_id: str
    time: datetime
    served: Resource | None
    """The last that was accepted; None: none ever was, and the resource is left out."""


class Verdicts:
    """
    The accepted and the refused contents of one kind of client.

    A content that one client refused, and none has accepted, is replaced by the last that was
    accepted: a client that starts must not be given what is known to be bad. What some accept
    and some refuse stays; each stream remembers its own refusals.
    """

    def __init__(self) -> None:
        self._accepted: dict[Key, Resource] = {}
        self._refused: dict[Key, Verdict] = {}
        self._fresh: set[Key] = set()
        """Accepted since `forget`."""
        self._snapshot = Snapshot()
        """What `forget` was last told of."""

    def accept(self, push: Push) -> bool:
        """Take note of an acknowledged response; returns whether that lifts a refusal."""
        lifted = False
        for item in push.upserts:
            key = (push.kind.key, item.name)
            self._accepted[key] = item
            self._fresh.add(key)
            known = self._refused.get(key)
            if known is not None and known.refusal.resource == item:
                del self._refused[key]
                lifted = True
        return lifted

    def refuse(self, refusals: Sequence[Refusal], *, node_id: str, time: datetime) -> None:
        """Take note of what a client refused."""
        for refusal in refusals:
            key = (refusal.kind.key, refusal.resource.name)
            served = self._accepted.get(key)
            if served == refusal.resource:
                continue
            self._refused.pop(key, None)
            while len(self._refused) >= REFUSALS_MAX:
                del self._refused[next(iter(self._refused))]
            self._refused[key] = Verdict(refusal=refusal, node_id=node_id, time=time, served=served)

    def refused(self) -> list[Verdict]:
        """Return the standing refusals, oldest first."""
        return list(self._refused.values())

    def apply(self, snapshot: Snapshot) -> Snapshot:
        """Return *snapshot* with refused contents replaced or left out."""
        upserts, removals = [], []
        for (key, name), verdict in list(self._refused.items()):
            item = snapshot.of(BY_KEY[key]).get(name)
            if item != verdict.refusal.resource:
                del self._refused[key, name]  # It has been changed or is gone: a new chance.
            elif verdict.served is not None:
                upserts.append((key, verdict.served))
            else:
                removals.append((key, name))
        if not upserts and not removals:
            return snapshot
        return snapshot.changed(snapshot.revision, upserts, removals)

    def forget(self, snapshot: Snapshot) -> None:
        """Drop what was accepted of resources that *snapshot* no longer has."""
        doubtful, self._fresh = self._fresh, set()
        for kind in RESOURCE_TYPES:
            names = since(snapshot.of(kind), self._snapshot.of(kind))
            if names is None:
                names = [name for key, name in self._accepted if key == kind.key]
            doubtful.update((kind.key, name) for name in names)
        for key, name in doubtful:
            if name not in snapshot.of(BY_KEY[key]):
                self._accepted.pop((key, name), None)
        self._snapshot = snapshot
