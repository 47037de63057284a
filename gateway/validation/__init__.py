"""What objects of the catalog must be like, whoever writes them."""

from __future__ import annotations

from gateway.validation.checks import (
    checked_request_id,
    checked_route_name,
    checked_service_name,
    service_name,
)
from gateway.validation.host import check_certificate, check_host
from gateway.validation.route import ROUTES_MAX, check_route
from gateway.validation.rules import check_issuer, check_limit, check_policy
from gateway.validation.service import SERVICES_MAX, check_service


__all__ = [
    "ROUTES_MAX",
    "SERVICES_MAX",
    "check_certificate",
    "check_host",
    "check_issuer",
    "check_limit",
    "check_policy",
    "check_route",
    "check_service",
    "checked_request_id",
    "checked_route_name",
    "checked_service_name",
    "service_name",
]
