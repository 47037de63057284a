"""Services and their routes to route configurations."""

from __future__ import annotations

import functools
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.compile import changes, switched
from gateway.compile.descriptors import methods
from gateway.compile.envoy_api import any_of, duration, make
from gateway.compile.policies import role_holders
from gateway.model import (
    Access,
    BalancingPolicy,
    Destination,
    HashKey,
    HeaderMatch,
    Mirror,
    Retry,
    Route,
    Service,
)
from gateway.xds.resources import Resource, resource


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gateway.compile.issuers import Grant
    from gateway.compile.options import EdgeOptions

CORS = "envoy.filters.http.cors"
LOCAL_RATELIMIT = "envoy.filters.http.local_ratelimit"
RBAC = "envoy.filters.http.rbac"

_CONFIGURATION = "envoy.config.route.v3.RouteConfiguration"
_NONE = timedelta(0)
_HASHING = frozenset({BalancingPolicy.RING_HASH, BalancingPolicy.MAGLEV})
_CORS_MAX_AGE_S = "7200"
_REQUEST_HEADERS = (
    "authorization, content-type, grpc-timeout, traceparent, tracestate, x-grpc-web, x-user-agent"
)
_RESPONSE_HEADERS = "grpc-message, grpc-status, grpc-status-details-bin, x-request-id"
_ALWAYS = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
_RETRY_ON = "connect-failure,refused-stream,unavailable"
_PROXYLESS_RETRY_ON = "unavailable"
_PACKED_REMEMBERED = 256


class Match(NamedTuple):
    """One entry of a route table: which calls, and the route behind them."""

    grpc_service: str
    method: str
    """Empty: every method."""

    streams: bool
    route: Route | None
    """None: the rule that calls go to the service that offers them."""

    def condition(self) -> dict[str, Any]:
        """Return it as Envoy's RouteMatch."""
        prefix = f"/{self.grpc_service}/"
        path = {"path": prefix + self.method} if self.method else {"prefix": prefix}
        if self.route is None or not self.route.headers:
            return path
        return {**path, "headers": [header_match(match) for match in self.route.headers]}


def matches(service: Service, routes: Sequence[Route], grpc_service: str) -> Iterator[Match]:
    """
    Yield what tells the calls of *grpc_service* apart, in the order they are tried.

    A route for every method comes as one match for each streaming method and one for the rest,
    since only unary calls have a time limit. Methods nobody described count as streams: a
    stream must not be cut by a guess. What an earlier match leaves nothing of isn't there.
    """
    described = methods(service.descriptor_set) if service.descriptor_set else {}
    known = {method.name: method.streams for method in described.get(grpc_service, ())}
    taken = set()
    for route in (*(r for r in routes if r.grpc_service == grpc_service), None):
        whole = route is not None and not route.headers
        if route is not None and route.grpc_method:
            method = route.grpc_method
            if method in taken:
                continue
            yield Match(grpc_service, method, known.get(method, True), route)
            if whole:
                taken.add(method)
            continue
        for name, streams in known.items():
            if streams and name not in taken:
                yield Match(grpc_service, name, True, route)
        yield Match(grpc_service, "", not known, route)
        if whole:
            return


def tables(service: Service, routes: Sequence[Route]) -> dict[str, tuple[Match, ...]]:
    """Return the matches of each of its gRPC services, in the service's order."""
    return {name: tuple(matches(service, routes, name)) for name in service.grpc_services}


def edge_routes(
    service: Service,
    grpc_service: str,
    table: Iterable[Match],
    options: EdgeOptions,
    *,
    known: tuple[Grant, ...] = (),
    limited: Sequence[str] = (),
) -> Resource:
    """
    Return what the edge does with calls of *grpc_service*; its name is the service's.

    Args:
        table: What `matches` tells of *grpc_service*.
        known: What issuers besides the mesh grant.
        limited: The filters of limits that are about these calls.

    """
    found = []
    for match in table:
        access = (match.route and match.route.access) or service.access
        made: dict[str, Any] = {
            "match": match.condition(),
            **_action(service, match),
            **changes.of_route(service, match.grpc_service, match.route),
        }
        if match.route is not None:
            made["name"] = match.route.name
        if access.roles:
            made["typed_per_filter_config"] = {RBAC: role_config(access, known)}
        found.append(made)
    configs = {CORS: cors_config(options), **switched.on(limited)}
    if service.rate_limit is not None:
        configs[LOCAL_RATELIMIT] = _any(**_rate_limit(service))
    return configuration(grpc_service, found, configs)


def _action(service: Service, match: Match) -> dict[str, Any]:
    route = match.route
    if route is not None and route.direct_response is not None:
        # To a gRPC client Envoy tells it as a gRPC status.
        return {"direct_response": {"status": route.direct_response.status}}
    made = {
        **_destination(service, route),
        **_limits(service, match),
        **retry_of(route.retry if route else None, _RETRY_ON),
    }
    if route is not None and route.mirrors:
        made["request_mirror_policies"] = [mirror_of(mirror) for mirror in route.mirrors]
    if service.load_balancing.policy in _HASHING:
        made["hash_policy"] = [_hash_policy(service.load_balancing.hash_key)]
    return {"route": made}


def mirror_of(mirror: Mirror) -> dict[str, Any]:
    """Return where copies go, as Envoy's RequestMirrorPolicy."""
    share = {"numerator": round(mirror.percent * 10_000), "denominator": "MILLION"}
    return {"cluster": mirror.service, "runtime_fraction": {"default_value": share}}


def _hash_policy(key: HashKey | None) -> dict[str, Any]:
    if key is not None and key.header is not None:
        return {"header": {"header_name": key.header}}
    if key is not None and key.cookie is not None:
        return {"cookie": {"name": key.cookie}}
    return {"connection_properties": {"source_ip": True}}


def proxyless_routes(service: Service, table: Iterable[Match]) -> Resource:
    """
    Return where a gRPC client's calls to `xds:///<service>` go; its name is the service's id.

    Args:
        table: The matches of all its gRPC services.

    """
    found = [
        {
            "match": match.condition(),
            "route": {
                **_destination(service, match.route),
                **_limits(service, match, idle=False),
                **retry_of(match.route.retry if match.route else None, _PROXYLESS_RETRY_ON),
            },
        }
        for match in table
        # gRPC clients know no direct responses: the service answers.
        if match.route is None or match.route.direct_response is None
    ]
    # Health and reflection belong to every service.
    found.append({"match": {"prefix": ""}, "route": {"cluster": service.name}})
    return configuration(service.id, found, {})


def configuration(
    name: str, routes: list[dict[str, Any]], filter_configs: dict[str, Any]
) -> Resource:
    """Return a route configuration with one virtual host, for every host name."""
    message = make(
        _CONFIGURATION,
        name=name,
        virtual_hosts=[
            {
                "name": name,
                "domains": ["*"],
                "routes": routes,
                "typed_per_filter_config": filter_configs,
            }
        ],
    )
    return resource(name, message.SerializeToString(deterministic=True))


def header_match(match: HeaderMatch) -> dict[str, Any]:
    """Return a condition on a header as Envoy's HeaderMatcher."""
    if match.present is not None:
        return {"name": match.name, "present_match": match.present}
    if match.exact is not None:
        return {"name": match.name, "string_match": {"exact": match.exact}}
    return {"name": match.name, "string_match": {"prefix": match.prefix}}


def _destination(service: Service, route: Route | None) -> dict[str, Any]:
    return destination_of(
        route.destinations if route else (Destination(service=service.name, weight=1),)
    )


def destination_of(destinations: Sequence[Destination]) -> dict[str, Any]:
    """Return where calls go, as fields of Envoy's RouteAction."""
    if len(destinations) == 1:
        return {"cluster": destinations[0].service}
    return {
        "weighted_clusters": {
            "clusters": [
                {"name": destination.service, "weight": {"value": destination.weight}}
                for destination in destinations
            ]
        }
    }


def _limits(service: Service, match: Match, *, idle: bool = True) -> dict[str, Any]:
    """
    Return the time limits of a match.

    `timeout` would answer UNAVAILABLE; the stream's duration answers DEADLINE_EXCEEDED and
    heeds the caller's own deadline.
    """
    if match.streams:
        return _time_limits(_NONE, service.stream_idle_timeout if idle else None)
    return _time_limits((match.route and match.route.timeout) or service.unary_timeout, None)


@functools.lru_cache(maxsize=_PACKED_REMEMBERED)
def _time_limits(whole: timedelta, idle: timedelta | None) -> dict[str, Any]:
    limit = duration(whole)
    return {
        "timeout": duration(_NONE),
        "max_stream_duration": {"max_stream_duration": limit, "grpc_timeout_header_max": limit},
        **({"idle_timeout": duration(idle)} if idle is not None else {}),
    }


def retry_of(retry: Retry | None, retry_on: str) -> dict[str, Any]:
    """Return the attempts after the first, as fields of Envoy's RouteAction."""
    if retry is None:
        return {}
    policy: dict[str, Any] = {
        "retry_on": retry_on,
        "num_retries": {"value": retry.attempts_max},
        "retry_back_off": {
            "base_interval": timedelta(milliseconds=25),
            "max_interval": timedelta(milliseconds=250),
        },
    }
    if retry.per_try_timeout is not None:
        policy["per_try_timeout"] = retry.per_try_timeout
    if retry.hedge:
        return {"retry_policy": policy, "hedge_policy": {"hedge_on_per_try_timeout": True}}
    return {"retry_policy": policy}


def _any(**packed: Any) -> Any:
    return make("google.protobuf.Any", **packed)


def cors_config(options: EdgeOptions) -> Any:
    """Return the filter config, in an Any, that lets pages of `cors_origins` call."""
    return _any(**_cors(options))


@functools.lru_cache(maxsize=_PACKED_REMEMBERED)
def _cors(options: EdgeOptions) -> dict[str, Any]:
    """Return the CORS policy. Preflights of other origins end here; none goes further."""
    return any_of(
        "envoy.extensions.filters.http.cors.v3.CorsPolicy",
        allow_origin_string_match=[
            {"safe_regex": {"regex": ".*"}} if origin == "*" else {"exact": origin}
            for origin in options.cors_origins
        ],
        allow_methods="GET, POST, PATCH, PUT, DELETE, OPTIONS",
        allow_headers=_REQUEST_HEADERS,
        expose_headers=_RESPONSE_HEADERS,
        max_age=_CORS_MAX_AGE_S,
        forward_not_matching_preflights={"value": False},
    )


def role_config(access: Access, known: tuple[Grant, ...] = ()) -> Any:
    """
    Return the filter config, in an Any, that asks for one of the roles of *access*.

    Args:
        known: What issuers besides the mesh grant.

    """
    return _any(**_rbac(access, known))


@functools.lru_cache(maxsize=_PACKED_REMEMBERED)
def _rbac(access: Access, known: tuple[Grant, ...]) -> dict[str, Any]:
    roles = [one for role in access.roles for one in role_holders(role, known)]
    policy = make("envoy.config.rbac.v3.Policy", permissions=[{"any": True}], principals=roles)
    return any_of(
        "envoy.extensions.filters.http.rbac.v3.RBACPerRoute",
        rbac={"rules": {"action": "ALLOW", "policies": {"roles": policy}}},
    )


def _rate_limit(service: Service) -> dict[str, Any]:
    limit = service.rate_limit
    assert limit is not None, "only asked for with a limit"
    return any_of(
        "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
        stat_prefix=service.id,
        token_bucket={
            "max_tokens": limit.burst,
            "tokens_per_fill": {"value": limit.per_second},
            "fill_interval": timedelta(seconds=1),
        },
        filter_enabled=_ALWAYS,
        filter_enforced=_ALWAYS,
        rate_limited_as_resource_exhausted=True,
    )
