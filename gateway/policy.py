"""Who may call which method of the gateway; the identity API has its own table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.access.service import METHODS as KEY_METHODS
from gateway.access.service import SERVICE as KEYS
from gateway.identity.policy import EVERY_WORKLOAD
from gateway.limits.rlqs import METHOD as QUOTA_METHOD
from gateway.limits.rls import METHOD as STRICT_METHOD
from gateway.load.reports import METHOD as LOAD_METHOD
from gateway.services.catalog import SERVICE as CATALOG
from gateway.services.changes import SERVICE as CHANGES
from gateway.services.client_status import SERVICE as CLIENT_STATUS
from gateway.services.config import SERVICE as CONFIG
from gateway.services.config_status import SERVICE as CONFIG_STATUS
from gateway.services.explain import SERVICE as EXPLAIN
from gateway.services.lifecycle import SERVICE as LIFECYCLES
from gateway.services.limits import SERVICE as LIMITS
from gateway.services.policies import SERVICE as POLICIES
from gateway.services.registry import SERVICE as REGISTRY
from gateway.xds.ads import DELTA_METHOD, SOTW_METHOD
from meshkit.authz import allow


if TYPE_CHECKING:
    from meshkit.authz import Policy, Rule

_CATALOG_METHODS: Final = (
    "CreateService",
    "GetService",
    "ListServices",
    "UpdateService",
    "DeleteService",
    "CreateRoute",
    "GetRoute",
    "ListRoutes",
    "UpdateRoute",
    "DeleteRoute",
    "ListRevisions",
)
_CONFIG_METHODS: Final = (
    "GetObject",
    "ListObjects",
    "PlanChange",
    "ApplyChange",
    "RollBack",
    "DiffRevisions",
)
_CHANGE_METHODS: Final = ("GetChange", "WatchChange", "ListEdges")
_REGISTRY_METHODS: Final = ("Register", "Heartbeat", "KeepAlive", "Deregister")
_REGISTRY_READS: Final = ("ListRegistrations", "WatchRegistrations")
PROXYLESS_SERVICES: Final = (
    "gateway",
    "notifier",
    "syncd",
    "telemetry",
    "flightinfo",
    "mailsink",
)
"""Services of the mesh, as gRPC clients that balance by themselves."""


def policy() -> Policy:
    """Return the table."""
    operators: Rule = allow(services=["operator"], roles=["operator"])
    return {
        **{f"/{CATALOG}/{method}": operators for method in _CATALOG_METHODS},
        **{f"/{CONFIG}/{method}": operators for method in _CONFIG_METHODS},
        **{f"/{CHANGES}/{method}": operators for method in _CHANGE_METHODS},
        # Each method lets a caller at its own registrations only.
        **{f"/{REGISTRY}/{method}": EVERY_WORKLOAD for method in _REGISTRY_METHODS},
        **{f"/{REGISTRY}/{method}": operators for method in _REGISTRY_READS},
        f"/{CONFIG_STATUS}/GetConfigStatus": operators,
        f"/{CLIENT_STATUS}/FetchClientStatus": operators,
        f"/{CLIENT_STATUS}/StreamClientStatus": operators,
        f"/{EXPLAIN}/Explain": operators,
        f"/{LIFECYCLES}/GetDeprecatedUsage": operators,
        f"/{LIMITS}/GetUsage": operators,
        f"/{LIMITS}/GetLocalUsage": operators,
        f"/{POLICIES}/GetPolicyUsage": operators,
        f"/{LIMITS}/WatchLimits": allow(services=["operator", *PROXYLESS_SERVICES]),
        QUOTA_METHOD: allow(services=["edge"]),
        STRICT_METHOD: allow(services=["edge", "gateway"]),
        **{f"/{KEYS}/{method}": operators for method in KEY_METHODS},
        LOAD_METHOD: allow(services=["edge"]),
        DELTA_METHOD: allow(services=["edge", "operator"]),
        SOTW_METHOD: allow(services=["edge", "operator", *PROXYLESS_SERVICES]),
    }
