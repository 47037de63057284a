"""What issuers, policies and limits must be like, whoever writes them."""

from __future__ import annotations

import ipaddress
import re
import urllib.parse
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from gateway.validation.checks import (
    DESCRIPTION_LENGTH_MAX,
    GRPC_SERVICE,
    HEADER,
    RESERVED_HEADERS,
    ROLE,
    Problems,
    between,
    check_chain,
    check_name,
    count,
    each,
    length,
    refuse,
    within,
)
from gateway.validation.jwks import has_secrets, reduced
from meshkit.tokens import ISSUER, KEY_HEADER, KEY_ISSUER, MESH_ISSUER


if TYPE_CHECKING:
    from gateway.model import CallScope, Issuer, Limit, Policy, Principal

ISSUERS_MAX: Final = 32
POLICIES_MAX: Final = 10_000
LIMITS_MAX: Final = 1_000
LIMIT_KEYS_MAX: Final = 4

_NO_TOKENS_IN = frozenset(
    {KEY_HEADER, "cookie", "host", "te", "connection", "content-type", "user-agent", "origin"}
)
_METHOD = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+/[A-Za-z_]\w{0,199}")
_CLAIM = re.compile(r"[A-Za-z_][\w:./-]{0,99}")
_TENANT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_URI = re.compile(r"https://[\x21-\x7e]{1,492}")
_WORD = re.compile(r"[\x21-\x7e]{1,200}")
_SUBJECT_PREFIXES = frozenset({"passengers/", "services/", "devices/"})
_REFRESH = (timedelta(seconds=10), timedelta(hours=24))
_INTERVAL = (timedelta(seconds=1), timedelta(hours=24))


def check_issuer(issuer: Issuer) -> None:
    """
    Refuse an issuer that can't be.

    Raises:
        InvalidInput: INVALID_OBJECT, with every problem.

    """
    problems: Problems = {}
    length(problems, "description", issuer.description, DESCRIPTION_LENGTH_MAX)
    if not 1 <= len(issuer.issuer) <= 500:
        problems["issuer"] = "must have 1 to 500 characters"
    count(problems, "audiences", issuer.audiences, 16)
    each(problems, "audiences", issuer.audiences, _WORD, "not an audience")
    if not issuer.audiences:
        problems["audiences"] = "at least one is needed"
    if (issuer.jwks is None) == (issuer.remote_jwks is None):
        problems["keys"] = "needs exactly one"
    if issuer.jwks is not None:
        _check_jwks(problems, "jwks", issuer.jwks)
    if issuer.remote_jwks is not None:
        if not _is_address(issuer.remote_jwks.uri):
            problems["remote_jwks.uri"] = "must be an https:// address"
        between(
            problems, "remote_jwks.refresh_interval", issuer.remote_jwks.refresh_interval, _REFRESH
        )
        if issuer.remote_jwks.ca_pem:
            check_chain(problems, "remote_jwks.ca_pem", issuer.remote_jwks.ca_pem)
    for field in ("subject_claim", "tenant_claim", "roles_claim"):
        claim = getattr(issuer, field)
        if (claim or field == "subject_claim") and not _CLAIM.fullmatch(claim):
            problems[field] = "not the name of a claim"
    if not issuer.tenant_claim and not _TENANT.fullmatch(issuer.tenant):
        problems["tenant"] = "must be a lower-case name, or there must be a tenant_claim"
    count(problems, "roles", issuer.roles, 16)
    each(problems, "roles", issuer.roles, ROLE, "not a role")
    if not issuer.roles or "operator" in issuer.roles:
        problems["roles"] = "at least one is needed, and never operator"
    if issuer.subject_prefix not in _SUBJECT_PREFIXES:
        problems["subject_prefix"] = "must be passengers/, services/ or devices/"
    _check_header(problems, issuer.header)
    if issuer.name == MESH_ISSUER:
        problems["name"] = "is the mesh itself"
    if issuer.issuer in (ISSUER, KEY_ISSUER):
        problems["issuer"] = "is the mesh itself"
    refuse(problems, "INVALID_OBJECT", "issuer")


def check_policy(policy: Policy) -> None:
    """
    Refuse a policy that can't be.

    Raises:
        InvalidInput: INVALID_OBJECT, with every problem.

    """
    problems: Problems = {}
    length(problems, "description", policy.description, DESCRIPTION_LENGTH_MAX)
    _check_scope(problems, policy.scope)
    if not 1 <= len(policy.principals) <= 32:
        problems["principals"] = "must be 1 to 32"
    for number, principal in enumerate(policy.principals[:32]):
        _check_principal(problems, f"principals[{number}]", principal)
    refuse(problems, "INVALID_OBJECT", "policy")


def check_limit(limit: Limit) -> None:
    """
    Refuse a limit that can't be.

    Raises:
        InvalidInput: INVALID_OBJECT, with every problem.

    """
    problems: Problems = {}
    length(problems, "description", limit.description, DESCRIPTION_LENGTH_MAX)
    _check_scope(problems, limit.scope)
    count(problems, "keys", limit.keys, LIMIT_KEYS_MAX)
    for number, key in enumerate(limit.keys[:LIMIT_KEYS_MAX]):
        given = (key.tenant, key.subject, key.api_key, key.remote_address, key.method)
        names = (key.claim, key.header)
        if sum(one is not None for one in (*given, *names)) != 1 or False in given:
            problems[f"keys[{number}]"] = "needs exactly one"
        if key.claim is not None and not _CLAIM.fullmatch(key.claim):
            problems[f"keys[{number}].claim"] = "not the name of a claim"
        elif ":" in (key.claim or ""):
            problems[f"keys[{number}].claim"] = "the edge can't count by a claim with a colon"
        if key.header is not None and not HEADER.fullmatch(key.header):
            problems[f"keys[{number}].header"] = "not the lower-case name of a header"
    within(problems, "requests", limit.requests, 1, 1_000_000_000)
    within(problems, "burst", limit.burst, 0, 1_000_000_000)
    within(problems, "cost", limit.cost, 1, 1_000)
    between(problems, "interval", limit.interval, _INTERVAL)
    if limit.interval.microseconds:
        problems["interval"] = "must be whole seconds"
    refuse(problems, "INVALID_OBJECT", "limit")


def _check_header(problems: Problems, header: str) -> None:
    if not header:
        return
    taken = header in _NO_TOKENS_IN or header.startswith(RESERVED_HEADERS)
    if not HEADER.fullmatch(header) or taken:
        problems["header"] = "not the lower-case name of a header for tokens"


def _check_scope(problems: Problems, scope: CallScope) -> None:
    count(problems, "scope.services", scope.services, 64)
    count(problems, "scope.grpc_services", scope.grpc_services, 64)
    count(problems, "scope.methods", scope.methods, 256)
    count(problems, "scope.hosts", scope.hosts, 64)
    for number, name in enumerate(scope.services):
        check_name(problems, f"scope.services[{number}]", name, "services")
    for number, name in enumerate(scope.hosts):
        check_name(problems, f"scope.hosts[{number}]", name, "hosts")
    each(problems, "scope.grpc_services", scope.grpc_services, GRPC_SERVICE, "not a full name")
    each(problems, "scope.methods", scope.methods, _METHOD, "not a gRPC service and a method")


def _check_principal(problems: Problems, path: str, principal: Principal) -> None:
    lists = {
        "roles": (principal.roles, 16, ROLE),
        "scopes": (principal.scopes, 16, _WORD),
        "tenants": (principal.tenants, 64, _TENANT),
        "subjects": (principal.subjects, 64, _WORD),
        "certificates": (principal.certificates, 16, _WORD),
    }
    for field, (items, most, form) in lists.items():
        count(problems, f"{path}.{field}", items, most)
        each(problems, f"{path}.{field}", items, form, "not of its form")
    count(problems, f"{path}.issuers", principal.issuers, 16)
    for number, name in enumerate(principal.issuers):
        check_name(problems, f"{path}.issuers[{number}]", name, "issuers")
    count(problems, f"{path}.remote_ranges", principal.remote_ranges, 64)
    for number, block in enumerate(principal.remote_ranges):
        if not _is_range(block):
            problems[f"{path}.remote_ranges[{number}]"] = "not a range such as 10.0.0.0/8"
    count(problems, f"{path}.claims", principal.claims, 8)
    for number, claim in enumerate(principal.claims):
        if not _CLAIM.fullmatch(claim.name):
            problems[f"{path}.claims[{number}].name"] = "not the name of a claim"
        if not 1 <= len(claim.values) <= 16:
            problems[f"{path}.claims[{number}].values"] = "must be 1 to 16"
    if not any(
        (
            *(items for items, _, _ in lists.values()),
            principal.issuers,
            principal.claims,
            principal.remote_ranges,
        )
    ):
        problems[path] = "says nothing"


def _is_address(uri: str) -> bool:
    if not _URI.fullmatch(uri):
        return False
    try:
        parts = urllib.parse.urlsplit(uri)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _is_range(block: str) -> bool:
    """Return whether Envoy takes it, too: no mask, and no link of one machine's."""
    try:
        ipaddress.ip_network(block)
    except ValueError:
        return False
    length = block.partition("/")[2]
    return "%" not in block and (not length or length.isdecimal())


def _check_jwks(problems: Problems, path: str, jwks: str) -> None:
    try:
        reduced(jwks)
    except ValueError as error:
        problems[path] = str(error)
    else:
        if has_secrets(jwks):
            problems[path] = "must have public keys, and only those"
