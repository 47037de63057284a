"""Who may call: what services ask for, policies on top of that, and whose tokens are good."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may call through the edge."""

    public: bool = False
    """Without a token, too."""

    roles: tuple[str, ...] = ()
    """One of these must be in the token; empty: any valid token will do."""


class PolicyAction(enum.StrEnum):
    """What a policy does with the calls it matches."""

    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallScope:
    """Which calls: those that match one of the lists; all empty: every call."""

    services: tuple[str, ...] = ()
    """`services/{service}`."""

    grpc_services: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    """`{full name of a gRPC service}/{method}`."""

    hosts: tuple[str, ...] = ()
    """`hosts/{host}`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimMatch:
    """A condition on a claim: it, or one of its values, is one of these."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Callers: everything that is said must hold; in each list one must match."""

    roles: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    """One that ends with `*` is a prefix."""

    issuers: tuple[str, ...] = ()
    """`issuers/{issuer}`; `issuers/mesh` are the mesh's own tokens."""

    claims: tuple[ClaimMatch, ...] = ()
    remote_ranges: tuple[str, ...] = ()
    """CIDR blocks."""

    certificates: tuple[str, ...] = ()
    """SPIFFE ids or DNS names of client certificates; one that ends with `*` is a prefix."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A rule of who may call what; see `Policy` in the contract for how several add up."""

    name: str
    """`policies/{policy}`."""

    description: str = ""
    action: PolicyAction
    scope: CallScope = CallScope()
    principals: tuple[Principal, ...]
    shadow: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteJwks:
    """Keys that the gateway fetches."""

    uri: str
    refresh_interval: timedelta = timedelta(minutes=5)
    ca_pem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """Somebody else whose tokens the edge accepts."""

    name: str
    """`issuers/{issuer}`."""

    description: str = ""
    issuer: str
    """What its tokens have as `iss`."""

    audiences: tuple[str, ...]
    jwks: str | None = None
    remote_jwks: RemoteJwks | None = None
    """Exactly one of the two is set."""

    subject_claim: str = "sub"
    tenant_claim: str = ""
    tenant: str = ""
    roles_claim: str = ""
    roles: tuple[str, ...] = ()
    subject_prefix: str = "passengers/"
    header: str = ""
    """Empty: `authorization`, after `Bearer `."""
