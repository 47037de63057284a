"""Which calls a limit is about, and what it counts them by, as every keeper of limits sees it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final


if TYPE_CHECKING:
    from gateway.model import Catalog, Limit, LimitKey

LIMIT_KEY: Final = "limit"
EDITION_KEY: Final = "edition"
"""Of a bucket's id, beside the labels of the limit's keys."""

ABSENT: Final = "-"
"""The value of a key that a call doesn't have: those calls are counted together."""


@dataclass(frozen=True, slots=True)
class Reach:
    """The calls that a limit is about; no call is in it twice."""

    everything: bool
    grpc_services: tuple[str, ...] = ()
    """Full names, sorted: all of their methods."""

    methods: tuple[str, ...] = ()
    """`{full name}/{method}`, sorted, none of `grpc_services`."""

    hosts: tuple[str, ...] = ()
    """`hosts/{host}`, sorted: all that comes to them, gRPC calls too."""

    @property
    def nothing(self) -> bool:
        """Whether no call is in it: its services offer nothing (yet)."""
        return not (self.everything or self.grpc_services or self.methods or self.hosts)

    @property
    def calls(self) -> bool:
        """Whether some gRPC calls are in it, wherever they come to."""
        return bool(self.grpc_services or self.methods)

    @property
    def owners(self) -> frozenset[str]:
        """Full names of the gRPC services that it has calls of; empty if of all."""
        return frozenset(self.grpc_services).union(_owner(one) for one in self.methods)

    def meets(self, other: Reach) -> bool:
        """Return whether one call could be in both."""
        if self.nothing or other.nothing:
            return False
        if self.everything or other.everything:
            return True
        if self.hosts and other.hosts and set(self.hosts) & set(other.hosts):
            return True
        # What comes to a host may have the path of a gRPC call.
        if (self.hosts and other.calls) or (other.hosts and self.calls):
            return True
        mine, theirs = set(self.grpc_services), set(other.grpc_services)
        return bool(
            mine & theirs
            or set(self.methods) & set(other.methods)
            or any(_owner(method) in theirs for method in self.methods)
            or any(_owner(method) in mine for method in other.methods)
        )

    def within(self, grpc_services: frozenset[str]) -> Reach:
        """Return what of it belongs to *grpc_services*, where they are called without the edge."""
        if self.everything:
            return Reach(everything=False, grpc_services=tuple(sorted(grpc_services)))
        return Reach(
            everything=False,
            grpc_services=tuple(one for one in self.grpc_services if one in grpc_services),
            methods=tuple(one for one in self.methods if _owner(one) in grpc_services),
        )


def reach_of(limit: Limit, catalog: Catalog) -> Reach:
    """Return which calls *limit* is about, its services resolved to what they offer."""
    scope = limit.scope
    if not (scope.services or scope.grpc_services or scope.methods or scope.hosts):
        return Reach(everything=True)
    offered = set(scope.grpc_services)
    for name in scope.services:
        service = catalog.services.get(name)
        offered.update(service.grpc_services if service else ())
    return Reach(
        everything=False,
        grpc_services=tuple(sorted(offered)),
        methods=tuple(sorted({one for one in scope.methods if _owner(one) not in offered})),
        hosts=tuple(sorted(set(scope.hosts))),
    )


def label(key: LimitKey) -> str:
    """Return what a key is called in buckets, such as `tenant` or `claim:plan`."""
    if key.claim is not None:
        return f"claim:{key.claim}"
    if key.header is not None:
        return f"header:{key.header}"
    words = ("tenant", "subject", "api_key", "remote_address", "method")
    return next(word for word in words if getattr(key, word))


def edition(limit: Limit) -> str:
    """
    Return what tells a limit's buckets from those of the same limit before a change.

    Whatever changes how calls are counted gives new buckets; the description doesn't.
    """
    counted = (limit.requests, limit.interval, limit.burst, limit.cost)
    said = repr((limit.strength, limit.shadow, limit.keys, *counted))
    return hashlib.sha256(said.encode()).hexdigest()[:8]


def _owner(method: str) -> str:
    return method.rpartition("/")[0]
