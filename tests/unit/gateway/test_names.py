"""Which node ids a certificate stands for, and which services its owner is given."""

import pytest

from gateway.model import CallScope, Catalog, Policy, PolicyAction, Principal, Service
from gateway.xds.feed import Feed, Flavour
from gateway.xds.names import check_node, denied
from gateway.xds.resources import BY_KEY, Absence, Resource, Resources, Snapshot
from meshkit.errors import PermissionDenied


FLIGHTINFO = "spiffe://aerofusion/flightinfo/0"
NOTIFIER = "spiffe://aerofusion/notifier/0"
SERVICES = [Service(name=f"services/{name}", identity=name) for name in ("echo", "vault")]


def policy(action, *principals, name="p", shadow=False, **scope):
    return Policy(
        name=f"policies/{name}",
        action=PolicyAction(action),
        principals=principals,
        scope=CallScope(**scope),
        shadow=shadow,
    )


def catalog(*policies):
    return Catalog.of(1, [*SERVICES, *policies])


def test_without_policies_everybody_is_given_everything():
    assert denied(catalog(), FLIGHTINFO) == frozenset()


def test_an_allow_by_certificate_keeps_a_service_from_the_others():
    only = policy(
        "allow",
        Principal(certificates=("spiffe://aerofusion/notifier/*",)),
        services=["services/vault"],
    )
    assert denied(catalog(only), FLIGHTINFO) == {"services/vault"}
    assert denied(catalog(only), NOTIFIER) == frozenset()


def test_a_deny_by_certificate_counts_if_nothing_else_is_asked():
    whole = policy("deny", Principal(certificates=(FLIGHTINFO,)))
    partly = policy("deny", Principal(certificates=(FLIGHTINFO,), roles=("guest",)))
    assert denied(catalog(whole), FLIGHTINFO) == {"services/echo", "services/vault"}
    assert denied(catalog(partly), FLIGHTINFO) == frozenset()
    assert denied(catalog(whole), NOTIFIER) == frozenset()


def test_who_may_be_allowed_by_a_token_or_for_some_calls_is_given_the_name():
    only = policy("allow", Principal(certificates=(NOTIFIER,)), services=["services/vault"])
    token = policy("allow", Principal(roles=("admin",)), name="t", services=["services/vault"])
    some = policy("allow", Principal(certificates=(FLIGHTINFO,)), name="m", methods=["v.Vault/Get"])
    assert denied(catalog(only, token), FLIGHTINFO) == frozenset()
    assert denied(catalog(only, some), FLIGHTINFO) == frozenset()


def test_a_shadow_policy_decides_nothing():
    only = policy("allow", Principal(certificates=(NOTIFIER,)), shadow=True)
    assert denied(catalog(only), FLIGHTINFO) == frozenset()


def test_what_a_client_may_not_see_is_missing_and_says_why():
    feed = Feed()
    tables = {
        key: Resources({name: Resource(name, "1")})
        for key, name in (("LDS", "vault"), ("CDS", "services/vault"))
    }
    feed.publish(Flavour.PROXYLESS, Snapshot(revision=1, resources=tables))
    feed.deny(lambda peer: ["services/vault"] if peer == FLIGHTINFO else [])
    assert "vault" in feed.newest(Flavour.PROXYLESS, NOTIFIER).of(BY_KEY["LDS"])
    seen = feed.newest(Flavour.PROXYLESS, FLIGHTINFO)
    assert not seen.of(BY_KEY["LDS"])
    assert not seen.of(BY_KEY["CDS"])
    assert seen.absences_of(BY_KEY["LDS"]) == {"vault": Absence.DENIED}
    assert feed.newest(Flavour.PROXYLESS, FLIGHTINFO) is seen


@pytest.mark.parametrize("node_id", ["notifier", "notifier-0", "notifier-berlin-1"])
def test_a_node_is_named_after_its_service(node_id):
    check_node(node_id, "notifier")
    check_node(node_id, "operator")
    with pytest.raises(PermissionDenied) as caught:
        check_node(node_id, "syncd")
    assert caught.value.reason == "NODE_NOT_YOURS"


@pytest.mark.parametrize("node_id", ["", "notifiers", "notifier-" + 200 * "x"])
def test_other_names_are_nobodys(node_id):
    with pytest.raises(PermissionDenied):
        check_node(node_id, "notifier")
