"""
Who is calling, and whether they may: every service checks each method by its own table.

A caller is proven by its certificate (mutual TLS). Only what comes through the edge
carries a user's token; its claims are believed because the peer's certificate is the
edge's, never because a header says so (NIST SP 800-207: no trust by position).
"""

from __future__ import annotations

import contextvars
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from meshkit.errors import PermissionDenied
from meshkit.identity import SpiffeId, peer_spiffe_id
from meshkit.tokens import CLAIMS_HEADER, edge_claims


if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

EDGE = "edge"
OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may call one method. Nobody, unless named."""

    services: frozenset[str]
    """Services that may call directly, by the name in their SPIFFE id."""

    roles: frozenset[str]
    """Roles of a token that may call through the edge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A proven caller."""

    service: str
    """Service of the peer's certificate; `edge` for users, `operator` for meshctl."""

    replica: str
    """Which of that service's processes."""

    subject: str
    """The token's `sub`, such as `passengers/p1`; without a token the SPIFFE id."""

    tenant: str
    """Tenant the token is for; "" for platform services and operators: any tenant."""

    roles: frozenset[str]
    """Roles of the token; a platform service has `service`, meshctl has `operator`."""

    through_edge: bool = False
    """Whether this is a user whose call the edge passed on, not a process calling itself."""

    def check_tenant(self, tenant: str) -> None:
        """
        Refuse a caller of another tenant.

        Raises:
            PermissionDenied: The token is for another tenant than *tenant*.

        """
        if self.tenant and self.tenant != tenant:
            raise PermissionDenied(
                "TENANT_NOT_ALLOWED", "The token is for another tenant.", tenant=tenant
            )


Policy = dict[str, Rule]
"""Full method path, such as `/aerofusion.sync.v1.SyncService/Push`, to who may call it."""

_caller: contextvars.ContextVar[Caller] = contextvars.ContextVar("caller")


def allow(*, services: Iterable[str] = (), roles: Iterable[str] = ()) -> Rule:
    """Return the rule that lets *services* in directly and *roles* through the edge."""
    return Rule(frozenset(services), frozenset(roles))


def current_caller() -> Caller:
    """Return who is calling; inside a handler only."""
    return _caller.get()


def set_caller(caller: Caller) -> contextvars.Token[Caller]:
    """Make *caller* the current one, for the serving interceptor."""
    return _caller.set(caller)


def identify(
    auth_context: Mapping[str, Iterable[bytes]],
    metadata: Mapping[str, str],
    rule: Rule,
    *,
    local: bool,
    now: float | None = None,
) -> Caller:
    """
    Return who calls a method that *rule* guards.

    What arrives from the edge is a user's call and needs the claims of the user's token,
    unless *rule* names the edge itself (its own ADS, logs and spans) and there are none.

    Args:
        auth_context: The TLS connection's, as grpcio gives it.
        metadata: The call's, keys in lower case.
        local: Whether the call came over our Unix socket, which only the operator can open.
        now: Unix time in seconds; the clock's by default.

    Raises:
        Unauthenticated: No good certificate, or no good token behind the edge.

    """
    peer = SpiffeId(OPERATOR, "local") if local else peer_spiffe_id(auth_context)
    if peer.service == EDGE and not (EDGE in rule.services and CLAIMS_HEADER not in metadata):
        claims = edge_claims(metadata, time.time() if now is None else now)
        return Caller(
            service=EDGE,
            replica=peer.replica,
            subject=claims.subject,
            tenant=claims.tenant,
            roles=frozenset(claims.roles),
            through_edge=True,
        )
    role = OPERATOR if peer.service == OPERATOR else "service"
    return Caller(
        service=peer.service,
        replica=peer.replica,
        subject=str(peer),
        tenant="",
        roles=frozenset({role}),
    )


def authorise(rule: Rule, method: str, caller: Caller) -> None:
    """
    Refuse whom *rule* doesn't name.

    Raises:
        PermissionDenied: *caller* may not call *method*.

    """
    allowed = caller.roles & rule.roles if caller.through_edge else caller.service in rule.services
    if allowed:
        return
    raise PermissionDenied(
        "CALLER_NOT_ALLOWED",
        "The caller may not call this method; an operator can grant the role it needs.",
        method=method,
    )
