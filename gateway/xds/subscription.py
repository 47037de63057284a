"""
What the two variants of the protocol have in common: requests, pushes, refusals.

A subscription is one resource type on one stream: a pure state machine without clock or I/O.
`delta.DeltaSubscription` and `sotw.SotwSubscription` are the two; `plan.Plan` joins a stream's.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from gateway.xds.resources import NO_ABSENCES, Absence, Absences, Resource, ResourceType


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


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

    problems: tuple[tuple[str, Absence], ...] = ()
    """Names asked for of which there is nothing to be had, and why."""

    beats: tuple[Resource, ...] = ()
    """Delta only: held by the client, whose time begins anew; their content isn't sent."""

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


class Phase(enum.Enum):
    """How far a client is with one resource."""

    SYNCED = "synced"
    """It holds the content that is wanted."""

    STALE = "stale"
    """The content that is wanted is out, without an answer yet."""

    NOT_SENT = "not sent"
    ERROR = "error"
    """It has refused the content that is wanted."""

    ABSENT = "absent"
    """It has asked for it, and there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """How far a client is with one resource."""

    name: str
    phase: Phase
    version_held: str = ""
    """What it is known to hold; empty: nothing."""

    wanted: Resource | None = None
    """What it should hold; None: nothing."""


def phase_of(
    *, wanted: Resource | None, held: str, out: Resource | None, refused: RefusedContents
) -> Phase:
    """Return the phase of a resource by its versions."""
    if wanted is None:
        return Phase.STALE if held else Phase.ABSENT
    if wanted in refused:
        return Phase.ERROR
    if out is not None and out.version == wanted.version:
        return Phase.STALE
    return Phase.SYNCED if held == wanted.version else Phase.NOT_SENT


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

    def offer(
        self,
        target: Mapping[str, Resource],
        nonce: str,
        *,
        removals: bool,
        now: float = 0.0,
        absences: Absences = NO_ABSENCES,
    ) -> Push | None:
        """
        Return the next response on the way to *target*, or None: nothing to send, or busy.

        Args:
            nonce: Names the response, if there is one.
            removals: Whether what is no longer in *target* may be taken away.
            now: Seconds, of the clock that `on_request` is told.
            absences: Why what isn't in *target* isn't.

        """

    def beat(self, target: Mapping[str, Resource], nonce: str, now: float) -> Push | None:
        """Return a response that keeps alive what would end by its `ttl`, or None."""

    def next_beat(self) -> float | None:
        """Return when `beat` has something to say; None: never."""

    def doubt(self, names: Iterable[str]) -> None:
        """Take note that the client may hold these, though it doesn't say so."""

    def doubtful(self) -> frozenset[str]:
        """Return the names that the client may hold without knowing it, were it to leave now."""

    def resend(self, names: Iterable[str]) -> None:
        """Send these again when they are next offered, though the client holds them."""

    def states(self, target: Mapping[str, Resource]) -> Iterator[State]:
        """Yield how far the client is with each resource that it wants or holds."""


ERROR_LENGTH_MAX = 2000
REFUSED_VERSIONS_MAX = 8

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


def halves(items: Sequence[Resource]) -> list[frozenset[str]]:
    """Return the names of *items* in two groups, to find out which is to blame."""
    half = len(items) // 2
    return [frozenset(item.name for item in part) for part in (items[:half], items[half:]) if part]


class RefusedContents:
    """The contents that a client has refused on its stream, which aren't sent to it again."""

    def __init__(self) -> None:
        self._versions: dict[str, tuple[str, ...]] = {}

    def add(self, item: Resource) -> None:
        """Remember one; of a resource at most `REFUSED_VERSIONS_MAX`, the newest."""
        others = [one for one in self._versions.get(item.name, ()) if one != item.version]
        self._versions[item.name] = (item.version, *others[: REFUSED_VERSIONS_MAX - 1])

    def knows(self, name: str) -> bool:
        """Return whether any content of this name has been refused."""
        return name in self._versions

    def __contains__(self, item: Resource) -> bool:
        return item.version in self._versions.get(item.name, ())

    def forget_gone(self, target: Mapping[str, Resource], absences: Absences) -> None:
        """Give what is gone and comes back a new chance, were it the same; withheld isn't gone."""
        for name in [name for name in self._versions if name not in target]:
            if absences.get(name) is not Absence.WITHHELD:
                del self._versions[name]
