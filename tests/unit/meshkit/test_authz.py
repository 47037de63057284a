import pytest

from meshkit.authz import Caller, allow, authorise
from meshkit.errors import PermissionDenied


def caller(service, *roles, through_edge=False, tenant=""):
    return Caller(
        service=service,
        replica="0",
        subject="x",
        tenant=tenant,
        roles=frozenset(roles),
        through_edge=through_edge,
    )


def test_a_method_nobody_is_named_for_is_closed_to_operators_too():
    with pytest.raises(PermissionDenied):
        authorise(allow(), "/a.B/C", caller("operator", "operator"))


def test_a_named_service_may_call_directly():
    authorise(allow(services=["notifier"]), "/a.B/C", caller("notifier"))


def test_a_role_counts_only_through_the_edge():
    rule = allow(roles=["operator"])

    authorise(rule, "/a.B/C", caller("edge", "operator", through_edge=True))
    with pytest.raises(PermissionDenied):
        authorise(rule, "/a.B/C", caller("syncd", "operator"))


def test_a_user_behind_the_edge_has_not_the_rights_of_the_edge():
    with pytest.raises(PermissionDenied):
        authorise(
            allow(services=["edge"]), "/a.B/C", caller("edge", "passenger", through_edge=True)
        )


def test_a_token_for_one_tenant_does_not_open_another():
    caller("edge", tenant="nyc").check_tenant("nyc")
    caller("operator").check_tenant("nyc")
    with pytest.raises(PermissionDenied):
        caller("edge", tenant="nyc").check_tenant("lax")
