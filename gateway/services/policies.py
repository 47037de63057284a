"""What policies come to: the gRPC service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aerofusion.gateway.v1 import policy_pb2, policy_service_pb2_grpc
from aerofusion.gateway.v1 import policy_service_pb2 as rpc
from gateway.model import PolicyAction
from gateway.services.counted import counters
from meshkit.errors import NotFound


if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.model import Catalog
    from gateway.telemetry import Telemetry

    Context = Any

SERVICE: Final = "aerofusion.gateway.v1.PolicyService"
_NAMES: Final = (
    "envoy_http_rbac_shadow_denied_total|envoy_http_rbac_shadow_allowed_total"
    "|envoy_http_rbac_policy_shadow_denied_total|envoy_http_rbac_policy_shadow_allowed_total"
)
_OF_POLICY: Final = "envoy_rbac_policy_name"
_FILTER: Final = "envoy_rbac_http_prefix"
_ALLOW_FILTER: Final = "allow_"
"""As `gateway.compile.policies` names it."""

_ACTIONS: Final = {
    PolicyAction.ALLOW: policy_pb2.Policy.ACTION_ALLOW,
    PolicyAction.DENY: policy_pb2.Policy.ACTION_DENY,
}


class PolicyService(policy_service_pb2_grpc.PolicyServiceServicer):
    """What edges count of policies in shadow mode."""

    def __init__(self, telemetry: Telemetry, *, catalog: Callable[[], Catalog]) -> None:
        self._telemetry = telemetry
        self._catalog = catalog

    async def GetPolicyUsage(  # noqa: N802
        self, request: rpc.GetPolicyUsageRequest, context: Context
    ) -> rpc.GetPolicyUsageResponse:
        policies, asked = self._catalog().policies, request.policy
        if asked and asked not in policies:
            raise NotFound("POLICY_NOT_FOUND", f"There is no {asked[:200]}.", policy=asked[:200])
        found: dict[tuple[str, str], rpc.PolicyUsage] = {}
        for one in await counters(self._telemetry, _NAMES):
            name = one.labels.get(_OF_POLICY, "")
            if asked not in ("", name) or (name not in policies and not _of_all(one.labels)):
                continue
            usage = found.setdefault((name, one.edge), rpc.PolicyUsage(policy=name, edge=one.edge))
            usage.action = policy_pb2.Policy.ACTION_ALLOW
            if name:
                usage.action = _ACTIONS[policies[name].action]
                usage.shadow = policies[name].shadow
            if one.name.endswith("denied_total"):
                usage.would_have_refused += one.value
            else:
                usage.would_have_allowed += one.value
        usages = [usage for _, usage in sorted(found.items()) if _counted(usage)]
        return rpc.GetPolicyUsageResponse(usages=usages)


def _of_all(labels: dict[str, str]) -> bool:
    """Return whether a counter is the filter's of ALLOW policies, not a single policy's."""
    return _OF_POLICY not in labels and labels.get(_FILTER) == _ALLOW_FILTER


def _counted(usage: rpc.PolicyUsage) -> bool:
    return bool(usage.would_have_refused or usage.would_have_allowed)
