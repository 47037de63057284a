"""
What the two variants of the protocol have in common: requests, pushes, refusals.

A subscription is one resource type on one stream: a pure state machine without clock or I/O.
`delta.DeltaSubscription` and `sotw.SotwSubscription` are the two; `plan.Plan` joins a stream's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gateway.xds.resources import Resource, ResourceType


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a client says about one type, in either variant."""

    names: tuple[str, ...] = ()
    """Delta: names it subscribes to as well. State of the world: all it wants now."""

    unsubscribe: tuple[str, ...] = ()
    """Delta only."""

    held: Mapping[str, str] = field(default_factory=dict)
    """Delta only: name to version of what it has from an earlier stream."""

    nonce: str = ""
    """Of the response this answers; empty: it answers none."""

    error: str = ""
    """Why it refuses that response; empty: it takes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """One response."""

    kind: ResourceType
    nonce: str
    version: str
    upserts: tuple[Resource, ...] = ()
    removals: tuple[str, ...] = ()
    """Delta only: also names asked for that don't exist."""

    def names(self) -> Iterator[str]:
        """Yield the names of all it is about."""
        yield from (item.name for item in self.upserts)
        yield from self.removals


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A client's verdict about one resource's content."""

    kind: ResourceType
    resource: Resource
    error: str


@dataclass(slots=True, kw_only=True)
class Standing:
    """What became of the responses so far; for people."""

    version_sent: str = ""
    version_acked: str = ""
    version_nacked: str = ""
    error: str = ""
    acked_at: float | None = None


class Subscription(Protocol):
    """One type on one stream."""

    standing: Standing

    @property
    def busy(self) -> bool:
        """Whether a response is out that the client hasn't answered."""

    @property
    def pending(self) -> Push | None:
        """The response that is out."""

    def held_count(self) -> int:
        """Return how many resources the client is known to hold."""

    def on_request(self, request: Request, now: float) -> Sequence[Refusal]:
        """Take note of a request; returns what the client refused."""

    def offer(self, target: Mapping[str, Resource], nonce: str, *, removals: bool) -> Push | None:
        """
        Return the next response on the way to *target*, or None: nothing to send, or busy.

        Args:
            nonce: Names the response, if there is one.
            removals: Whether what is no longer in *target* may be taken away.

        """

    def resend(self, names: Iterable[str]) -> None:
        """Send these again when they are next offered, though the client holds them."""


ERROR_LENGTH_MAX = 2000

_NAME_CHARACTER = r"[\w/-]"


def blame(push: Push, error: str) -> tuple[list[Resource], list[Resource]]:
    """
    Return the resources of a refused *push* that *error* names, and the others.

    A response of one resource needs no name.
    """
    if len(push.upserts) == 1:
        return list(push.upserts), []
    named: list[Resource] = []
    others: list[Resource] = []
    for item in push.upserts:
        pattern = rf"(?<!{_NAME_CHARACTER}){re.escape(item.name)}(?!{_NAME_CHARACTER})"
        (named if re.search(pattern, error) else others).append(item)
    return named, others
