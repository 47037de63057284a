"""What belongs to no single service: listeners, filter configs, JSON areas. A row each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.compile import (
    areas,
    extensions,
    issuers,
    limit_places,
    limits,
    listeners,
    policies,
    reference,
    revoked,
    scopes,
)
from gateway.reference import places
from gateway.xds.resources import Resource


if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.compile.inputs import Delta, Inputs
    from gateway.compile.options import EdgeOptions
    from gateway.model import Catalog, Service

Part = tuple[str, Resource]
"""A type's key and a resource of it."""


@dataclass(frozen=True, slots=True)
class Shared:
    """Some resources of the edge, compiled together; those no longer yielded are removed."""

    name: str
    concerned: Callable[[Delta], bool]
    """Whether the resources may differ after a change. Never false where they do."""

    compile: Callable[[Inputs, EdgeOptions], Iterator[Part]]


def _listener_concerned(delta: Delta) -> bool:
    hosts = (delta.before.catalog.hosts, delta.after.catalog.hosts)
    return delta.first or any(
        listeners.chain_of(hosts[0].get(name)) != listeners.chain_of(hosts[1].get(name))
        for name in delta.changed
        if name.startswith("hosts/")
    )


def _listener(inputs: Inputs, options: EdgeOptions) -> Iterator[Part]:
    hosts = inputs.catalog.hosts.values()
    yield "LDS", listeners.edge_listener(options, hosts)
    if options.http3:
        yield "LDS", listeners.http3_listener(options, hosts)


def _jwt_concerned(delta: Delta) -> bool:
    if any(delta.differs(field) for field in ("jwks", "key_jwks", "issuer_keys")):
        return True
    if delta.touches("issuers") or issuers.clients_differ(delta):
        return True
    if places.SERVICE in delta.changed:
        return True
    catalogs = (delta.before.catalog, delta.after.catalog)
    return any(_has_public(catalog, name) for catalog in catalogs for name in delta.changed)


def _jwt(inputs: Inputs, options: EdgeOptions) -> Iterator[Part]:
    catalog = inputs.catalog
    rules = [*reference.token_rules(catalog), *extensions.public_rules(catalog)]
    yield "ECDS", extensions.jwt_authn(rules, issuers.providers(inputs, options))


def _mappings(inputs: Inputs, _: EdgeOptions) -> Iterator[Part]:
    yield "ECDS", issuers.mappings(inputs)


def _revoked(inputs: Inputs, _: EdgeOptions) -> Iterator[Part]:
    yield "ECDS", revoked.revoked(revoked.REVOKED, inputs.revoked)


def _revoked_lately(inputs: Inputs, _: EdgeOptions) -> Iterator[Part]:
    yield "ECDS", revoked.revoked(revoked.REVOKED_LATELY, inputs.revoked_lately)


def _policies_concerned(delta: Delta) -> bool:
    if delta.touches("policies", "issuers", "hosts"):
        return True
    before, after = delta.before.catalog, delta.after.catalog
    return bool(after.policies) and any(
        _offered(before, name) != _offered(after, name) for name in delta.changed
    )


def _offered(catalog: Catalog, name: str) -> tuple[str, ...]:
    service = catalog.services.get(name)
    if service is None:
        return ()
    return (*service.grpc_services, *(path for path, _ in places.paths_of(service)))


def _policies(inputs: Inputs, options: EdgeOptions) -> Iterator[Part]:
    certificates = bool(options.client_roots_pem)
    yield "ECDS", policies.deny(inputs.catalog, certificates=certificates)
    yield "ECDS", policies.allow(inputs.catalog)


def _json_concerned(delta: Delta) -> bool:
    before, after = delta.before.catalog.services, delta.after.catalog.services
    return delta.first or any(
        _json_of(before.get(name)) != _json_of(after.get(name)) for name in delta.changed
    )


def _areas(inputs: Inputs, options: EdgeOptions) -> Iterator[Part]:
    services = inputs.catalog.services.values()
    for area in sorted({area for service in services for area in service.json_prefixes}):
        yield "RDS", areas.area_routes(area, options)
        yield "SRDS", scopes.scope(area)


def _transcoder(inputs: Inputs, options: EdgeOptions) -> Iterator[Part]:
    described = _described(inputs.catalog)
    joined = inputs.merged.of({service.name: service.descriptor_set for service in described})
    names = [
        name
        for service in described
        for name in inputs.merged.services(service.name).intersection(service.grpc_services)
    ]
    yield "ECDS", extensions.transcoder(names, joined, options)


def _reference_concerned(delta: Delta) -> bool:
    return delta.first or places.SERVICE in delta.changed or issuers.grants_differ(delta)


SHARED: Final = (
    Shared("listener", _listener_concerned, _listener),
    Shared("jwt", _jwt_concerned, _jwt),
    Shared(
        "mappings",
        lambda delta: delta.touches("issuers") or issuers.clients_differ(delta),
        _mappings,
    ),
    Shared("revoked", lambda delta: delta.differs("revoked"), _revoked),
    Shared("revoked_lately", lambda delta: delta.differs("revoked_lately"), _revoked_lately),
    Shared("policies", _policies_concerned, _policies),
    Shared("areas", _json_concerned, _areas),
    Shared("transcoder", _json_concerned, _transcoder),
    Shared("reference", _reference_concerned, reference.reference),
    Shared("limits", limit_places.concerned, limits.compile_limits),
)


def _has_public(catalog: Catalog, name: str) -> bool:
    service = catalog.services.get(name)
    return service is not None and extensions.has_public(service, catalog.routes_of(name))


def _described(catalog: Catalog) -> Sequence[Service]:
    """Return the services with a JSON API, by name."""
    return [
        service
        for _, service in sorted(catalog.services.items())
        if service.json_prefixes and service.descriptor_set
    ]


def _json_of(service: Service | None) -> tuple[object, ...]:
    """Return all of a service that the JSON API depends on."""
    if service is None or not service.json_prefixes:
        return ()
    return (service.json_prefixes, service.descriptor_set, service.grpc_services)
