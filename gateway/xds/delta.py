"""Delta subscriptions, as Envoy speaks them: a pure state machine."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from gateway.xds.heartbeat import Heartbeat
from gateway.xds.resources import NO_ABSENCES, Absence, since
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

PUSH_BYTES_MAX = 1024 * 1024
"""A response grows no further beyond this, whatever one resource alone takes."""


class DeltaSubscription:
    """
    One type on one delta stream.

    At most one response is out at a time. A refused response is taken apart until the guilty
    resources are known; the others are sent again, since a client forgets to list after a
    reconnect what it applied of a refused response.
    """

    def __init__(self, kind: ResourceType) -> None:
        self.kind = kind
        self.standing = Standing()
        self.pending: Push | None = None
        self._started = False
        self._wildcard = False
        self._names: set[str] = set()
        self._held: dict[str, str] = {}
        self._maybe: set[str] = set()
        """The client may hold them or not, such as what was sent in a refused response."""
        self._absent: set[str] = set()
        """Asked for, and told that there is none."""
        self._again: set[str] = set()
        self._refused = RefusedContents()
        self._suspects: list[frozenset[str]] = []
        self._unanswered = False
        """The client asked for everything and waits: that there is nothing must be said, too."""
        self._seen: Mapping[str, Resource] | None = None
        """The target that was last looked at."""
        self._absences: Absences = NO_ABSENCES
        self._open: set[str] | None = None
        """Names of which something may be left to do on the way to it; None: of any."""
        self._heart = Heartbeat()

    @property
    def busy(self) -> bool:
        return self.pending is not None

    def held_count(self) -> int:
        return len(self._held)

    def on_request(self, request: Request, now: float) -> Sequence[Refusal]:
        refusals: Sequence[Refusal] = ()
        if self.pending is not None and request.nonce == self.pending.nonce:
            push, self.pending = self.pending, None
            refusals = self._nack(push, request.error) if request.error else self._ack(push, now)
        # Subscriptions count even where the nonce is stale.
        if not self._started:
            self._started = True
            self._held.update(request.held)
            self._maybe -= request.held.keys()
            if self.kind.wildcard and not request.names:
                self._ask_for_all()
            self._subscribe(request.names, held=request.held)
        else:
            self._subscribe(request.names, held={})
        self._unsubscribe(request.unsubscribe)
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
        if self.busy:
            return None
        self._refused.forget_gone(target, absences)
        names = self._look_at(target, absences)
        if not names and not self._suspects and not self._unanswered:
            # The common case by far: nothing of this type differs.
            self._seen, self._absences = target, absences
            return None
        self._adopt(names, target)
        due = self._due(names, target)
        missing = sorted(self._missing(names, target, absences))
        obsolete = sorted(self._obsolete(names, target).difference(missing))
        self._seen, self._absences = target, absences
        self._open = {*(item.name for item in due), *missing, *obsolete}
        upserts = self._take(self._suspected(due))
        gone = list(missing)
        if removals:
            gone += [name for name in obsolete if not self._stays(name, absences)]
        if not upserts and not gone and not self._unanswered:
            return None
        content = ",".join([*(f"{r.name}={r.version}" for r in upserts), *gone])
        self.pending = Push(
            kind=self.kind,
            nonce=nonce,
            version=hashlib.sha256(content.encode()).hexdigest()[:16],
            upserts=tuple(upserts),
            removals=tuple(gone),
            problems=tuple((name, self._why(name, target, absences)) for name in missing),
        )
        self.standing.version_sent = self.pending.version
        self._unanswered = False
        self._again.difference_update(item.name for item in upserts)
        self._again.difference_update(gone)
        self._heart.sent(self.pending, now)
        return self.pending

    def beat(self, target: Mapping[str, Resource], nonce: str, now: float) -> Push | None:
        if self.busy:
            return None
        held = {name: item for name in self._heart.due(now) if (item := self._alive(name, target))}
        ended = [name for name in held if self._heart.is_over(name, now)]
        if ended:
            self.resend_any(ended)  # It is no longer held: the next offer brings it whole.
        beats = tuple(item for name, item in held.items() if name not in ended)
        if not beats:
            return None
        self.pending = Push(
            kind=self.kind, nonce=nonce, version=self.standing.version_sent, beats=beats
        )
        self._heart.sent(self.pending, now)
        return self.pending

    def next_beat(self) -> float | None:
        return None if self.busy else self._heart.next()

    def resend(self, names: Iterable[str]) -> None:
        self.resend_any(self._names.intersection(names))

    def resend_any(self, names: Collection[str]) -> None:
        """Send these again, whether asked for by name or not."""
        if names:
            self._again.update(names)
            self._absent.difference_update(names)
            self._reopen(names)

    def doubt(self, names: Iterable[str]) -> None:
        unknown = {name for name in names if name not in self._held}
        self._maybe |= unknown
        self._reopen(unknown)

    def doubtful(self) -> frozenset[str]:
        out = () if self.pending is None else (item.name for item in self.pending.upserts)
        return frozenset(self._maybe.union(out))

    def states(self, target: Mapping[str, Resource]) -> Iterator[State]:
        out = {item.name: item for item in self.pending.upserts} if self.pending else {}
        names = {*self._names, *self._held, *out, *(target if self._wildcard else ())}
        for name in sorted(names):
            wanted = target.get(name) if self._wants(name) else None
            phase = phase_of(
                wanted=wanted,
                held=self._held.get(name, ""),
                out=out.get(name),
                refused=self._refused,
            )
            yield State(
                name=name, phase=phase, version_held=self._held.get(name, ""), wanted=wanted
            )

    def _ask_for_all(self) -> None:
        if not self._wildcard:
            self._wildcard = True
            self._open = None
            self._unanswered = not self._held

    def _subscribe(self, names: Iterable[str], *, held: Mapping[str, str]) -> None:
        for name in names:
            if name == "*":
                self._ask_for_all()
                continue
            self._reopen((name,))
            known = name in self._names or name in self._held or self._refused.knows(name)
            if name not in held and known:
                self._again.add(name)  # Asked for again: it may have been dropped meanwhile.
            self._names.add(name)
            self._absent.discard(name)

    def _unsubscribe(self, names: Iterable[str]) -> None:
        for name in names:
            if name == "*":
                self._wildcard = False
                self._open = None
                self._forget(set(self._held) - self._names)
                continue
            self._reopen((name,))
            if name not in self._names:
                continue
            self._names.discard(name)
            if self._wildcard:  # It stays, or the client must be told that it is gone.
                self._again.add(name)
                self._maybe.add(name)
            else:
                self._forget({name})

    def _forget(self, names: set[str]) -> None:
        for name in names:
            self._held.pop(name, None)
            self._heart.stop(name)
        self._maybe -= names
        self._absent -= names
        self._again -= names

    def _ack(self, push: Push, now: float) -> Sequence[Refusal]:
        self.standing.version_acked = push.version
        self.standing.acked_at = now
        for item in push.upserts:
            if self._wildcard or item.name in self._names:
                self._held[item.name] = item.version
            self._maybe.discard(item.name)
            self._absent.discard(item.name)
        self._forget_removed(push)
        self.resend_any(self._heart.answered(push, now))
        return ()

    def _forget_removed(self, push: Push) -> None:
        for name in push.removals:
            self._held.pop(name, None)
            self._maybe.discard(name)
            if name in self._names and name not in self._again:  # Asked anew meanwhile: told anew.
                self._absent.add(name)

    def _nack(self, push: Push, error: str) -> Sequence[Refusal]:
        error = error[:ERROR_LENGTH_MAX]
        self.standing.version_nacked = push.version
        self.standing.error = error
        self._maybe.update(item.name for item in push.upserts)
        if not push.upserts:
            self._forget_removed(push)  # Nothing in it could be better: not again.
        self.resend_any([item.name for item in push.beats])
        named, others = blame(push, error)
        if not named or (not others and len(named) > 1):
            # Nobody in particular, or everybody: halve it.
            self._suspects[:0] = halves(push.upserts)
            return ()
        if others:
            self._suspects.insert(0, frozenset(item.name for item in others))
        for item in named:
            self._refused.add(item)
        return [Refusal(kind=self.kind, resource=item, error=error) for item in named]

    def _reopen(self, names: Iterable[str]) -> None:
        if self._open is not None:
            self._open.update(names)

    def _look_at(self, target: Mapping[str, Resource], absences: Absences) -> Collection[str]:
        """
        Return the names of which something may be left to do.

        What was settled stays so until the target differs, or the client says something. What is
        out is among `_open`, so that its answer needs no note here.
        """
        differing = since(target, self._seen)
        if self._open is None or differing is None:
            return {*self._names, *self._held, *self._maybe, *(target if self._wildcard else ())}
        if absences is not self._absences:
            return self._open.union(differing, absences, self._absences)
        return self._open.union(differing) if differing else self._open

    def _wants(self, name: str) -> bool:
        return self._wildcard or name in self._names

    def _adopt(self, names: Iterable[str], target: Mapping[str, Resource]) -> None:
        """Send what was held before this stream and lives by a clock: nobody knows how long yet."""
        for name in names:
            item = self._alive(name, target)
            if item is not None and item.ttl and name not in self._heart:
                self._again.add(name)

    def _alive(self, name: str, target: Mapping[str, Resource]) -> Resource | None:
        """Return what the client holds by this name, if that is what it should hold."""
        item = target.get(name)
        good = item is not None and self._held.get(name) == item.version and self._wants(name)
        return item if good else None

    def _due(self, names: Iterable[str], target: Mapping[str, Resource]) -> list[Resource]:
        held, refused = self._held, self._refused
        doubtful = self._again | self._maybe
        due = [
            item
            for name in names
            if (item := target.get(name)) is not None
            and (held.get(name) != item.version or name in doubtful)
            and item not in refused
            and self._wants(name)
        ]
        due.sort(key=lambda item: item.name)
        return due

    def _suspected(self, due: list[Resource]) -> Iterator[Resource]:
        """Yield what is due, of the first group of suspects only while there are any."""
        while self._suspects:
            group = [item for item in due if item.name in self._suspects[0]]
            del self._suspects[0]
            if group:
                yield from group
                return
        yield from due

    @staticmethod
    def _take(due: Iterable[Resource]) -> list[Resource]:
        taken: list[Resource] = []
        size = 0
        for item in due:
            size += len(item.value)
            if taken and size > PUSH_BYTES_MAX:
                break
            taken.append(item)
        return taken

    @staticmethod
    def _why(name: str, target: Mapping[str, Resource], absences: Absences) -> Absence:
        return Absence.WITHHELD if name in target else absences.get(name, Absence.NOT_FOUND)

    def _stays(self, name: str, absences: Absences) -> bool:
        """Return whether the client keeps what it holds of something that isn't there."""
        return absences.get(name) is Absence.WITHHELD and name in self._held

    def _missing(
        self, names: Iterable[str], target: Mapping[str, Resource], absences: Absences
    ) -> Iterator[str]:
        """Yield names asked for of which there is nothing, so that the client need not wait."""
        for name in names:
            if name not in self._names or name in self._held or name in self._absent:
                continue
            item = target.get(name)
            if item is not None:
                if name in self._again and item in self._refused:
                    yield name  # Asked for anew, and the client has refused what there is.
            elif name not in self._maybe or absences.get(name) is Absence.WITHHELD:
                yield name

    def _obsolete(self, names: Iterable[str], target: Mapping[str, Resource]) -> set[str]:
        return {
            name
            for name in names
            if name not in target
            and (name in self._held or name in self._maybe)
            and self._wants(name)
        }
