"""A catalog of any size: services with descriptors, each with some routes and no endpoints."""

from __future__ import annotations

from google.protobuf import descriptor_pb2, duration_pb2

from aerofusion.gateway.v1 import route_pb2, service_pb2


METHODS = 10
"""Of each service's one gRPC service; each has a route of its own."""


def grpc_service(number: int) -> str:
    """Full name of what the service with this number offers."""
    return f"bench.s{number:05}.v1.Api"


def service_name(number: int) -> str:
    return f"services/s{number:05}"


def route(number: int, method: int, *roles: str) -> route_pb2.Route:
    """The route of one method, to the next service; with *roles*, only for these."""
    made = route_pb2.Route(
        name=f"{service_name(number)}/routes/m{method}",
        match=route_pb2.RouteMatch(
            grpc_service=grpc_service(number), grpc_method=f"Method{method}"
        ),
        destinations=[route_pb2.Destination(service=service_name(number), weight=1)],
        timeout=duration_pb2.Duration(seconds=5),
    )
    if roles:
        made.access.roles.extend(roles)
    return made


def service(number: int) -> service_pb2.Service:
    """A service with descriptors and without endpoints: requests are answered by the edge."""
    return service_pb2.Service(
        name=service_name(number),
        identity=f"s{number:05}",
        grpc_services=[grpc_service(number)],
        descriptor_set=descriptors(number),
    )


def descriptors(number: int) -> bytes:
    """The descriptor set of a service with `METHODS` methods, every other one streaming."""
    package = grpc_service(number).rpartition(".")[0]
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package}.proto", package=package, syntax="proto3"
    )
    file.message_type.add(name="Message")
    api = file.service.add(name="Api")
    for method in range(METHODS):
        api.method.add(
            name=f"Method{method}",
            input_type=f".{package}.Message",
            output_type=f".{package}.Message",
            server_streaming=method % 2 == 1,
        )
    return descriptor_pb2.FileDescriptorSet(file=[file]).SerializeToString()
