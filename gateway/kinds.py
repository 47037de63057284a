"""The kinds of objects in the catalog, one row each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from gateway import model, validation
from gateway.validation.host import CERTIFICATES_MAX, HOSTS_MAX
from gateway.validation.rules import ISSUERS_MAX, LIMITS_MAX, POLICIES_MAX
from meshkit.errors import InvalidInput
from meshkit.tokens import MESH_ISSUER


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What the writer, the store and the API must know about one kind of object."""

    key: str
    """In the database, and the field of the contract's `Object`."""

    collection: str
    """What names begin with; that of routes is inside a service."""

    cls: type[Any]
    most: int
    """Objects of it that there can be."""

    check: Callable[[Any], None] | None
    """Refuses an object that can't be; None: needs others to tell, and is checked with them."""

    references: Callable[[Any], Iterator[str]]
    """Names of the objects it needs."""


def _none(_: Any) -> Iterator[str]:
    return iter(())


def _of_route(route: model.Route) -> Iterator[str]:
    yield route.service
    yield from (one.service for one in route.destinations)
    yield from (one.service for one in route.mirrors)


def _of_host(host: model.Host) -> Iterator[str]:
    if host.certificate:
        yield host.certificate
    if host.login is not None:
        yield host.login.issuer
        yield host.login.token_service
    for rule in host.rules:
        if rule.forward is not None:
            yield from (one.service for one in rule.forward.destinations)
            yield from (one.service for one in rule.forward.mirrors)


def _of_scope(scope: model.CallScope) -> Iterator[str]:
    yield from scope.services
    yield from scope.hosts


def _of_policy(policy: model.Policy) -> Iterator[str]:
    yield from _of_scope(policy.scope)
    for principal in policy.principals:
        yield from (name for name in principal.issuers if name != MESH_ISSUER)


def _of_limit(limit: model.Limit) -> Iterator[str]:
    yield from _of_scope(limit.scope)
    if limit.strength is not model.Strength.LOCAL:
        yield GATEWAY  # Edges ask it.


GATEWAY: Final = "services/gateway"

KINDS: Final = (
    Kind(
        key="service",
        collection="services",
        cls=model.Service,
        most=validation.SERVICES_MAX,
        check=validation.check_service,
        references=_none,
    ),
    Kind(
        key="route",
        collection="routes",
        cls=model.Route,
        most=validation.ROUTES_MAX,
        check=None,
        references=_of_route,
    ),
    Kind(
        key="host",
        collection="hosts",
        cls=model.Host,
        most=HOSTS_MAX,
        check=validation.check_host,
        references=_of_host,
    ),
    Kind(
        key="issuer",
        collection="issuers",
        cls=model.Issuer,
        most=ISSUERS_MAX,
        check=validation.check_issuer,
        references=_none,
    ),
    Kind(
        key="policy",
        collection="policies",
        cls=model.Policy,
        most=POLICIES_MAX,
        check=validation.check_policy,
        references=_of_policy,
    ),
    Kind(
        key="limit",
        collection="limits",
        cls=model.Limit,
        most=LIMITS_MAX,
        check=validation.check_limit,
        references=_of_limit,
    ),
    Kind(
        key="certificate",
        collection="certificates",
        cls=model.Certificate,
        most=CERTIFICATES_MAX,
        check=validation.check_certificate,
        references=_none,
    ),
)

BY_KEY: Final = {kind.key: kind for kind in KINDS}
BY_CLASS: Final[dict[type[Any], Kind]] = {kind.cls: kind for kind in KINDS}
_BY_COLLECTION = {kind.collection: kind for kind in KINDS}
_ID = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")


def kind_of(name: str) -> Kind:
    """
    Return the kind of the object that *name* names.

    Raises:
        InvalidInput: INVALID_NAME.

    """
    parts = name.split("/")
    kind = _BY_COLLECTION.get(parts[-2]) if len(parts) in (2, 4) else None
    of_service = len(parts) == 4 and parts[0] == "services"
    ids = parts[1::2]
    fits = kind is not None and of_service == (kind.key == "route")
    if kind is None or not fits or not all(_ID.fullmatch(one) for one in ids):
        forms = ", ".join(f"{one.collection}/..." for one in KINDS if one.key != "route")
        raise InvalidInput(
            "INVALID_NAME",
            f"A name has one of the forms {forms} or services/.../routes/...;"
            " an id is 1 to 40 of a-z, 0-9 and -.",
            field_violations={"name": "not the name of an object"},
            name=name[:200],
        )
    return kind
