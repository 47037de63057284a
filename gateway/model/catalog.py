"""One whole state of the catalog; a change makes a new one that shares the rest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from gateway.model.access import Issuer, Policy
from gateway.model.host import Certificate, Host
from gateway.model.limit import Limit
from gateway.model.route import Route
from gateway.model.service import Service


Object = Service | Route | Host | Issuer | Policy | Limit | Certificate

_NONE: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """Every service and route at one revision."""

    revision: int = 0
    services: Mapping[str, Service] = field(default_factory=dict)
    routes: Mapping[str, Mapping[str, Route]] = field(default_factory=dict)
    """Name of a service to its routes by name. Without routes, a service isn't in it."""

    others: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Of the other kinds: the collection, such as `hosts`, to its objects by name."""

    @classmethod
    def of(cls, revision: int, objects: Iterable[Object]) -> Catalog:
        """Return the catalog of these objects."""
        services: dict[str, Service] = {}
        routes: dict[str, dict[str, Route]] = {}
        others: dict[str, dict[str, Object]] = {}
        for value in objects:
            if isinstance(value, Service):
                services[value.name] = value
            elif isinstance(value, Route):
                routes.setdefault(value.service, {})[value.name] = value
            else:
                others.setdefault(value.name.partition("/")[0], {})[value.name] = value
        return cls(revision=revision, services=services, routes=routes, others=others)

    def with_object(self, revision: int, name: str, value: Object | None) -> Catalog:
        """Return the catalog after *revision*, which made *name* be *value*; None: deleted."""
        return self.with_objects(revision, {name: value})

    def with_objects(self, revision: int, objects: Mapping[str, Object | None]) -> Catalog:
        """Return the catalog after *revision*, which made these be so; None: deleted."""
        services: dict[str, Any] = {}
        routes: dict[str, dict[str, Any]] = {}
        others: dict[str, dict[str, Any]] = {}
        for name, value in objects.items():
            parent, is_route, _ = name.partition("/routes/")
            collection = name.partition("/")[0]
            if is_route:
                routes.setdefault(parent, {})[name] = value
            elif collection == "services":
                services[name] = value
            else:
                others.setdefault(collection, {})[name] = value
        return Catalog(
            revision=revision,
            services=_with(self.services, services),
            routes=_with(
                self.routes,
                {
                    parent: _with(self.routes.get(parent, _NONE), own) or None
                    for parent, own in routes.items()
                },
            ),
            others=_with(
                self.others,
                {
                    collection: _with(self.others.get(collection, _NONE), own)
                    for collection, own in others.items()
                },
            ),
        )

    @property
    def hosts(self) -> Mapping[str, Host]:
        return self.others.get("hosts", _NONE)

    @property
    def issuers(self) -> Mapping[str, Issuer]:
        return self.others.get("issuers", _NONE)

    @property
    def policies(self) -> Mapping[str, Policy]:
        return self.others.get("policies", _NONE)

    @property
    def limits(self) -> Mapping[str, Limit]:
        return self.others.get("limits", _NONE)

    @property
    def certificates(self) -> Mapping[str, Certificate]:
        return self.others.get("certificates", _NONE)

    def get(self, name: str) -> Object | None:
        """Return the object with this name, of whatever kind."""
        parent, is_route, _ = name.partition("/routes/")
        if is_route:
            return self.routes.get(parent, _NONE).get(name)
        collection = name.partition("/")[0]
        if collection == "services":
            return self.services.get(name)
        found: Object | None = self.others.get(collection, _NONE).get(name)
        return found

    def routes_of(self, service: str) -> list[Route]:
        """Return a service's routes, the more particular first."""
        return sorted(self.routes.get(service, {}).values(), key=Route.precedence)

    def all_routes(self) -> Iterator[Route]:
        """Yield every route, in no order."""
        for routes in self.routes.values():
            yield from routes.values()

    def owner_of(self, grpc_service: str) -> Service | None:
        """Return the service that offers *grpc_service*."""
        for service in self.services.values():
            if grpc_service in service.grpc_services:
                return service
        return None


def _with(mapping: Mapping[str, Any], changes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return *mapping* with *changes*; None: gone."""
    if not changes:
        return mapping
    # dict() asks a proxy for one key after the other, which takes twenty times as long.
    changed: dict[str, Any] = (
        mapping.copy() if isinstance(mapping, MappingProxyType) else dict(mapping)
    )
    for key, value in changes.items():
        if value is None:
            changed.pop(key, None)
        else:
            changed[key] = value
    return MappingProxyType(changed)
