"""Services to where their replicas are; the same for Envoy and for gRPC clients."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from gateway.compile.envoy_api import make
from gateway.model import Health
from gateway.xds.resources import Resource, resource


if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.model import Endpoint, Locality, Service

_HEALTH = {
    Health.HEALTHY: "HEALTHY",
    Health.UNHEALTHY: "UNHEALTHY",
    Health.DRAINING: "DRAINING",
}


def load_assignment(service: Service, endpoints: Sequence[Endpoint]) -> Resource:
    """Return where *service* is. Nowhere is an empty list, which lets Envoy go on."""
    groups: dict[tuple[int, Locality], list[Endpoint]] = {}
    for endpoint in endpoints:
        groups.setdefault((endpoint.priority, endpoint.locality), []).append(endpoint)
    # Clients refuse priorities with gaps.
    priorities = {priority: n for n, priority in enumerate(sorted({p for p, _ in groups}))}
    message = make(
        "envoy.config.endpoint.v3.ClusterLoadAssignment",
        cluster_name=service.name,
        endpoints=[
            _locality(priorities[priority], locality, found, alone=len(groups) == 1)
            for (priority, locality), found in sorted(
                groups.items(), key=lambda group: (group[0][0], dataclasses.astuple(group[0][1]))
            )
        ],
    )
    return resource(service.name, message.SerializeToString(deterministic=True))


def _locality(
    priority: int, locality: Locality, endpoints: Sequence[Endpoint], *, alone: bool
) -> dict[str, Any]:
    # gRPC clients ignore a locality without a name or a weight.
    named = {
        "region": locality.region or "mesh",
        **({"zone": locality.zone} if locality.zone else {}),
        **({"sub_zone": locality.sub_zone} if locality.sub_zone else {}),
    }
    weight = 1 if alone else sum(endpoint.weight for endpoint in endpoints)
    return {
        "locality": named,
        "load_balancing_weight": {"value": weight},
        **({"priority": priority} if priority else {}),
        "lb_endpoints": [_endpoint(endpoint) for endpoint in endpoints],
    }


def _endpoint(endpoint: Endpoint) -> dict[str, Any]:
    address = {"address": endpoint.address, "port_value": endpoint.port}
    return {
        "endpoint": {"address": {"socket_address": address}},
        "health_status": _HEALTH[endpoint.health],
        "load_balancing_weight": {"value": endpoint.weight},
    }
