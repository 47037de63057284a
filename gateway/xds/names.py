"""
Who a client may be, and which names it may see, by its certificate. Pure.

A node is named after its service: `edge`, `edge-0`, `notifier-berlin-3`. What it says of itself
in `node.id` must begin with the service of its SPIFFE id, so that nobody's state is told, and no
name given, in another's place. The operator's Unix socket may be any node.

A gRPC client without a proxy is given a service unless policies keep it from calling: an enforced
DENY whose principals name its certificate, or ALLOWs about the service that name certificates and
not its own. Only what the certificate alone decides counts here; everything else about a policy
(tokens, addresses) is for the edge and the service to check, which they do in any case.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.model.access import PolicyAction
from gateway.xds.resources import Absence
from meshkit.authz import OPERATOR
from meshkit.errors import PermissionDenied


if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.model import Catalog
    from gateway.model.access import Policy, Principal
    from gateway.xds.resources import Absences

NODE_LENGTH_MAX: Final = 200


def check_node(node_id: str, service: str) -> None:
    """
    Refuse a node id that isn't one of *service*'s.

    Raises:
        PermissionDenied: NODE_NOT_YOURS.

    """
    if service == OPERATOR and len(node_id) <= NODE_LENGTH_MAX:
        return
    fits = node_id == service or node_id.startswith(f"{service}-")
    if not fits or len(node_id) > NODE_LENGTH_MAX:
        raise PermissionDenied(
            "NODE_NOT_YOURS",
            "A node's id begins with the service of its certificate.",
            node=node_id[:NODE_LENGTH_MAX],
            service=service,
        )


def denied(catalog: Catalog, spiffe_id: str) -> frozenset[str]:
    """Return the names of the services that a client with this certificate isn't given."""
    rules = [_Rule(policy, spiffe_id) for policy in catalog.policies.values() if not policy.shadow]
    if not rules:
        return frozenset()
    return frozenset(name for name in catalog.services if not _may(rules, name))


def absences(services: Iterable[str]) -> Mapping[str, Absences]:
    """Return why the resources of *services* aren't given, by type's key and name."""
    names = list(services)
    whole = dict.fromkeys(names, Absence.DENIED)
    short = dict.fromkeys((name.removeprefix("services/") for name in names), Absence.DENIED)
    return {"LDS": short, "RDS": short, "CDS": whole, "EDS": whole}


class _Rule:
    """What a policy means for one certificate."""

    def __init__(self, policy: Policy, spiffe_id: str) -> None:
        scope = policy.scope
        self.services = frozenset(scope.services)
        self.narrow = (
            bool(scope.grpc_services or scope.methods or scope.hosts) and not self.services
        )
        """It is about some calls only, which ones isn't known by the service."""

        self.denies = policy.action is PolicyAction.DENY
        if self.denies:
            # Not given is only what is refused whole, whatever token comes with it.
            self.matches = any(
                _matches(one, spiffe_id) and _only_certificates(one) for one in policy.principals
            )
        else:
            self.matches = any(
                not one.certificates or _matches(one, spiffe_id) for one in policy.principals
            )

    def is_about(self, service: str) -> bool:
        return not self.services or service in self.services


def _may(rules: Iterable[_Rule], service: str) -> bool:
    about = [rule for rule in rules if rule.is_about(service)]
    if any(rule.denies and rule.matches and not rule.narrow for rule in about):
        return False
    allows = [rule for rule in about if not rule.denies]
    asked = any(not rule.narrow for rule in allows)
    return not asked or any(rule.matches for rule in allows)


def _matches(principal: Principal, spiffe_id: str) -> bool:
    return any(
        spiffe_id.startswith(one[:-1]) if one.endswith("*") else spiffe_id == one
        for one in principal.certificates
    )


def _only_certificates(principal: Principal) -> bool:
    others = (
        principal.roles,
        principal.scopes,
        principal.tenants,
        principal.subjects,
        principal.issuers,
        principal.claims,
        principal.remote_ranges,
    )
    return not any(others)
