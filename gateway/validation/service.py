"""What a service must be like, whoever writes it."""

from __future__ import annotations

import ipaddress
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from gateway.compile.descriptors import InvalidDescriptors, merge, methods
from gateway.model import BalancingPolicy, Protocol
from gateway.reference.places import ELEMENTS
from gateway.validation.bindings import misbound
from gateway.validation.checks import (
    DESCRIPTION_LENGTH_MAX,
    GRPC_METHOD,
    GRPC_SERVICE,
    HEADER,
    Problems,
    between,
    check_access,
    check_chain,
    count,
    each,
    length,
    refuse,
    within,
)


if TYPE_CHECKING:
    from gateway.model import Endpoint, Service

SERVICES_MAX: Final = 10_000
GRPC_SERVICES_MAX: Final = 64
ENDPOINTS_MAX: Final = 1_000
JSON_PREFIXES_MAX: Final = 16
DESCRIPTOR_SET_BYTES_MAX: Final = 2 * 1024 * 1024

_AREA = re.compile(r"[a-z0-9-]{1,40}")
_IDENTITY = re.compile(r"[a-z](?:[a-z0-9-]{0,30}[a-z0-9])?")
_UNARY_TIMEOUT = (timedelta(milliseconds=1), timedelta(hours=1))
_IDLE_TIMEOUT = (timedelta(seconds=1), timedelta(hours=24))
_CHECK_INTERVAL = (timedelta(milliseconds=100), timedelta(seconds=60))
_CHECK_TIMEOUT = (timedelta(milliseconds=50), timedelta(seconds=60))
_OUTLIER_INTERVAL = (timedelta(milliseconds=100), timedelta(minutes=5))
_EJECTION_TIME = (timedelta(milliseconds=100), timedelta(hours=1))
_REFRESH = (timedelta(seconds=1), timedelta(hours=1))
_HOSTNAME = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_]([a-z0-9_-]{0,62}))*")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_CHECK_PATH = re.compile(r"/[\x21-\x7e]{0,199}")
_LINK = re.compile(r"https?://[\x21\x23-\x24\x26-\x3b\x3d\x3f-\x7e]{1,400}")


def check_service(service: Service) -> None:
    """
    Refuse a service that can't be.

    Raises:
        InvalidInput: INVALID_SERVICE, with every problem.

    """
    problems: Problems = {}
    length(problems, "description", service.description, DESCRIPTION_LENGTH_MAX)
    count(problems, "grpc_services", service.grpc_services, GRPC_SERVICES_MAX)
    each(problems, "grpc_services", service.grpc_services, GRPC_SERVICE, "not a full name")
    count(problems, "json_prefixes", service.json_prefixes, JSON_PREFIXES_MAX)
    each(problems, "json_prefixes", service.json_prefixes, _AREA, "not an area")
    for field in ("grpc_services", "json_prefixes"):
        for number, name in enumerate(getattr(service, field)):
            if name in ELEMENTS:
                problems[f"{field}[{number}]"] = "is where the API reference stands"
    if not _IDENTITY.fullmatch(service.identity):
        problems["identity"] = "not the service part of a SPIFFE id"
    _check_endpoints(problems, service)
    check_access(problems, "access", service.access)
    between(problems, "unary_timeout", service.unary_timeout, _UNARY_TIMEOUT)
    between(problems, "stream_idle_timeout", service.stream_idle_timeout, _IDLE_TIMEOUT)
    _check_bounds(problems, service)
    _check_balancing(problems, service)
    _check_discovery(problems, service)
    _check_lifecycles(problems, service)
    _check_transport(problems, service)
    _check_descriptors(problems, service)
    refuse(problems, "INVALID_SERVICE", "service")


def _check_endpoints(problems: Problems, service: Service) -> None:
    count(problems, "endpoints", service.endpoints, ENDPOINTS_MAX)
    seen = set()
    for number, endpoint in enumerate(service.endpoints[:ENDPOINTS_MAX]):
        path = f"endpoints[{number}]"
        check_endpoint(problems, path, endpoint)
        if (endpoint.address, endpoint.port) in seen:
            problems[path] = "is there twice"
        seen.add((endpoint.address, endpoint.port))


def check_endpoint(problems: Problems, path: str, endpoint: Endpoint) -> None:
    """Note what an endpoint, found at *path*, can't be."""
    try:
        ipaddress.ip_address(endpoint.address)
    except ValueError:
        problems[f"{path}.address"] = "not an IP address"
    if not 1 <= endpoint.port <= 65_535:
        problems[f"{path}.port"] = "must be 1 to 65535"
    within(problems, f"{path}.priority", endpoint.priority, 0, 8)
    locality = endpoint.locality
    for part in (locality.region, locality.zone, locality.sub_zone):
        length(problems, f"{path}.locality", part, 60)
    if not 1 <= endpoint.weight <= 1_000:
        problems[f"{path}.weight"] = "must be 1 to 1000"


def _check_bounds(problems: Problems, service: Service) -> None:
    limits = service.concurrency
    bounded = [
        ("concurrency.requests_max", limits.requests_max, 100_000),
        ("concurrency.pending_max", limits.pending_max, 100_000),
        ("concurrency.connections_max", limits.connections_max, 10_000),
    ]
    within(problems, "concurrency.retry_budget_percent", limits.retry_budget_percent, 1, 100)
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
        elif service.json_prefixes:
            wrong = misbound(service.descriptor_set, service.grpc_services)
            if wrong:
                problems["descriptor_set"] = wrong


def _check_balancing(problems: Problems, service: Service) -> None:
    key = service.load_balancing.hash_key
    if key is not None and key.header is not None and not HEADER.fullmatch(key.header):
        problems["load_balancing.hash_key.header"] = "not the lower-case name of a header"
    if key is not None and key.cookie is not None and not GRPC_METHOD.fullmatch(key.cookie):
        problems["load_balancing.hash_key.cookie"] = "not the name of a cookie"
    check = service.health_check
    if check is not None:
        between(problems, "health_check.interval", check.interval, _CHECK_INTERVAL)
        between(problems, "health_check.timeout", check.timeout, _CHECK_TIMEOUT)
        within(problems, "health_check.unhealthy_threshold", check.unhealthy_threshold, 1, 10)
        within(problems, "health_check.healthy_threshold", check.healthy_threshold, 1, 10)
        path = check.http_path
        if path is not None and not _CHECK_PATH.fullmatch(path):
            problems["health_check.http_path"] = "must begin with / and be at most 200 of ASCII"
    outlier = service.outlier_detection
    if outlier is not None:
        at = "outlier_detection"
        within(problems, f"{at}.consecutive_errors", outlier.consecutive_errors, 1, 1_000)
        within(problems, f"{at}.max_ejection_percent", outlier.max_ejection_percent, 1, 100)
        between(problems, f"{at}.interval", outlier.interval, _OUTLIER_INTERVAL)
        between(problems, f"{at}.base_ejection_time", outlier.base_ejection_time, _EJECTION_TIME)


def _check_discovery(problems: Problems, service: Service) -> None:
    if service.reflect and service.external_tls is not None:
        problems["reflect"] = "only services of the mesh are asked; give a descriptor_set"
    elif service.reflect and not service.grpc_services:
        problems["reflect"] = "needs grpc_services to ask for"
    elif service.reflect and service.descriptor_set:
        problems["reflect"] = "excludes a descriptor_set"
    balancing = service.load_balancing
    if balancing.weights_from_load and balancing.policy is not BalancingPolicy.ROUND_ROBIN:
        problems["load_balancing.weights_from_load"] = "needs the policy ROUND_ROBIN"
    dns = service.discovery.dns
    if dns is not None:
        if not _HOSTNAME.fullmatch(dns.hostname) or len(dns.hostname) > 253:
            problems["discovery.dns.hostname"] = "not a host name"
        records = dns.hostname.startswith("_")
        within(
            problems, "discovery.dns.port", dns.port, 0 if records else 1, 0 if records else 65_535
        )
        between(problems, "discovery.dns.refresh_interval", dns.refresh_interval, _REFRESH)
    kubernetes = service.discovery.kubernetes
    if kubernetes is not None:
        for field in ("namespace", "service"):
            if not _LABEL.fullmatch(getattr(kubernetes, field)):
                problems[f"discovery.kubernetes.{field}"] = "not a Kubernetes name"
        if kubernetes.port_name and not _LABEL.fullmatch(kubernetes.port_name):
            problems["discovery.kubernetes.port_name"] = "not the name of a port"


def _check_lifecycles(problems: Problems, service: Service) -> None:
    count(problems, "lifecycles", service.lifecycles, GRPC_SERVICES_MAX)
    seen = set()
    for number, one in enumerate(service.lifecycles[:GRPC_SERVICES_MAX]):
        at = f"lifecycles[{number}]"
        if one.grpc_service not in service.grpc_services or one.grpc_service in seen:
            problems[f"{at}.grpc_service"] = "not one that is offered, or there twice"
        seen.add(one.grpc_service)
        if one.deprecate_time and one.sunset_time and one.sunset_time < one.deprecate_time:
            problems[f"{at}.sunset_time"] = "before the deprecate_time"
        if one.link and not _LINK.fullmatch(one.link):
            problems[f"{at}.link"] = "not the address of a page"


def _check_transport(problems: Problems, service: Service) -> None:
    if service.protocol is Protocol.HTTP1 and service.grpc_services:
        problems["protocol"] = "gRPC services need HTTP/2"
    tls = service.external_tls
    if tls is None:
        return
    if not _HOSTNAME.fullmatch(tls.server_name) or len(tls.server_name) > 253:
        problems["external_tls.server_name"] = "not a host name"
    check_chain(problems, "external_tls.ca_pem", tls.ca_pem)
