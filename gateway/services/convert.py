"""Between the contract's messages and the model."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from aerofusion.gateway.v1 import revision_pb2, route_pb2, service_pb2
from gateway import model


if TYPE_CHECKING:
    from google.protobuf.duration_pb2 import Duration

    from gateway.store.catalog import Revision, Stored

_HEALTH = {
    service_pb2.HEALTH_UNSPECIFIED: model.Health.HEALTHY,
    service_pb2.HEALTH_HEALTHY: model.Health.HEALTHY,
    service_pb2.HEALTH_UNHEALTHY: model.Health.UNHEALTHY,
    service_pb2.HEALTH_DRAINING: model.Health.DRAINING,
}
_HEALTH_BACK = {
    model.Health.HEALTHY: service_pb2.HEALTH_HEALTHY,
    model.Health.UNHEALTHY: service_pb2.HEALTH_UNHEALTHY,
    model.Health.DRAINING: service_pb2.HEALTH_DRAINING,
}
_ACTIONS = {
    "create": revision_pb2.Revision.ACTION_CREATE,
    "update": revision_pb2.Revision.ACTION_UPDATE,
    "delete": revision_pb2.Revision.ACTION_DELETE,
}
_DURATION_S_MAX = 10**9  # Longer ones are refused later; `timedelta` must be able to hold them.


def service_in(name: str, message: service_pb2.Service) -> model.Service:
    """Return the service *name* as *message* has it, with defaults for what is unset."""
    default = model.Service(name=name, identity=message.identity or name.partition("/")[2])
    concurrency = message.concurrency
    return model.Service(
        name=name,
        description=message.description,
        grpc_services=tuple(message.grpc_services),
        endpoints=tuple(_endpoint_in(endpoint) for endpoint in message.endpoints),
        identity=default.identity,
        json_prefixes=tuple(message.json_prefixes),
        descriptor_set=message.descriptor_set,
        access=_access_in(message.access),
        unary_timeout=_duration(message, "unary_timeout") or default.unary_timeout,
        stream_idle_timeout=(
            _duration(message, "stream_idle_timeout") or default.stream_idle_timeout
        ),
        rate_limit=model.RateLimit(
            burst=message.rate_limit.burst, per_second=message.rate_limit.per_second
        )
        if message.HasField("rate_limit")
        else None,
        concurrency=model.Concurrency(
            requests_max=concurrency.requests_max or default.concurrency.requests_max,
            pending_max=concurrency.pending_max or default.concurrency.pending_max,
            connections_max=concurrency.connections_max or default.concurrency.connections_max,
        ),
    )


def service_out(stored: Stored) -> service_pb2.Service:
    """Return a service for a client."""
    service = stored.value
    assert isinstance(service, model.Service), "asked for as a service"
    limits: dict[str, Any] = {
        "unary_timeout": service.unary_timeout,
        "stream_idle_timeout": service.stream_idle_timeout,
    }
    if service.rate_limit is not None:
        limits["rate_limit"] = service_pb2.RateLimit(
            burst=service.rate_limit.burst, per_second=service.rate_limit.per_second
        )
    return service_pb2.Service(
        **_output_only(stored),
        **limits,
        description=service.description,
        grpc_services=service.grpc_services,
        endpoints=[
            service_pb2.Endpoint(
                address=endpoint.address,
                port=endpoint.port,
                weight=endpoint.weight,
                health=_HEALTH_BACK[endpoint.health],
            )
            for endpoint in service.endpoints
        ],
        identity=service.identity,
        json_prefixes=service.json_prefixes,
        descriptor_set=service.descriptor_set,
        access=_access_out(service.access),
        concurrency=service_pb2.ConcurrencyLimits(
            requests_max=service.concurrency.requests_max,
            pending_max=service.concurrency.pending_max,
            connections_max=service.concurrency.connections_max,
        ),
    )


def route_in(name: str, message: route_pb2.Route) -> model.Route:
    """Return the route *name* as *message* has it."""
    retry = message.retry
    return model.Route(
        name=name,
        description=message.description,
        grpc_service=message.match.grpc_service,
        grpc_method=message.match.grpc_method,
        headers=tuple(_header_in(header) for header in message.match.headers),
        destinations=tuple(
            model.Destination(service=one.service, weight=one.weight)
            for one in message.destinations
        ),
        timeout=_duration(message, "timeout"),
        retry=model.Retry(
            attempts_max=retry.attempts_max, per_try_timeout=_duration(retry, "per_try_timeout")
        )
        if message.HasField("retry")
        else None,
        access=_access_in(message.access) if message.HasField("access") else None,
    )


def route_out(stored: Stored) -> route_pb2.Route:
    """Return a route for a client."""
    route = stored.value
    assert isinstance(route, model.Route), "asked for as a route"
    optional: dict[str, Any] = {}
    if route.timeout is not None:
        optional["timeout"] = route.timeout
    if route.retry is not None:
        optional["retry"] = {
            "attempts_max": route.retry.attempts_max,
            "per_try_timeout": route.retry.per_try_timeout,
        }
    if route.access is not None:
        optional["access"] = _access_out(route.access)
    return route_pb2.Route(
        **_output_only(stored),
        **optional,
        description=route.description,
        match=route_pb2.RouteMatch(
            grpc_service=route.grpc_service,
            grpc_method=route.grpc_method,
            headers=[_header_out(header) for header in route.headers],
        ),
        destinations=[
            route_pb2.Destination(service=one.service, weight=one.weight)
            for one in route.destinations
        ],
    )


def revision_out(revision: Revision) -> revision_pb2.Revision:
    """Return a revision for a client."""
    message = revision_pb2.Revision(
        revision=revision.revision,
        object=revision.object,
        action=_ACTIONS[revision.action],
        actor=revision.actor,
    )
    message.create_time.FromDatetime(revision.create_time)
    if revision.stored is not None:
        if isinstance(revision.stored.value, model.Service):
            message.service.CopyFrom(service_out(revision.stored))
        else:
            message.route.CopyFrom(route_out(revision.stored))
    return message


def _output_only(stored: Stored) -> dict[str, Any]:
    return {
        "name": stored.value.name,
        "etag": stored.etag,
        "revision": stored.revision,
        "create_time": stored.create_time,
        "update_time": stored.update_time,
    }


def _endpoint_in(message: service_pb2.Endpoint) -> model.Endpoint:
    return model.Endpoint(
        address=message.address,
        port=message.port,
        weight=message.weight or 1,
        health=_HEALTH.get(message.health, model.Health.HEALTHY),
    )


def _access_in(message: service_pb2.Access) -> model.Access:
    return model.Access(public=message.public, roles=tuple(message.roles))


def _access_out(access: model.Access) -> service_pb2.Access:
    return service_pb2.Access(public=access.public, roles=access.roles)


def _header_in(message: route_pb2.HeaderMatch) -> model.HeaderMatch:
    which = message.WhichOneof("condition")
    return model.HeaderMatch(
        name=message.name,
        exact=message.exact if which == "exact" else None,
        prefix=message.prefix if which == "prefix" else None,
        present=message.present if which == "present" else None,
    )


def _header_out(header: model.HeaderMatch) -> route_pb2.HeaderMatch:
    if header.exact is not None:
        return route_pb2.HeaderMatch(name=header.name, exact=header.exact)
    if header.prefix is not None:
        return route_pb2.HeaderMatch(name=header.name, prefix=header.prefix)
    return route_pb2.HeaderMatch(name=header.name, present=bool(header.present))


def _duration(message: Any, field: str) -> timedelta | None:
    """Return a duration, or None if it is unset; one that nothing can hold is cut."""
    if not message.HasField(field):
        return None
    value: Duration = getattr(message, field)
    seconds = max(-_DURATION_S_MAX, min(value.seconds, _DURATION_S_MAX))
    return timedelta(seconds=seconds, microseconds=value.nanos // 1000)
