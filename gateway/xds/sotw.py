"""State-of-the-world subscriptions, as gRPC clients speak them: a pure state machine."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from gateway.xds.resources import NO_ABSENCES, Absence
from gateway.xds.subscription import (
    ERROR_LENGTH_MAX,
    Push,
    Refusal,
    RefusedContents,
    Request,
    Standing,
    State,
    blame,
    halves,
    phase_of,
)


if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from gateway.xds.resources import Absences, Resource, ResourceType


class SotwSubscription:
    """
    One type on one state-of-the-world stream.

    A full-state type's response lists everything, since the client deletes what it leaves out;
    of the others only what is new to the client is sent. What has a time to live isn't sent: the
    variant has no place for it that all clients know.
    """

    def __init__(self, kind: ResourceType) -> None:
        self.kind = kind
        self.standing = Standing()
        self.pending: Push | None = None
        self._started = False
        self._named = False
        """Names were given once: no names mean nothing from then on, not everything."""
        self._wildcard = False
        self._names: frozenset[str] = frozenset()
        self._held: dict[str, Resource] = {}
        self._fresh: set[str] = set()
        """Asked for since the last response."""
        self._dropped: set[str] = set()
        """Not asked for in a request that came too late to count; it may be, again, in the next."""
        self._told: dict[str, Absence] = {}
        """Asked for, and told that there is none."""
        self._refused = RefusedContents()
        self._suspects: list[frozenset[str]] = []

    @property
    def busy(self) -> bool:
        return self.pending is not None

    def held_count(self) -> int:
        return len(self._held)

    def on_request(self, request: Request, now: float) -> Sequence[Refusal]:
        refusals: Sequence[Refusal] = ()
        asked = frozenset(request.names)
        if request.nonce and self.pending is not None:
            if request.nonce != self.pending.nonce:
                # It hasn't seen our latest word; it will speak again.
                self._dropped |= self._names - asked
                return ()
            push, self.pending = self.pending, None
            if request.error:
                refusals = self._nack(push, request.error)
            else:
                self._ack(push, now)
        self._named = self._named or bool(asked)
        self._wildcard = self.kind.wildcard and ("*" in asked or not self._named)
        self._started = True
        names = asked - {"*"}
        known = (names & self._names) - self._dropped
        self._dropped.clear()
        self._fresh |= names - known
        for name in self._told.keys() - known:
            del self._told[name]
        self._names = names
        if not self._wildcard:
            self._held = {name: item for name, item in self._held.items() if name in names}
            self._fresh &= names
        return refusals

    def offer(
        self,
        target: Mapping[str, Resource],
        nonce: str,
        *,
        removals: bool,
        now: float = 0.0,
        absences: Absences = NO_ABSENCES,
    ) -> Push | None:
        if self.busy or not self._started:
            return None
        self._refused.forget_gone(target, absences)
        while self.pending is None:
            tried, others = self._suspects[:1], self._suspects[1:]
            back = frozenset[str]().union(*others) if tried else frozenset[str]()
            listed = self._listed(target, absences, back, removals=removals)
            problems = self._problems({item.name for item in listed}, target, absences)
            self.pending = self._next(listed, problems, nonce)
            if not tried:
                break
            del self._suspects[0]
        return self.pending

    def beat(self, target: Mapping[str, Resource], nonce: str, now: float) -> Push | None:
        """Return None: what has a time to live isn't sent."""
        return None

    def next_beat(self) -> float | None:
        return None

    def doubt(self, names: Iterable[str]) -> None:
        """Do nothing: a full list says what goes, and of other types the client asks by name."""

    def doubtful(self) -> frozenset[str]:
        return frozenset()

    def resend(self, names: Iterable[str]) -> None:
        """Do nothing: gRPC clients keep the endpoints of a cluster that changes."""

    def states(self, target: Mapping[str, Resource]) -> Iterator[State]:
        out = {item.name: item for item in self.pending.upserts} if self.pending else {}
        names = {*self._names, *self._held, *out, *(target if self._wildcard else ())}
        for name in sorted(names):
            held = self._held.get(name)
            wanted = target.get(name) if self._wildcard or name in self._names else None
            phase = phase_of(
                wanted=wanted,
                held=held.version if held else "",
                out=out.get(name),
                refused=self._refused,
            )
            version = held.version if held else ""
            yield State(name=name, phase=phase, version_held=version, wanted=wanted)

    def _next(
        self,
        listed: list[Resource],
        problems: tuple[tuple[str, Absence], ...],
        nonce: str,
    ) -> Push | None:
        changed = [
            item for item in listed if item.name in self._fresh or self._held.get(item.name) != item
        ]
        if self.kind.full_state:
            gone = self._held.keys() - {item.name for item in listed}
            quiet = not changed and not gone and not self._fresh and not problems
            if quiet and self.standing.version_sent:
                return None
            sent = listed
        elif changed or problems:
            sent = changed
        else:
            return None
        content = ",".join(f"{item.name}={item.version}" for item in listed)
        push = Push(
            kind=self.kind,
            nonce=nonce,
            version=hashlib.sha256(content.encode()).hexdigest()[:16],
            upserts=tuple(sent),
            problems=problems,
        )
        self.standing.version_sent = push.version
        self._told.update(problems)
        if self.kind.full_state:
            self._fresh.clear()
        else:
            self._fresh.difference_update(item.name for item in sent)
        return push

    def _listed(
        self,
        target: Mapping[str, Resource],
        absences: Absences,
        back: Collection[str],
        *,
        removals: bool,
    ) -> list[Resource]:
        """
        Return what a full response holds: refused content gives way to what was held.

        Args:
            back: Names of which only what is held counts, while others are under suspicion.

        """
        listed = []
        for name in sorted({*target, *self._held} if self._wildcard else self._names):
            item = target.get(name)
            if item is not None and item.ttl:
                item = None
            elif item is None:
                keep = not removals or absences.get(name) is Absence.WITHHELD
                item = self._held.get(name) if keep else None
            elif item in self._refused or name in back:
                item = self._held.get(name)
            if item is not None:
                listed.append(item)
        return listed

    def _problems(
        self, listed: Collection[str], target: Mapping[str, Resource], absences: Absences
    ) -> tuple[tuple[str, Absence], ...]:
        """Return what is asked for and isn't there, unless it has been told."""
        found = []
        for name in sorted(self._names):
            if name in target or name in listed:
                self._told.pop(name, None)
                continue
            why = absences.get(name, Absence.NOT_FOUND)
            if self._told.get(name) is not why:
                found.append((name, why))
        return tuple(found)

    def _ack(self, push: Push, now: float) -> None:
        self.standing.version_acked = push.version
        self.standing.acked_at = now
        if self.kind.full_state:
            self._held.clear()
        self._held.update({item.name: item for item in push.upserts})
        for name, _ in push.problems:
            self._held.pop(name, None)

    def _nack(self, push: Push, error: str) -> Sequence[Refusal]:
        error = error[:ERROR_LENGTH_MAX]
        self.standing.version_nacked = push.version
        self.standing.error = error
        new = tuple(item for item in push.upserts if self._held.get(item.name) != item)
        named, others = blame(Push(kind=push.kind, nonce="", version="", upserts=new), error)
        if not named or (not others and len(named) > 1):
            self._suspects[:0] = halves(new)
            return ()
        if others:
            self._suspects.insert(0, frozenset(item.name for item in others))
        for item in named:
            self._refused.add(item)
        return [Refusal(kind=self.kind, resource=item, error=error) for item in named]
