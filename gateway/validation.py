"""What a service and a route must be like, whoever writes them."""

from __future__ import annotations

import ipaddress
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from gateway.compile.descriptors import InvalidDescriptors, merge, methods
from gateway.model import Access, Route, Service
from meshkit.errors import InvalidInput


if TYPE_CHECKING:
    from collections.abc import Iterable

SERVICES_MAX: Final = 2_000
ROUTES_MAX: Final = 20_000
GRPC_SERVICES_MAX: Final = 64
ENDPOINTS_MAX: Final = 1_000
JSON_PREFIXES_MAX: Final = 16
ROLES_MAX: Final = 16
HEADERS_MAX: Final = 16
DESTINATIONS_MAX: Final = 16
DESCRIPTION_LENGTH_MAX: Final = 500
DESCRIPTOR_SET_BYTES_MAX: Final = 2 * 1024 * 1024
HEADER_VALUE_LENGTH_MAX: Final = 1_000
REQUEST_ID_LENGTH_MAX: Final = 64

_ID = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")
_AREA = re.compile(r"[a-z0-9-]{1,40}")
_GRPC_SERVICE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
_GRPC_METHOD = re.compile(r"[A-Za-z_]\w{0,199}")
_HEADER = re.compile(r"[a-z0-9!#$%&'*+.^`|~-]{1,100}")
_IDENTITY = re.compile(r"[a-z](?:[a-z0-9-]{0,30}[a-z0-9])?")
_ROLE = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_UNARY_TIMEOUT = (timedelta(milliseconds=1), timedelta(hours=1))
_IDLE_TIMEOUT = (timedelta(seconds=1), timedelta(hours=24))

Problems = dict[str, str]
"""Path of a field to what is wrong with it."""


def service_name(service_id: str) -> str:
    """
    Return the name of the service with this id.

    Raises:
        InvalidInput: INVALID_NAME.

    """
    return checked_service_name(f"services/{service_id}")


def checked_service_name(name: str) -> str:
    """
    Return *name* if it is the name of a service.

    Raises:
        InvalidInput: INVALID_NAME.

    """
    prefix, _, service_id = name.partition("/")
    if prefix != "services" or not _ID.fullmatch(service_id):
        raise _invalid_name(name, "services/{service}")
    return name


def checked_route_name(name: str) -> str:
    """
    Return *name* if it is the name of a route.

    Raises:
        InvalidInput: INVALID_NAME.

    """
    parts = name.split("/")
    ids = parts[1::2]
    if parts[::2] != ["services", "routes"] or not all(_ID.fullmatch(one) for one in ids):
        raise _invalid_name(name, "services/{service}/routes/{route}")
    return name


def check_service(service: Service) -> None:
    """
    Refuse a service that can't be.

    Raises:
        InvalidInput: INVALID_SERVICE, with every problem.

    """
    problems: Problems = {}
    _length(problems, "description", service.description, DESCRIPTION_LENGTH_MAX)
    _count(problems, "grpc_services", service.grpc_services, GRPC_SERVICES_MAX)
    _each(problems, "grpc_services", service.grpc_services, _GRPC_SERVICE, "not a full name")
    _count(problems, "json_prefixes", service.json_prefixes, JSON_PREFIXES_MAX)
    _each(problems, "json_prefixes", service.json_prefixes, _AREA, "not an area")
    if not _IDENTITY.fullmatch(service.identity):
        problems["identity"] = "not the service part of a SPIFFE id"
    _check_endpoints(problems, service)
    _check_access(problems, "access", service.access)
    _between(problems, "unary_timeout", service.unary_timeout, _UNARY_TIMEOUT)
    _between(problems, "stream_idle_timeout", service.stream_idle_timeout, _IDLE_TIMEOUT)
    _check_bounds(problems, service)
    _check_descriptors(problems, service)
    _refuse(problems, "INVALID_SERVICE", "service")


def check_route(route: Route, parent: Service) -> None:
    """
    Refuse a route that can't be.

    Raises:
        InvalidInput: INVALID_ROUTE, with every problem.

    """
    problems: Problems = {}
    _length(problems, "description", route.description, DESCRIPTION_LENGTH_MAX)
    if route.grpc_service not in parent.grpc_services:
        problems["match.grpc_service"] = f"not one that {parent.name} offers"
    elif route.grpc_method:
        known = methods(parent.descriptor_set) if parent.descriptor_set else {}
        described = {method.name for method in known.get(route.grpc_service, ())}
        if not _GRPC_METHOD.fullmatch(route.grpc_method) or (
            described and route.grpc_method not in described
        ):
            problems["match.grpc_method"] = "not a method of that gRPC service"
    _check_headers(problems, route)
    _check_destinations(problems, route)
    if route.timeout is not None:
        _between(problems, "timeout", route.timeout, _UNARY_TIMEOUT)
    if route.access is not None:
        _check_access(problems, "access", route.access)
    if route.retry is not None:
        if not 1 <= route.retry.attempts_max <= 5:
            problems["retry.attempts_max"] = "must be 1 to 5"
        if route.retry.per_try_timeout is not None:
            _between(problems, "retry.per_try_timeout", route.retry.per_try_timeout, _UNARY_TIMEOUT)
    _refuse(problems, "INVALID_ROUTE", "route")


def checked_request_id(request_id: str) -> str:
    """
    Return *request_id* if it is short enough.

    Raises:
        InvalidInput: INVALID_REQUEST_ID.

    """
    if len(request_id) > REQUEST_ID_LENGTH_MAX:
        raise InvalidInput(
            "INVALID_REQUEST_ID",
            f"A request_id has at most {REQUEST_ID_LENGTH_MAX} characters.",
            field_violations={"request_id": "too long"},
        )
    return request_id


def _check_endpoints(problems: Problems, service: Service) -> None:
    _count(problems, "endpoints", service.endpoints, ENDPOINTS_MAX)
    seen = set()
    for number, endpoint in enumerate(service.endpoints[:ENDPOINTS_MAX]):
        path = f"endpoints[{number}]"
        try:
            ipaddress.ip_address(endpoint.address)
        except ValueError:
            problems[f"{path}.address"] = "not an IP address"
        if not 1 <= endpoint.port <= 65_535:
            problems[f"{path}.port"] = "must be 1 to 65535"
        if not 1 <= endpoint.weight <= 1_000:
            problems[f"{path}.weight"] = "must be 1 to 1000"
        if (endpoint.address, endpoint.port) in seen:
            problems[path] = "is there twice"
        seen.add((endpoint.address, endpoint.port))


def _check_access(problems: Problems, path: str, access: Access) -> None:
    _count(problems, f"{path}.roles", access.roles, ROLES_MAX)
    _each(problems, f"{path}.roles", access.roles, _ROLE, "not a role")
    if access.public and access.roles:
        problems[path] = "public and roles exclude each other"


def _check_bounds(problems: Problems, service: Service) -> None:
    limits = service.concurrency
    bounded = [
        ("concurrency.requests_max", limits.requests_max, 100_000),
        ("concurrency.pending_max", limits.pending_max, 100_000),
        ("concurrency.connections_max", limits.connections_max, 10_000),
    ]
    if service.rate_limit is not None:
        bounded += [
            ("rate_limit.burst", service.rate_limit.burst, 1_000_000),
            ("rate_limit.per_second", service.rate_limit.per_second, 1_000_000),
        ]
    for path, value, most in bounded:
        if not 1 <= value <= most:
            problems[path] = f"must be 1 to {most}"


def _check_descriptors(problems: Problems, service: Service) -> None:
    if len(service.descriptor_set) > DESCRIPTOR_SET_BYTES_MAX:
        problems["descriptor_set"] = f"larger than {DESCRIPTOR_SET_BYTES_MAX} bytes"
    elif service.descriptor_set:
        try:
            known = methods(service.descriptor_set)
            merge([service.descriptor_set])
        except InvalidDescriptors as error:
            problems["descriptor_set"] = str(error)
            return
        unknown = [name for name in service.grpc_services if name not in known]
        if unknown:
            problems["descriptor_set"] = f"doesn't describe {', '.join(unknown)}"


def _check_headers(problems: Problems, route: Route) -> None:
    _count(problems, "match.headers", route.headers, HEADERS_MAX)
    for number, header in enumerate(route.headers[:HEADERS_MAX]):
        path = f"match.headers[{number}]"
        if not _HEADER.fullmatch(header.name):
            problems[f"{path}.name"] = "not the lower-case name of a header"
        given = [header.exact, header.prefix, header.present]
        if sum(one is not None for one in given) != 1 or header.prefix == "":
            problems[path] = "needs one condition"
        _length(problems, path, header.exact or header.prefix or "", HEADER_VALUE_LENGTH_MAX)


def _check_destinations(problems: Problems, route: Route) -> None:
    _count(problems, "destinations", route.destinations, DESTINATIONS_MAX)
    if not route.destinations:
        problems["destinations"] = "at least one is needed"
    names = [destination.service for destination in route.destinations]
    if len(set(names)) != len(names):
        problems["destinations"] = "one is there twice"
    for number, destination in enumerate(route.destinations[:DESTINATIONS_MAX]):
        prefix, _, service_id = destination.service.partition("/")
        if prefix != "services" or not _ID.fullmatch(service_id):
            problems[f"destinations[{number}].service"] = "not the name of a service"
        if not 0 <= destination.weight <= 10_000:
            problems[f"destinations[{number}].weight"] = "must be 0 to 10000"
    if len(names) > 1 and not any(destination.weight for destination in route.destinations):
        problems["destinations"] = "none has a weight"


def _length(problems: Problems, path: str, text: str, most: int) -> None:
    if len(text) > most:
        problems[path] = f"longer than {most} characters"


def _count(problems: Problems, path: str, items: tuple[object, ...], most: int) -> None:
    if len(items) > most:
        problems[path] = f"more than {most}"
    elif len(set(items)) != len(items):
        problems[path] = "one is there twice"


def _each(
    problems: Problems, path: str, items: Iterable[str], form: re.Pattern[str], complaint: str
) -> None:
    for number, item in enumerate(items):
        if not form.fullmatch(item) or len(item) > 200:
            problems[f"{path}[{number}]"] = complaint


def _between(
    problems: Problems, path: str, value: timedelta, bounds: tuple[timedelta, timedelta]
) -> None:
    least, most = bounds
    if not least <= value <= most:
        problems[path] = f"must be {least.total_seconds():g} to {most.total_seconds():g} s"


def _refuse(problems: Problems, reason: str, root: str) -> None:
    if not problems:
        return
    violations = {f"{root}.{path}": what for path, what in problems.items()}
    first = next(iter(violations.items()))
    raise InvalidInput(
        reason, f"The {root} can't be: {first[0]}: {first[1]}.", field_violations=violations
    )


def _invalid_name(name: str, form: str) -> InvalidInput:
    return InvalidInput(
        "INVALID_NAME",
        f"A name here has the form {form}; an id is 1 to 40 of a-z, 0-9 and -.",
        field_violations={"name": f"not of the form {form}"},
        name=name[:200],
    )
