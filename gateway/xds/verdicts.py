"""What clients said of each content: a refused one is withheld from the others too."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from gateway.xds.resources import BY_KEY, RESOURCE_TYPES, Absence, Resource, Snapshot, since


if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.xds.resources import Absences, ResourceType
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
    """The last that was accepted; None: none is known to have been."""

    lifted: bool = False
    """Somebody else has accepted it since: it is no longer withheld."""


class Verdicts:
    """
    The accepted and the refused contents of one kind of client.

    A content that one client refused, and none has accepted, is replaced by the last that was
    accepted: a client that starts must not be given what is known to be bad. Where none is known,
    as after a restart, who holds an older content keeps it, and the others are given none. What
    some accept and some refuse stays; each stream remembers its own refusals.
    """

    def __init__(
        self,
        *,
        changed: Callable[[Key, Verdict], None] = lambda *_: None,
        ended: Callable[[Key, Verdict], None] = lambda *_: None,
    ) -> None:
        """
        Begin knowing nothing.

        Args:
            changed: Told of each verdict that is given or lifted here, or serves another content.
            ended: Told of each that ends because another content is wanted.

        """
        self._changed = changed
        self._ended = ended
        self._accepted: dict[Key, Resource] = {}
        self._refused: dict[Key, Verdict] = {}
        self._vouched: dict[str, object] = {}
        """By type's key, the state of the resources of which all are known to be accepted."""
        self._foretold: dict[Key, Verdict] = {}
        """Of contents that aren't known here yet."""
        self._fresh: set[Key] = set()
        """Accepted since `forget`."""
        self._snapshot = Snapshot()
        """What `forget` was last told of."""

    def fork(self) -> Verdicts:
        """Return what is known by now, for some of the clients, who are served something else."""
        fork = Verdicts()
        fork._accepted = dict(self._accepted)
        fork._refused = dict(self._refused)
        fork._foretold = dict(self._foretold)
        fork._snapshot = self._snapshot
        return fork

    def adopt(self, other: Verdicts) -> None:
        """Take note of what *other*'s clients refuse, as far as it is wanted here."""
        for verdict in other.refused():
            kind, name = verdict.refusal.kind, verdict.refusal.resource.name
            if self._snapshot.of(kind).get(name) == verdict.refusal.resource:
                self.learn((kind.key, name), verdict)

    def absorb(self, fork: Verdicts) -> None:
        """Take note, at the end of a fork, of what was accepted there and is wanted here."""
        for (key, name), item in fork._accepted.items():
            if self._accepted.get((key, name)) is item:
                continue
            if self._snapshot.of(BY_KEY[key]).get(name) == item:
                self._accept((key, name), item)

    def accept(self, push: Push, *, wanted: bool = False) -> bool:
        """
        Take note of an acknowledged response; returns whether that changes what is served.

        With *wanted*, of the contents only that are wanted here.
        """
        changed = False
        table = self._snapshot.of(push.kind)
        for item in push.upserts:
            if wanted and table.get(item.name) != item:
                continue
            changed = self._accept((push.kind.key, item.name), item) or changed
        return changed

    def _accept(self, key: Key, item: Resource) -> bool:
        if key[1] not in self._snapshot.of(BY_KEY[key[0]]):
            return False  # It is gone; were it to come back, it would be another.
        self._accepted[key] = item
        self._fresh.add(key)
        known = self._refused.get(key)
        if known is None:
            return False
        if known.refusal.resource == item:
            del self._refused[key]
            self._changed(key, dataclasses.replace(known, lifted=True))
            return True
        if known.served is not None:
            return False
        self._refused[key] = dataclasses.replace(known, served=item)  # Better than none at all.
        self._changed(key, self._refused[key])
        return True

    def vouch(self, kind: ResourceType, held: Mapping[str, str]) -> bool:
        """
        Take note of what a client that comes back holds: it has accepted that; as `accept`.

        So a control plane that has just started learns what is good, without sending it.
        """
        table = self._snapshot.of(kind)
        if self._vouched.get(kind.key) is table.state:
            return False
        changed = False
        for name, version in held.items():
            item = table.get(name)
            if item is not None and item.version == version:
                changed = self._accept((kind.key, name), item) or changed
        if len(held) >= len(table) and all((kind.key, name) in self._accepted for name in table):
            self._vouched[kind.key] = table.state
        return changed

    def refuse(self, refusals: Sequence[Refusal], *, node_id: str, time: datetime) -> None:
        """Take note of what a client refused."""
        for refusal in refusals:
            key = (refusal.kind.key, refusal.resource.name)
            served = self._accepted.get(key)
            current = self._snapshot.of(refusal.kind).get(refusal.resource.name)
            if served == refusal.resource or current not in (None, refusal.resource):
                continue  # Some take it, or nobody wants it any more.
            known = self._refused.pop(key, None)
            if served is None and known is not None:
                served = known.served
            verdict = Verdict(refusal=refusal, node_id=node_id, time=time, served=served)
            self._put(key, verdict)
            self._changed(key, verdict)

    def foretell(self, refusals: Sequence[Refusal], *, node_id: str, time: datetime) -> None:
        """Take note of what a client refused before it is wanted here: it will be withheld."""
        for refusal in refusals:
            key = (refusal.kind.key, refusal.resource.name)
            served = self._accepted.get(key)
            if served == refusal.resource:
                continue
            known = self._refused.get(key)
            if served is None and known is not None:
                served = known.served
            verdict = Verdict(refusal=refusal, node_id=node_id, time=time, served=served)
            self._changed(key, verdict)
            self.learn(key, verdict)

    def learn(self, key: Key, verdict: Verdict) -> bool:
        """
        Take note of a verdict from elsewhere; returns whether it changes what is served.

        Raises:
            KeyError: There is no such type.

        """
        kind = BY_KEY[key[0]]
        known = self._refused.get(key)
        self._foretold.pop(key, None)
        if verdict.lifted:
            if known is None or known.refusal.resource != verdict.refusal.resource:
                return False
            del self._refused[key]
            return True
        ours = self._accepted.get(key)
        if ours == verdict.refusal.resource:
            self._changed(key, dataclasses.replace(verdict, lifted=True))
            return False
        if known is not None and (
            known.refusal.resource == verdict.refusal.resource or known.time > verdict.time
        ):
            return False
        if self._snapshot.of(kind).get(key[1]) != verdict.refusal.resource:
            # Another replica may be ahead: were it taken for one of the past, it would be lost.
            if len(self._foretold) < REFUSALS_MAX:
                self._foretold[key] = verdict
            # What was good then still is, if what is wanted since is refused as well.
            if verdict.served is not None and ours is None:
                self._accepted[key] = verdict.served
                self._fresh.add(key)
            return False
        self._put(key, dataclasses.replace(verdict, served=verdict.served or ours))
        return True

    def refused(self) -> list[Verdict]:
        """Return the standing refusals, oldest first."""
        return list(self._refused.values())

    def apply(self, snapshot: Snapshot) -> Snapshot:
        """Return *snapshot* with refused contents replaced or left out."""
        upserts, removals = [], []
        absences: dict[str, dict[str, Absence]] = {}
        for (key, name), verdict in list(self._refused.items()):
            item = snapshot.of(BY_KEY[key]).get(name)
            if item != verdict.refusal.resource:
                # It has been changed or is gone: a new chance.
                del self._refused[key, name]
                self._ended((key, name), verdict)
            elif verdict.served is not None:
                upserts.append((key, verdict.served))
            else:
                removals.append((key, name))
                absences.setdefault(key, {})[name] = Absence.WITHHELD
        if not upserts and not removals:
            return snapshot
        changed = snapshot.changed(snapshot.revision, upserts, removals)
        merged: Mapping[str, Absences] = {**snapshot.absences, **absences}
        return dataclasses.replace(changed, absences=merged)

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
        foretold, self._foretold = self._foretold, {}
        for known, verdict in foretold.items():
            self.learn(known, verdict)

    def _put(self, key: Key, verdict: Verdict) -> None:
        while len(self._refused) >= REFUSALS_MAX:
            del self._refused[next(iter(self._refused))]
        self._refused[key] = verdict
