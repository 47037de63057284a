"""
Where the edge finds the API reference: its paths, and who may read what (ADR 0015).

It is there while the catalog has `services/reference`, whose endpoints are the gateways'
`GATEWAY_REFERENCE_LISTEN`. The page itself tells nothing and needs no token, since a browser that
opens it has none; what is registered stands in the documents, and those ask for what the service's
`access` asks for.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from gateway.compile import switched
from gateway.compile.areas import SWITCHED
from gateway.compile.envoy_api import duration
from gateway.compile.issuers import ANY_TOKEN, OPTIONAL_TOKEN, grants
from gateway.compile.routes import CORS, RBAC, configuration, cors_config, role_config
from gateway.compile.scopes import scope
from gateway.reference.places import DOCUMENTS, ELEMENTS, PAGE, SERVICE


if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.compile.inputs import Inputs
    from gateway.compile.options import EdgeOptions
    from gateway.model import Catalog
    from gateway.xds.resources import Resource

_TIMEOUT: Final = timedelta(seconds=30)
_RETRIES: Final = {"retry_on": "connect-failure,refused-stream,reset", "num_retries": {"value": 2}}
"""Every request only reads, so another gateway may be asked."""


def reference(inputs: Inputs, options: EdgeOptions) -> Iterator[tuple[str, Resource]]:
    """Yield the reference's routes and scopes, if there is one."""
    service = inputs.catalog.services.get(SERVICE)
    if service is None:
        return
    documents: dict[str, Any] = {}
    if service.access.roles:
        known = grants(inputs.catalog)
        documents = {"typed_per_filter_config": {RBAC: role_config(service.access, known)}}
    for element in ELEMENTS:
        routes = [
            *(_route(match, {}) for match in PAGE if element == "reference"),
            *(_route(match, documents) for match in DOCUMENTS if element != "reference"),
        ]
        configs = {CORS: cors_config(options), **switched.on(SWITCHED)}
        yield "RDS", configuration(element, routes, configs)
        yield "SRDS", scope(element)


def token_rules(catalog: Catalog) -> Iterator[dict[str, Any]]:
    """Yield which of its paths need what token."""
    service = catalog.services.get(SERVICE)
    if service is None:
        return
    for match in PAGE:
        yield {"match": match, "requirement_name": OPTIONAL_TOKEN}
    documents = OPTIONAL_TOKEN if service.access.public else ANY_TOKEN
    for match in DOCUMENTS:
        yield {"match": match, "requirement_name": documents}


def _route(match: dict[str, str], filters: dict[str, Any]) -> dict[str, Any]:
    return {
        "match": dict(match),
        "route": {"cluster": SERVICE, "timeout": duration(_TIMEOUT), "retry_policy": _RETRIES},
        **filters,
    }
