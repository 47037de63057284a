"""State-of-the-world subscriptions, as gRPC clients speak them: a pure state machine."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from gateway.xds.subscription import ERROR_LENGTH_MAX, Push, Refusal, Request, Standing, blame


if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.xds.resources import Resource, ResourceType


class SotwSubscription:
    """
    One type on one state-of-the-world stream.

    A full-state type's response lists everything, since the client deletes what it leaves out;
    of the others only what is new to the client is sent.
    """

    def __init__(self, kind: ResourceType) -> None:
        self.kind = kind
        self.standing = Standing()
        self.pending: Push | None = None
        self._started = False
        self._wildcard = False
        self._names: frozenset[str] = frozenset()
        self._held: dict[str, Resource] = {}
        self._fresh: set[str] = set()
        """Asked for since the last response."""
        self._refused: dict[str, str] = {}

    @property
    def busy(self) -> bool:
        return self.pending is not None

    def held_count(self) -> int:
        return len(self._held)

    def on_request(self, request: Request, now: float) -> Sequence[Refusal]:
        refusals: Sequence[Refusal] = ()
        if request.nonce:
            if self.pending is None or request.nonce != self.pending.nonce:
                if self.pending is not None:
                    return ()  # It hasn't seen our latest word; it will speak again.
            else:
                push, self.pending = self.pending, None
                if request.error:
                    refusals = self._nack(push, request.error)
                else:
                    self._ack(push, now)
        names = frozenset(request.names) - {"*"}
        if not self._started or "*" in request.names:
            self._wildcard = self.kind.wildcard and (not names or "*" in request.names)
        elif names:
            self._wildcard = False
        self._started = True
        self._fresh |= names - self._names
        self._names = names
        if not self._wildcard:
            self._held = {name: item for name, item in self._held.items() if name in names}
            self._fresh &= names
        return refusals

    def offer(self, target: Mapping[str, Resource], nonce: str, *, removals: bool) -> Push | None:
        if self.busy or not self._started:
            return None
        listed = self._listed(target, removals=removals)
        changed = [
            item for item in listed if item.name in self._fresh or self._held.get(item.name) != item
        ]
        if self.kind.full_state:
            gone = self._held.keys() - {item.name for item in listed}
            if not changed and not gone and not self._fresh and self.standing.version_sent:
                return None
            sent = listed
        elif changed:
            sent = changed
        else:
            return None
        content = ",".join(f"{item.name}={item.version}" for item in listed)
        self.pending = Push(
            kind=self.kind,
            nonce=nonce,
            version=hashlib.sha256(content.encode()).hexdigest()[:16],
            upserts=tuple(sent),
        )
        self.standing.version_sent = self.pending.version
        if self.kind.full_state:
            self._fresh.clear()
        else:
            self._fresh.difference_update(item.name for item in sent)
        return self.pending

    def resend(self, names: Iterable[str]) -> None:
        """Do nothing: gRPC clients keep the endpoints of a cluster that changes."""

    def _listed(self, target: Mapping[str, Resource], *, removals: bool) -> list[Resource]:
        """Return what a full response holds: refused content gives way to what was held."""
        listed = []
        for name in sorted(target) if self._wildcard else sorted(self._names):
            item = target.get(name)
            if (item is not None and self._refused.get(name) == item.version) or (
                item is None and not removals
            ):
                item = self._held.get(name)
            if item is not None:
                listed.append(item)
        if self._wildcard and not removals:
            listed += [item for name, item in self._held.items() if name not in target]
        return listed

    def _ack(self, push: Push, now: float) -> None:
        self.standing.version_acked = push.version
        self.standing.acked_at = now
        if self.kind.full_state:
            self._held.clear()
        self._held.update({item.name: item for item in push.upserts})

    def _nack(self, push: Push, error: str) -> Sequence[Refusal]:
        error = error[:ERROR_LENGTH_MAX]
        self.standing.version_nacked = push.version
        self.standing.error = error
        named, others = blame(push, error)
        suspects = named or [item for item in others if self._held.get(item.name) != item]
        self._refused.update({item.name: item.version for item in suspects})
        return [Refusal(kind=self.kind, resource=item, error=error) for item in suspects]
