"""Delta subscriptions, as Envoy speaks them: a pure state machine."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from gateway.xds.resources import since
from gateway.xds.subscription import ERROR_LENGTH_MAX, Push, Refusal, Request, Standing, blame


if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from gateway.xds.resources import Resource, ResourceType

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
        """Sent in a refused response: the client may hold them or not."""
        self._absent: set[str] = set()
        """Asked for, and told that there is none."""
        self._again: set[str] = set()
        self._refused: dict[str, str] = {}
        """Name to the version that is not sent again."""
        self._suspects: list[frozenset[str]] = []
        self._unanswered = False
        """The client asked for everything and waits: that there is nothing must be said, too."""
        self._seen: Mapping[str, Resource] | None = None
        """The target that was last looked at."""
        self._open: set[str] | None = None
        """Names of which something may be left to do on the way to it; None: of any."""

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
            self._wildcard = self.kind.wildcard and not request.names
            self._unanswered = self._wildcard and not request.held
            self._subscribe(request.names, held=request.held)
        else:
            self._subscribe(request.names, held={})
        self._unsubscribe(request.unsubscribe)
        return refusals

    def offer(self, target: Mapping[str, Resource], nonce: str, *, removals: bool) -> Push | None:
        if self.busy:
            return None
        # What is gone and comes back gets a new chance, were it the same.
        for name in [name for name in self._refused if name not in target]:
            del self._refused[name]
        names = self._look_at(target)
        due = self._due(names, target)
        missing = sorted(self._missing(names, target))
        obsolete = sorted(self._obsolete(names, target))
        self._seen = target
        self._open = {*(item.name for item in due), *missing, *obsolete}
        upserts = self._take(self._suspected(due))
        gone = missing + obsolete if removals else missing
        if not upserts and not gone and not self._unanswered:
            return None
        content = ",".join([*(f"{r.name}={r.version}" for r in upserts), *gone])
        self.pending = Push(
            kind=self.kind,
            nonce=nonce,
            version=hashlib.sha256(content.encode()).hexdigest()[:16],
            upserts=tuple(upserts),
            removals=tuple(gone),
        )
        self.standing.version_sent = self.pending.version
        self._unanswered = False
        self._again.difference_update(item.name for item in upserts)
        return self.pending

    def resend(self, names: Iterable[str]) -> None:
        asked = self._names.intersection(names)
        if asked:
            self._again |= asked
            self._reopen(asked)

    def _subscribe(self, names: Iterable[str], *, held: Mapping[str, str]) -> None:
        for name in names:
            if name == "*":
                self._wildcard = True
                self._open = None
                continue
            self._reopen((name,))
            if name not in held and (name in self._names or name in self._held):
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
        for name in push.removals:
            self._held.pop(name, None)
            self._maybe.discard(name)
            if name in self._names:
                self._absent.add(name)
        return ()

    def _nack(self, push: Push, error: str) -> Sequence[Refusal]:
        error = error[:ERROR_LENGTH_MAX]
        self.standing.version_nacked = push.version
        self.standing.error = error
        self._maybe.update(item.name for item in push.upserts)
        self._absent.update(name for name in push.removals if name in self._names)
        named, others = blame(push, error)
        if not named or (not others and len(named) > 1):
            # Nobody in particular, or everybody: halve it.
            half = len(push.upserts) // 2
            halves = (push.upserts[:half], push.upserts[half:])
            self._suspects[:0] = [frozenset(r.name for r in part) for part in halves if part]
            return ()
        if others:
            self._suspects.insert(0, frozenset(item.name for item in others))
        self._refused.update({item.name: item.version for item in named})
        return [Refusal(kind=self.kind, resource=item, error=error) for item in named]

    def _reopen(self, names: Iterable[str]) -> None:
        if self._open is not None:
            self._open.update(names)

    def _look_at(self, target: Mapping[str, Resource]) -> Collection[str]:
        """
        Return the names of which something may be left to do.

        What was settled stays so until the target differs, or the client says something. What is
        out is among `_open`, so that its answer needs no note here.
        """
        differing = since(target, self._seen)
        if self._open is None or differing is None:
            return {*self._names, *self._held, *self._maybe, *(target if self._wildcard else ())}
        return self._open.union(differing) if differing else self._open

    def _wants(self, name: str) -> bool:
        return self._wildcard or name in self._names

    def _due(self, names: Iterable[str], target: Mapping[str, Resource]) -> list[Resource]:
        held, refused = self._held, self._refused
        doubtful = self._again | self._maybe
        due = [
            item
            for name in names
            if (item := target.get(name)) is not None
            and (held.get(name) != item.version or name in doubtful)
            and refused.get(name) != item.version
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

    def _missing(self, names: Iterable[str], target: Mapping[str, Resource]) -> Iterator[str]:
        """Yield names asked for of which there is nothing, so that the client need not wait."""
        for name in names:
            if (
                name not in target
                and name in self._names
                and name not in self._absent
                and name not in self._held
                and name not in self._maybe
            ):
                yield name

    def _obsolete(self, names: Iterable[str], target: Mapping[str, Resource]) -> Iterator[str]:
        for name in names:
            if (
                name not in target
                and (name in self._held or name in self._maybe)
                and self._wants(name)
            ):
                yield name
