"""
The mesh as the gateway sees it: frozen, validated, free of gRPC and of Envoy.

A `Catalog` is one whole state; a change makes a new one that shares the rest.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Health(enum.StrEnum):
    """Whether an endpoint gets calls."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    DRAINING = "draining"
    """No new calls; those under way may end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One replica's address."""

    address: str
    """IP address."""

    port: int
    weight: int = 1
    health: Health = Health.HEALTHY


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may call through the edge."""

    public: bool = False
    """Without a token, too."""

    roles: tuple[str, ...] = ()
    """One of these must be in the token; empty: any valid token will do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """A token bucket in each edge."""

    burst: int
    per_second: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Concurrency:
    """Bounds of what one edge may have under way towards a service."""

    requests_max: int = 4096
    pending_max: int = 1024
    connections_max: int = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A program the mesh routes to."""

    name: str
    """`services/{service}`."""

    description: str = ""
    grpc_services: tuple[str, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    identity: str
    """Service part of the SPIFFE id its replicas show."""

    json_prefixes: tuple[str, ...] = ()
    descriptor_set: bytes = field(default=b"", repr=False)
    """Serialised FileDescriptorSet; empty: none."""

    access: Access = Access()
    unary_timeout: timedelta = timedelta(seconds=30)
    stream_idle_timeout: timedelta = timedelta(seconds=900)
    rate_limit: RateLimit | None = None
    concurrency: Concurrency = Concurrency()

    @property
    def id(self) -> str:
        return self.name.removeprefix("services/")


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderMatch:
    """A condition on a request header: exactly one of the three is set."""

    name: str
    exact: str | None = None
    prefix: str | None = None
    present: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """One of the places a route's calls go to."""

    service: str
    """`services/{service}`."""

    weight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Attempts after the first."""

    attempts_max: int
    per_try_timeout: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """An exception from the rule that a gRPC service's calls go to who offers it."""

    name: str
    """`services/{service}/routes/{route}`."""

    description: str = ""
    grpc_service: str
    grpc_method: str = ""
    """Empty: every method."""

    headers: tuple[HeaderMatch, ...] = ()
    destinations: tuple[Destination, ...]
    timeout: timedelta | None = None
    """Of unary methods; None: the service's."""

    retry: Retry | None = None
    access: Access | None = None
    """None: the service's."""

    @property
    def service(self) -> str:
        """Name of the service it belongs to."""
        return self.name.partition("/routes/")[0]

    def precedence(self) -> tuple[bool, int, str]:
        """Return the key by which the more particular of two routes comes first."""
        return (not self.grpc_method, -len(self.headers), self.name)


Object = Service | Route


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """Every service and route at one revision."""

    revision: int = 0
    services: Mapping[str, Service] = field(default_factory=dict)
    routes: Mapping[str, Mapping[str, Route]] = field(default_factory=dict)
    """Name of a service to its routes by name. Without routes, a service isn't in it."""

    def with_object(self, revision: int, name: str, value: Object | None) -> Catalog:
        """Return the catalog after *revision*, which made *name* be *value*; None: deleted."""
        services, routes = self.services, self.routes
        parent, is_route, _ = name.partition("/routes/")
        if is_route:
            siblings: Mapping[str, Object] = _with(routes.get(parent, {}), name, value)
            routes = _with(routes, parent, siblings or None)
        else:
            services = _with(services, name, value)
        return Catalog(revision=revision, services=services, routes=routes)

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


def _with(mapping: Mapping, key: str, value: object) -> Mapping:  # type: ignore[type-arg]
    changed = dict(mapping)
    if value is None:
        changed.pop(key, None)
    else:
        changed[key] = value
    return MappingProxyType(changed)
