"""What the changes are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aerofusion.gateway.v1 import object_pb2, route_pb2, service_pb2


if TYPE_CHECKING:
    from bench.mixed.world import World


def service(
    world: World, name: str, lane: str = "", *, ports: Any = None, **fields: Any
) -> object_pb2.Object:
    """Return a service that both backends are, or those on *ports*."""
    endpoints = [
        service_pb2.Endpoint(address="127.0.0.1", port=port) for port in ports or world.ports
    ]
    offered = [f"aerofusion.bench.v1.{lane}Service"] if lane else []
    return object_pb2.Object(
        service=service_pb2.Service(
            name=f"services/{name}",
            identity="bench",
            grpc_services=offered,
            endpoints=endpoints,
            **fields,
        )
    )


def route(name: str, lane: str, **fields: Any) -> object_pb2.Object:
    """Return a route of the calls of a lane, to its service if *fields* don't say otherwise."""
    match = route_pb2.RouteMatch(
        grpc_service=f"aerofusion.bench.v1.{lane}Service", headers=fields.pop("headers", ())
    )
    return object_pb2.Object(
        route=route_pb2.Route(
            name=f"services/{name}",
            match=match,
            destinations=fields.pop(
                "destinations",
                [route_pb2.Destination(service=f"services/{lane.lower()}", weight=1)],
            ),
            **fields,
        )
    )
