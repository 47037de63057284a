"""The resource types we serve, one row each, and the snapshots that hold them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


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


def resource(name: str, value: bytes) -> Resource:
    """Return the resource with *value* as its content."""
    return Resource(name, hashlib.sha256(value).hexdigest()[:16], value)


Resources = MappingProxyType[str, Resource]
"""Resources of one type by name."""

NO_RESOURCES: Resources = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything one kind of client may ask for, at one revision of the catalog."""

    revision: int = 0
    resources: Mapping[str, Resources] = field(default_factory=dict)
    """By the type's key."""

    def of(self, kind: ResourceType) -> Resources:
        """Return the resources of one type."""
        return self.resources.get(kind.key, NO_RESOURCES)

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
        copies: dict[str, dict[str, Resource]] = {}
        for key, name in removals:
            if name in self.resources.get(key, NO_RESOURCES):
                copies.setdefault(key, dict(self.resources[key])).pop(name, None)
        for key, item in upserts:
            current = copies.get(key) or self.resources.get(key, NO_RESOURCES)
            if current.get(item.name) != item:
                if key not in copies:
                    copies[key] = dict(self.resources.get(key, NO_RESOURCES))
                copies[key][item.name] = item
        resources = dict(self.resources)
        resources.update({key: MappingProxyType(copy) for key, copy in copies.items()})
        return Snapshot(revision=revision, resources=MappingProxyType(resources))
