"""The resource types we serve, one row each, and the snapshots that hold them."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Collection, Iterable


@dataclass(frozen=True, slots=True)
class ResourceType:
    """What streams and snapshots must know about one kind of resource."""

    key: str
    """Short name, as in `CDS`: in logs, metrics, statuses and scenario files."""

    type_url: str

    wildcard: bool
    """Whether a first request that names nothing asks for everything."""

    full_state: bool
    """Whether a state-of-the-world response must list every resource: what it leaves out goes."""


# Whatever points at a resource comes after it.
RESOURCE_TYPES = (
    ResourceType(
        "SDS",
        "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        False,
        False,
    ),
    ResourceType("CDS", "type.googleapis.com/envoy.config.cluster.v3.Cluster", True, True),
    ResourceType(
        "EDS", "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment", False, False
    ),
    ResourceType("LDS", "type.googleapis.com/envoy.config.listener.v3.Listener", True, True),
    ResourceType(
        "SRDS", "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration", True, True
    ),
    ResourceType(
        "RDS", "type.googleapis.com/envoy.config.route.v3.RouteConfiguration", False, False
    ),
    ResourceType(
        "ECDS", "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig", False, False
    ),
)

BY_KEY = {row.key: row for row in RESOURCE_TYPES}
BY_TYPE_URL = {row.type_url: row for row in RESOURCE_TYPES}


@dataclass(frozen=True, slots=True)
class Resource:
    """One named piece of configuration. The version is the hash of the content."""

    name: str
    version: str
    value: bytes = field(default=b"", repr=False, compare=False)
    """The serialised message; empty where only the version is known."""

    ttl: float = 0.0
    """Seconds after which a client that hears nothing more of it drops it; 0: it stays."""


def resource(name: str, value: bytes, *, ttl: float = 0.0) -> Resource:
    """
    Return the resource with *value* as its content.

    Args:
        ttl: Seconds, at least 1, for what must vanish with the control plane (an injected fault);
            0 for what must outlive it. Only delta clients are given what has one.

    """
    content = value + f"ttl={ttl}".encode() if ttl else value
    return Resource(name, hashlib.sha256(content).hexdigest()[:16], value, ttl)


class Absence(enum.Enum):
    """Why a client isn't given what it asks for."""

    NOT_FOUND = "There is no such resource."
    DENIED = "This client may not have it."
    WITHHELD = "Clients have refused its content, and no other is known to be good."
    """Who holds an older content keeps it."""


Absences = Mapping[str, Absence]
"""By name, where it isn't `NOT_FOUND`."""


STATES_REMEMBERED = 64
"""How many changes ago a state may be for `since` to tell what differs from it."""


class Resources(dict[str, Resource]):
    """Resources of one type by name, never changed once made. Knows what differs from before."""

    __slots__ = ("before", "state")

    def __init__(self, items: Mapping[str, Resource] | None = None) -> None:
        super().__init__(items or {})
        self.state = object()
        """Stands for these, without holding them."""
        self.before: tuple[tuple[object, frozenset[str]], ...] = ()
        """The states before, newest first, and the names in which the next one differed."""

    def with_changes(self, changes: Mapping[str, Resource | None]) -> Resources:
        """Return these with *changes*; None: gone."""
        made = Resources(self)
        for name, item in changes.items():
            if item is None:
                made.pop(name, None)
            else:
                made[name] = item
        made.before = ((self.state, frozenset(changes)), *self.before[: STATES_REMEMBERED - 1])
        return made


def since(
    now: Mapping[str, Resource], earlier: Mapping[str, Resource] | None
) -> Collection[str] | None:
    """Return all names that may differ between the two; None: perhaps all, nobody remembers."""
    if earlier is now:
        return ()
    if not (isinstance(now, Resources) and isinstance(earlier, Resources)):
        return None
    found: set[str] = set()
    for state, names in now.before:
        found |= names
        if state is earlier.state:
            return found
    return None


NO_RESOURCES = Resources()
NO_ABSENCES: Absences = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything one kind of client may ask for, at one revision of the catalog."""

    revision: int = 0
    resources: Mapping[str, Resources] = field(default_factory=dict)
    """By the type's key."""

    absences: Mapping[str, Absences] = field(default_factory=dict)
    """By the type's key: of what isn't among the resources."""

    def of(self, kind: ResourceType) -> Resources:
        """Return the resources of one type."""
        return self.resources.get(kind.key, NO_RESOURCES)

    def absences_of(self, kind: ResourceType) -> Absences:
        """Return why what isn't there isn't, for one type."""
        return self.absences.get(kind.key, NO_ABSENCES)

    def changed(
        self,
        revision: int,
        upserts: Iterable[tuple[str, Resource]],
        removals: Iterable[tuple[str, str]] = (),
    ) -> Snapshot:
        """
        Return the snapshot after a change; types it doesn't touch are shared.

        Args:
            upserts: Type key and resource.
            removals: Type key and name; one that isn't there is ignored.

        """
        changes: dict[str, dict[str, Resource | None]] = {}
        for key, name in removals:
            if name in self.resources.get(key, NO_RESOURCES):
                changes.setdefault(key, {})[name] = None
        for key, item in upserts:
            ours = changes.get(key, {})
            current = self.resources.get(key, NO_RESOURCES).get(item.name)
            if item.name in ours or current != item:
                changes.setdefault(key, {})[item.name] = item
        resources = dict(self.resources)
        for key, ours in changes.items():
            resources[key] = resources.get(key, NO_RESOURCES).with_changes(ours)
        return Snapshot(revision=revision, resources=MappingProxyType(resources))
