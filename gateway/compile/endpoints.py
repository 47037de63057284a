"""Services to where their replicas are; the same for Envoy and for gRPC clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.compile.envoy_api import make
from gateway.model import Health
from gateway.xds.resources import Resource, resource


if TYPE_CHECKING:
    from gateway.model import Service

_HEALTH = {
    Health.HEALTHY: "HEALTHY",
    Health.UNHEALTHY: "UNHEALTHY",
    Health.DRAINING: "DRAINING",
}


def load_assignment(service: Service) -> Resource:
    """Return a service's endpoints. Without any it is an empty list, which lets Envoy go on."""
    endpoints = [
        {
            "endpoint": {
                "address": {
                    "socket_address": {"address": endpoint.address, "port_value": endpoint.port}
                }
            },
            "health_status": _HEALTH[endpoint.health],
            "load_balancing_weight": {"value": endpoint.weight},
        }
        for endpoint in service.endpoints
    ]
    # gRPC clients ignore a locality without a name or a weight.
    locality = {
        "locality": {"region": "mesh"},
        "load_balancing_weight": {"value": 1},
        "lb_endpoints": endpoints,
    }
    message = make(
        "envoy.config.endpoint.v3.ClusterLoadAssignment",
        cluster_name=service.name,
        endpoints=[locality] if endpoints else [],
    )
    return resource(service.name, message.SerializeToString(deterministic=True))
