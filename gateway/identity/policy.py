"""Who may call which method of the identity API. Join is not here: it has a port of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from meshkit.authz import Rule, allow


if TYPE_CHECKING:
    from meshkit.authz import Policy

SERVICE: Final = "aerofusion.gateway.v1.IdentityService"


class _EveryService(frozenset[str]):
    """Holds every name: whoever has a certificate may have its next one."""

    __slots__ = ()

    def __contains__(self, _: object) -> bool:
        return True


EVERY_WORKLOAD: Final = Rule(services=_EveryService(), roles=frozenset())

POLICY: Final[Policy] = {
    f"/{SERVICE}/Renew": EVERY_WORKLOAD,
    f"/{SERVICE}/IssuePublicCertificate": allow(services=["edge"]),
    f"/{SERVICE}/CreateJoinToken": allow(services=["operator"]),
    f"/{SERVICE}/CreateToken": allow(services=["operator"], roles=["operator"]),
    f"/{SERVICE}/GetJwks": allow(
        services=["operator"], roles=["operator", "service", "passenger", "device"]
    ),
    f"/{SERVICE}/ListKeys": allow(services=["operator"], roles=["operator"]),
    f"/{SERVICE}/RotateKey": allow(services=["operator"], roles=["operator"]),
}
