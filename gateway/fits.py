"""
What must hold between the objects of the catalog.

It is looked at when a change has written all of its own: what moves from one object to another is
nobody's for a moment, or everybody's, whichever comes first.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from gateway.kinds import BY_CLASS
from gateway.model import Issuer, Route, Service
from meshkit.errors import FailedPrecondition, MeshError


if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.described import Described
    from gateway.store.catalog import Change, Stored


@contextlib.contextmanager
def about(name: str) -> Iterator[None]:
    """Have what is refused within it say that it is about the object *name*, as `object`."""
    try:
        yield
    except MeshError as error:
        error.metadata.setdefault("object", name)
        raise


async def check(
    change: Change,
    before: Mapping[str, Stored | None],
    after: Mapping[str, Stored | None],
    described: Described,
) -> None:
    """
    Refuse what was written if it doesn't go with the rest.

    Args:
        before: What was there, by the names of *after*.
        after: What was changed, by name; None: deleted.

    Raises:
        FailedPrecondition: GRPC_SERVICE_TAKEN, SERVICE_IN_USE, DESCRIPTOR_CONFLICT, ISSUER_TAKEN,
            CATALOG_FULL.

    """
    bring = []
    for name, stored in after.items():
        if stored is None:
            continue
        was = before[name]
        with about(name):
            if isinstance(stored.value, Service):
                old = was.value if was is not None and isinstance(was.value, Service) else None
                await _check_offered(change, old, stored.value)
                if _describes_anew(old, stored.value):
                    bring.append(stored.value)
            elif isinstance(stored.value, Issuer):
                await _check_issuer(change, stored.value)
            if was is None:
                await _check_room(change, stored)
    if bring:
        await described.check(change, bring)


async def _check_offered(change: Change, old: Service | None, service: Service) -> None:
    """Refuse a service that offers what another does, or no longer what routes of it are about."""
    had = old.grpc_services if old is not None else ()
    new = [one for one in service.grpc_services if one not in had]
    taken = await change.offering(new, but=service.name) if new else ()
    if taken:
        offered, owner = taken[0]
        raise FailedPrecondition(
            "GRPC_SERVICE_TAKEN",
            f"{offered} is offered by {owner}; take it from there first, or with this.",
            grpc_service=offered,
            service=owner,
        )
    dropped = set(had) - set(service.grpc_services)
    for route in await change.routes_of(service.name) if dropped else []:
        if isinstance(route.value, Route) and route.value.grpc_service in dropped:
            raise FailedPrecondition(
                "SERVICE_IN_USE",
                f"{route.value.name} is about {route.value.grpc_service}; delete it first, or"
                " with this.",
                route=route.value.name,
            )


def _describes_anew(old: Service | None, service: Service) -> bool:
    """Return whether a service's JSON API has other descriptors than it had."""
    if not service.descriptor_set or not service.json_prefixes:
        return False
    return old is None or not old.json_prefixes or old.descriptor_set != service.descriptor_set


async def _check_issuer(change: Change, issuer: Issuer) -> None:
    """Refuse a second issuer of the same tokens: whose they are must be beyond doubt."""
    for name in await change.names("issuers/"):
        other = await change.get(name)
        if other is None or name == issuer.name or not isinstance(other.value, Issuer):
            continue
        if other.value.issuer == issuer.issuer:
            raise FailedPrecondition(
                "ISSUER_TAKEN",
                f"{name} is about the tokens of {issuer.issuer}; change that one, or both at once.",
                issuer=issuer.issuer,
                object=name,
            )


async def _check_room(change: Change, stored: Stored) -> None:
    kind = BY_CLASS[type(stored.value)]
    if await change.count(kind.key) > kind.most:
        raise FailedPrecondition(
            "CATALOG_FULL",
            f"There are {kind.most} {kind.collection}, the most there can be.",
            kind=kind.key,
        )
