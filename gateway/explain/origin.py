"""From a resource to the catalog object it was made of."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from gateway.model import Route
from gateway.xds.resources import BY_KEY


if TYPE_CHECKING:
    from gateway.explain.steps import Explanation, Step
    from gateway.model import Catalog

_RBAC = "envoy.filters.http.rbac"


def attributed(explanation: Explanation, catalog: Catalog) -> Explanation:
    """Return *explanation* with the object that decided named in every step that has one."""
    steps = tuple(
        dataclasses.replace(step, object=_object(step, explanation.route, catalog))
        for step in explanation.steps
    )
    return dataclasses.replace(explanation, steps=steps)


def _object(step: Step, route_name: str, catalog: Catalog) -> str:
    route = catalog.get(route_name) if "/" in route_name else None
    if step.name == _RBAC and isinstance(route, Route) and step.object == route.name:
        # A route without an access of its own has its service's.
        return route.name if route.access is not None else route.service
    if step.object and catalog.get(step.object) is not None:
        return step.object
    kind, name = step.resource
    if kind not in BY_KEY:
        return ""
    if catalog.get(name) is not None:
        return name
    owner = catalog.owner_of(name) if kind in ("RDS", "SRDS") else None
    if owner is not None:
        return owner.name
    if kind in ("RDS", "SRDS"):
        return _area(name, catalog)
    return ""


def _area(name: str, catalog: Catalog) -> str:
    """Return the one service that has *name* among its JSON areas or hosts."""
    found = [one.name for one in catalog.services.values() if name in one.json_prefixes]
    return found[0] if len(found) == 1 else ""
