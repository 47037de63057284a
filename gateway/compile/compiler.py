"""From one catalog to the next: compiles what a change touches and shares the rest."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.compile import clusters, descriptors, endpoints, extensions, listeners, routes, scopes
from gateway.model import Catalog
from gateway.xds.resources import Resource, Snapshot


if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from gateway.compile.options import EdgeOptions
    from gateway.model import Service

Part = tuple[str, Resource]
"""A type's key and a resource of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """What every client gets, for one catalog and one set of signing keys."""

    catalog: Catalog = field(default_factory=Catalog)
    jwks: str = ""
    edge: Snapshot = field(default_factory=Snapshot)
    proxyless: Snapshot = field(default_factory=Snapshot)


def compile_all(catalog: Catalog, jwks: str, options: EdgeOptions) -> Compiled:
    """Return everything for *catalog*, from nothing."""
    return compile_changes(Compiled(), catalog, jwks, options, catalog.services)


def compile_changes(
    before: Compiled,
    catalog: Catalog,
    jwks: str,
    options: EdgeOptions,
    changed: Collection[str],
) -> Compiled:
    """
    Return everything for *catalog*, sharing with *before* what is the same.

    Args:
        changed: Names of the services that differ, themselves or by a route, from *before*.

    """
    edge = list(_edge_shared(before, catalog, jwks, options, changed))
    proxyless: list[Part] = []
    gone_edge: list[tuple[str, str]] = _gone_areas(before.catalog, catalog, changed)
    gone_proxyless: list[tuple[str, str]] = []
    for name in changed:
        old, new = before.catalog.services.get(name), catalog.services.get(name)
        old_edge, old_proxyless = (_edge_names(old), _proxyless_names(old)) if old else ([], [])
        new_edge = list(_edge_parts(new, catalog, options)) if new else []
        new_proxyless = list(_proxyless_parts(new, catalog)) if new else []
        kept = {(key, part.name) for key, part in new_edge}
        gone_edge += [one for one in old_edge if one not in kept]
        kept = {(key, part.name) for key, part in new_proxyless}
        gone_proxyless += [one for one in old_proxyless if one not in kept]
        edge += new_edge
        proxyless += new_proxyless
    return Compiled(
        catalog=catalog,
        jwks=jwks,
        edge=before.edge.changed(catalog.revision, edge, gone_edge),
        proxyless=before.proxyless.changed(catalog.revision, proxyless, gone_proxyless),
    )


def _edge_parts(service: Service, catalog: Catalog, options: EdgeOptions) -> Iterator[Part]:
    yield "CDS", clusters.edge_cluster(service)
    yield "EDS", endpoints.load_assignment(service)
    of_service = catalog.routes_of(service.name)
    for grpc_service in service.grpc_services:
        yield "RDS", routes.edge_routes(service, of_service, grpc_service, options)
        yield "SRDS", scopes.scope(grpc_service)


def _edge_names(service: Service) -> list[tuple[str, str]]:
    names = [("CDS", service.name), ("EDS", service.name)]
    for grpc_service in service.grpc_services:
        names += [("RDS", grpc_service), ("SRDS", grpc_service)]
    return names


def _proxyless_parts(service: Service, catalog: Catalog) -> Iterator[Part]:
    yield "CDS", clusters.proxyless_cluster(service)
    yield "EDS", endpoints.load_assignment(service)
    yield "RDS", routes.proxyless_routes(service, catalog.routes_of(service.name))
    yield "LDS", listeners.api_listener(service)


def _proxyless_names(service: Service) -> list[tuple[str, str]]:
    return [
        ("CDS", service.name),
        ("EDS", service.name),
        ("RDS", service.id),
        ("LDS", service.id),
    ]


def _edge_shared(
    before: Compiled,
    catalog: Catalog,
    jwks: str,
    options: EdgeOptions,
    changed: Collection[str],
) -> Iterator[Part]:
    """Yield what belongs to no single service, where it may differ from *before*."""
    first = not before.edge.resources
    if first:
        yield "LDS", listeners.edge_listener(options)
    if (
        first
        or jwks != before.jwks
        or any(_has_public(before.catalog, name) or _has_public(catalog, name) for name in changed)
    ):
        yield "ECDS", extensions.jwt_authn(list(extensions.public_rules(catalog)), jwks, options)
    pairs = [(before.catalog.services.get(n), catalog.services.get(n)) for n in changed]
    if first or any(_json_of(old) != _json_of(new) for old, new in pairs):
        for area in sorted(_areas(catalog) - _areas(before.catalog)):
            yield "RDS", routes.area_routes(area, options)
            yield "SRDS", scopes.scope(area)
        described = _described(catalog)
        names = [name for service in described for name in _json_services(service)]
        merged = descriptors.merge(service.descriptor_set for service in described)
        yield "ECDS", extensions.transcoder(names, merged, options)


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


def _json_services(service: Service) -> list[str]:
    """Return the gRPC services that the descriptors describe."""
    known = descriptors.methods(service.descriptor_set)
    return [name for name in service.grpc_services if name in known]


def _areas(catalog: Catalog) -> set[str]:
    return {area for service in catalog.services.values() for area in service.json_prefixes}


def _gone_areas(before: Catalog, after: Catalog, changed: Collection[str]) -> list[tuple[str, str]]:
    pairs = [(before.services.get(name), after.services.get(name)) for name in changed]
    if all(_json_of(old) == _json_of(new) for old, new in pairs):
        return []
    gone = sorted(_areas(before) - _areas(after))
    return [(key, area) for area in gone for key in ("RDS", "SRDS")]
