"""From one state to the next: compiles what a change touches and shares the rest."""

from __future__ import annotations

import contextlib
import functools
import gc
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Final

from gateway.compile import clusters, endpoints, issuers, listeners, routes, scopes
from gateway.compile.inputs import Delta, Inputs
from gateway.compile.limit_places import Needed, services_affected
from gateway.compile.owned import OWNED
from gateway.compile.shared import SHARED, Part
from gateway.xds.resources import Resource, Snapshot


if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from gateway.compile.options import EdgeOptions
    from gateway.model import Catalog, Service

Name = tuple[str, str]
"""A type's key and the name of a resource."""

_BY_GRPC_SERVICE: Final = frozenset({"RDS", "SRDS"})
"""Types whose resources have the names of gRPC services."""

AFFECTED: Final[tuple[Callable[[Delta, EdgeOptions], Iterable[str]], ...]] = (
    lambda delta, _: issuers.services_affected(delta),
    services_affected,
)
"""Each yields the services whose own resources depend on something else that differs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """What every client gets, for one state."""

    inputs: Inputs = field(default_factory=Inputs)
    edge: Snapshot = field(default_factory=Snapshot)
    proxyless: Snapshot = field(default_factory=Snapshot)
    shared: Mapping[str, frozenset[Name]] = field(default_factory=dict)
    """What each row of `SHARED` came to."""

    touched: Mapping[str, frozenset[Name]] = field(default_factory=dict)
    """What differs from the state before, by `edge` and `proxyless`."""


def compile_all(inputs: Inputs, options: EdgeOptions) -> Compiled:
    """Return everything for *inputs*, from nothing."""
    with _collector_paused():
        return compile_changes(Compiled(), inputs, options, inputs.catalog.services)


@contextlib.contextmanager
def _collector_paused() -> Iterator[None]:
    """
    Keep the garbage collector from walking what is being made, a tenth of the time.

    All of it stays, and has no cycles.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def compile_changes(
    before: Compiled,
    inputs: Inputs,
    options: EdgeOptions,
    changed: Collection[str],
    moved: Collection[str] = (),
) -> Compiled:
    """
    Return everything for *inputs*, sharing with *before* what is the same.

    Args:
        changed: Names of the objects that differ from *before*; a service also if only a route
            of it does.
        moved: Names of services of which only the endpoints found differ.

    """
    delta = Delta(
        before=before.inputs,
        after=inputs,
        changed=changed,
        moved=moved,
        first=not before.edge.resources,
    )
    services = {name for name in changed if name.startswith("services/")}
    for affected in AFFECTED:
        services.update(affected(delta, options))
    edge, proxyless = _Side(), _Side()
    shared = dict(before.shared)
    for row in SHARED:
        if row.concerned(delta):
            shared[row.name] = edge.replace(
                before.shared.get(row.name, frozenset()), row.compile(inputs, options)
            )
    for kind in OWNED:
        for name in kind.concerned(delta):
            was, comes = (one.catalog.get(name) for one in (delta.before, inputs))
            edge.replace(kind.names(was) if was else (), kind.parts(comes, inputs) if comes else ())
    needed = Needed.of(inputs.catalog, options)
    offered = functools.cache(lambda: _offered(inputs.catalog))
    for name in sorted(services):
        old = delta.before.catalog.services.get(name)
        new = _Sources.of(inputs, name, needed)
        edge.replace(_gone(old, new, offered), _edge_parts(new, options) if new else ())
        proxyless.replace(
            _proxyless_names(old) if old else (), _proxyless_parts(new) if new else ()
        )
    for name in sorted(set(moved) - services):
        service = inputs.catalog.services.get(name)
        if service is not None:
            found = endpoints.load_assignment(service, inputs.endpoints_of(service))
            edge.upserts.append(("EDS", found))
            proxyless.upserts.append(("EDS", found))
    revision = inputs.catalog.revision
    return Compiled(
        inputs=inputs,
        edge=before.edge.changed(revision, edge.upserts, edge.removals),
        proxyless=before.proxyless.changed(revision, proxyless.upserts, proxyless.removals),
        shared=shared,
        touched={
            "edge": edge.differing(before.edge),
            "proxyless": proxyless.differing(before.proxyless),
        },
    )


@dataclass(slots=True)
class _Side:
    """What a change does to one snapshot."""

    upserts: list[Part] = field(default_factory=list)
    removals: list[Name] = field(default_factory=list)

    def replace(self, old: Iterable[Name], new: Iterable[Part]) -> frozenset[Name]:
        """Put *new* where *old* was; returns the names of *new*."""
        parts = list(new)
        names = frozenset((key, part.name) for key, part in parts)
        self.upserts += parts
        self.removals += [one for one in old if one not in names]
        return names

    def differing(self, before: Snapshot) -> frozenset[Name]:
        """Return what isn't in *before* as it is here."""
        if not before.resources:
            return frozenset((key, part.name) for key, part in self.upserts)
        none: Mapping[str, Resource] = {}
        changed = {
            (key, part.name)
            for key, part in self.upserts
            if before.resources.get(key, none).get(part.name) != part
        }
        gone = {
            (key, name) for key, name in self.removals if name in before.resources.get(key, none)
        }
        return frozenset(changed | gone)


@dataclass(frozen=True, slots=True)
class _Sources:
    """What a service's own resources are made of, for both kinds of clients."""

    service: Service
    tables: Mapping[str, Sequence[routes.Match]]
    """By gRPC service."""

    found: Resource
    """Where it is."""

    known: tuple[issuers.Grant, ...]
    """What issuers besides the mesh grant."""

    needed: Needed
    """By limits."""

    @classmethod
    def of(cls, inputs: Inputs, name: str, needed: Needed) -> _Sources | None:
        service = inputs.catalog.services.get(name)
        if service is None:
            return None
        found = endpoints.load_assignment(service, inputs.endpoints_of(service))
        tables = routes.tables(service, inputs.catalog.routes_of(name))
        return cls(service, tables, found, issuers.grants(inputs.catalog), needed)


def _edge_parts(sources: _Sources, options: EdgeOptions) -> Iterator[Part]:
    service = sources.service
    yield "CDS", clusters.edge_cluster(service)
    yield "EDS", sources.found
    for grpc_service, table in sources.tables.items():
        made = routes.edge_routes(
            service,
            grpc_service,
            table,
            options,
            known=sources.known,
            limited=sources.needed.by(grpc_service),
        )
        yield "RDS", made
        yield "SRDS", scopes.scope(grpc_service)


def _gone(
    old: Service | None, new: _Sources | None, offered: Callable[[], frozenset[str]]
) -> list[Name]:
    """
    Return what a service had, but what another has taken over.

    Both may have offered the same in the state before: what one change makes can come in several.
    """
    if old is None:
        return []
    names = _edge_names(old)
    if new is not None and set(old.grpc_services) <= set(new.service.grpc_services):
        return names
    kept = offered()
    return [(key, name) for key, name in names if key not in _BY_GRPC_SERVICE or name not in kept]


def _offered(catalog: Catalog) -> frozenset[str]:
    return frozenset(one for each in catalog.services.values() for one in each.grpc_services)


def _edge_names(service: Service) -> list[Name]:
    names = [("CDS", service.name), ("EDS", service.name)]
    for grpc_service in service.grpc_services:
        names += [("RDS", grpc_service), ("SRDS", grpc_service)]
    return names


def _proxyless_parts(sources: _Sources) -> Iterator[Part]:
    service = sources.service
    yield "CDS", clusters.proxyless_cluster(service)
    yield "EDS", sources.found
    yield "RDS", routes.proxyless_routes(service, chain.from_iterable(sources.tables.values()))
    yield "LDS", listeners.api_listener(service)


def _proxyless_names(service: Service) -> list[Name]:
    return [
        ("CDS", service.name),
        ("EDS", service.name),
        ("RDS", service.id),
        ("LDS", service.id),
    ]
