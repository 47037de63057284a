"""Services to where their replicas are; the same for Envoy and for gRPC clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.compile.envoy_api import make
from gateway.model import Health
from gateway.xds.resources import Resource, resource


if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.model import Endpoint, Service

_HEALTH = {
    Health.HEALTHY: "HEALTHY",
    Health.UNHEALTHY: "UNHEALTHY",
    Health.DRAINING: "DRAINING",
}


def load_assignment(service: Service, endpoints: Sequence[Endpoint]) -> Resource:
    """Return where *service* is. Nowhere is an empty list, which lets Envoy go on."""
    found = [
        {
            "endpoint": {
                "address": {
                    "socket_address": {"address": endpoint.address, "port_value": endpoint.port}
                }
            },
            "health_status": _HEALTH[endpoint.health],
            "load_balancing_weight": {"value": endpoint.weight},
        }
        for endpoint in endpoints
    ]
    # gRPC clients ignore a locality without a name or a weight.
    locality = {
        "locality": {"region": "mesh"},
        "load_balancing_weight": {"value": 1},
        "lb_endpoints": found,
    }
    message = make(
        "envoy.config.endpoint.v3.ClusterLoadAssignment",
        cluster_name=service.name,
        endpoints=[locality] if found else [],
    )
    return resource(service.name, message.SerializeToString(deterministic=True))
