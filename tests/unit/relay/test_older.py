"""What older Envoys count has the names that the newest gives it."""

import pytest

from gateway.relay.older import renamed


BELOW = "extension_config_discovery.http_filter.aerofusion.policies.deny"
EDGE = {"envoy.http_conn_manager_prefix": "edge"}
DENY = {**EDGE, "envoy.rbac_http_prefix": "deny_"}


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        (f"{BELOW}.rbac.allowed", ("http.rbac.allowed", EDGE)),
        (f"{BELOW}.rbac.deny_.shadow_denied", ("http.rbac.shadow_denied", DENY)),
        (
            f"{BELOW}.rbac.deny_.policy.policies/a.b.shadow_denied",
            ("http.rbac.policy.shadow_denied", {**DENY, "envoy.rbac_policy_name": "policies/a.b"}),
        ),
        (
            "extension_config_discovery.http_filter.envoy.filters.http.jwt_authn.jwt_authn.allowed",
            ("http.jwt_authn.allowed", EDGE),
        ),
    ],
)
def test_a_filters_counter_is_called_as_by_the_newest(name, wanted):
    assert renamed(name, {}) == wanted


@pytest.mark.parametrize(
    "name", ["http.rbac.allowed", f"{BELOW}.update_success", "cluster.upstream_rq"]
)
def test_all_else_keeps_its_name(name):
    tags = {"envoy.cluster_name": "relay"}

    assert renamed(name, tags) == (name, tags)
