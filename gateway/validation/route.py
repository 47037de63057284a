"""What a route must be like, whoever writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.compile.descriptors import methods
from gateway.validation.checks import (
    CALL_TIMEOUT,
    DESCRIPTION_LENGTH_MAX,
    GRPC_METHOD,
    Problems,
    between,
    check_access,
    check_destinations,
    check_header_changes,
    check_headers,
    check_retry,
    length,
    refuse,
    within,
)


if TYPE_CHECKING:
    from gateway.model import Route, Service

ROUTES_MAX: Final = 100_000


def check_route(route: Route, parent: Service) -> None:
    """
    Refuse a route that can't be.

    Raises:
        InvalidInput: INVALID_ROUTE, with every problem.

    """
    problems: Problems = {}
    length(problems, "description", route.description, DESCRIPTION_LENGTH_MAX)
    if route.grpc_service not in parent.grpc_services:
        problems["match.grpc_service"] = f"not one that {parent.name} offers"
    elif route.grpc_method:
        known = methods(parent.descriptor_set) if parent.descriptor_set else {}
        described = {method.name for method in known.get(route.grpc_service, ())}
        if not GRPC_METHOD.fullmatch(route.grpc_method) or (
            described and route.grpc_method not in described
        ):
            problems["match.grpc_method"] = "not a method of that gRPC service"
    check_headers(problems, "match.headers", route.headers)
    check_destinations(problems, "destinations", route.destinations, route.mirrors)
    if bool(route.destinations) == (route.direct_response is not None):
        problems["destinations"] = "either these or a direct_response"
    if route.direct_response is not None:
        within(problems, "direct_response.status", route.direct_response.status, 200, 599)
        if route.direct_response.body:
            problems["direct_response.body"] = "not for gRPC"
    for at in ("request_headers", "response_headers"):
        changes = getattr(route, at)
        check_header_changes(problems, at, changes)
        if "content-type" in {*changes.remove, *(one.name for one in changes.set)}:
            problems[at] = "gRPC needs its content-type"
    if route.timeout is not None:
        between(problems, "timeout", route.timeout, CALL_TIMEOUT)
    if route.access is not None:
        check_access(problems, "access", route.access)
    check_retry(problems, "retry", route.retry)
    refuse(problems, "INVALID_ROUTE", "route")
