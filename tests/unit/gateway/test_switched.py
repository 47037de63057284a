"""Which filters are made for which calls: few calls pay for what most don't need."""

import dataclasses

import pytest

from gateway import model
from gateway.compile import areas, envoy_api, issuers, listeners, policies, revoked, routes
from gateway.compile.compiler import compile_all, compile_changes
from gateway.compile.hardening import SHAPE
from gateway.compile.inputs import Inputs
from gateway.compile.options import EdgeOptions
from gateway.compile.switched import FILTER_CONFIG


OPTIONS = EdgeOptions()
A = model.Service(name="services/a", identity="a", grpc_services=("t.a.S",))
B = model.Service(name="services/b", identity="b", grpc_services=("t.b.S",))
QUOTA = model.Limit(name="limits/q", strength=model.Strength.QUOTA, requests=5)
LOCAL = dataclasses.replace(QUOTA, name="limits/l", strength=model.Strength.LOCAL)
STRICT = dataclasses.replace(QUOTA, name="limits/s", strength=model.Strength.STRICT)
OF_A = model.CallScope(services=(A.name,))
A_METHOD = model.CallScope(methods=("t.a.S/M",))


def inputs(*limits):
    return Inputs(catalog=model.Catalog.of(1, [A, B, *limits]), jwks="{}")


def message(compiled, key, name, kind):
    return envoy_api.message_class(kind).FromString(compiled.edge.resources[key][name].value)


def on(compiled, table):
    found = message(compiled, "RDS", table, "envoy.config.route.v3.RouteConfiguration")
    (host,) = found.virtual_hosts
    configs = host.typed_per_filter_config
    return {
        name
        for name, packed in configs.items()
        if packed.type_url == envoy_api.TYPE_URL + FILTER_CONFIG
    }


@pytest.mark.parametrize(
    ("limits", "of_a", "of_b"),
    [
        ((), set(), set()),
        ((LOCAL,), {"limit_keys", "limit_local"}, {"limit_keys", "limit_local"}),
        (
            (dataclasses.replace(LOCAL, shadow=True, scope=OF_A),),
            {"limit_keys", "limit_local_shadow"},
            set(),
        ),
        (
            (dataclasses.replace(STRICT, scope=OF_A),),
            {"limit_keys", "limit_strict"},
            set(),
        ),
        (
            (QUOTA, dataclasses.replace(LOCAL, scope=A_METHOD)),
            {"limit_keys", "limit_quota_1", "limit_local"},
            {"limit_keys", "limit_quota_1", "limit_local"},  # A quota has a local guard.
        ),
        (
            (
                dataclasses.replace(QUOTA, scope=A_METHOD),
                dataclasses.replace(QUOTA, name="limits/r", scope=OF_A),
                dataclasses.replace(STRICT, scope=model.CallScope(grpc_services=("t.b.S",))),
            ),
            {"limit_keys", "limit_quota_1", "limit_quota_2", "limit_local"},
            {"limit_keys", "limit_strict"},
        ),
    ],
)
def test_filters_of_limits_are_on_where_a_limit_is_about_the_calls(limits, of_a, of_b):
    compiled = compile_all(inputs(*limits), OPTIONS)
    assert on(compiled, "t.a.S") == of_a
    assert on(compiled, "t.b.S") == of_b


@pytest.mark.parametrize(
    ("before", "after", "tables"),
    [
        ((), (QUOTA,), {"t.a.S", "t.b.S"}),
        ((QUOTA,), (dataclasses.replace(QUOTA, requests=6),), set()),
        ((QUOTA,), (dataclasses.replace(QUOTA, scope=OF_A),), {"t.b.S"}),
        ((dataclasses.replace(STRICT, scope=OF_A),), (), {"t.a.S"}),
    ],
)
def test_a_limits_change_touches_the_routes_of_calls_that_need_other_filters(before, after, tables):
    was = compile_all(inputs(*before), OPTIONS)
    names = {one.name for one in (*before, *after)}
    comes = compile_changes(was, inputs(*after), OPTIONS, names)
    touched = comes.touched["edge"]
    assert {name for key, name in touched if key == "RDS"} == tables
    assert not {key for key, _ in touched} & {"LDS", "CDS", "SRDS"}
    assert comes.edge.resources == compile_all(inputs(*after), OPTIONS).edge.resources


def test_a_service_that_begins_to_offer_something_has_the_filters_of_limits_about_it():
    limit = dataclasses.replace(STRICT, scope=OF_A)
    was = compile_all(inputs(limit), OPTIONS)
    more = dataclasses.replace(A, grpc_services=("t.a.S", "t.a.T"))
    catalog = model.Catalog.of(2, [more, B, limit])
    comes = compile_changes(was, Inputs(catalog=catalog, jwks="{}"), OPTIONS, {A.name})
    assert on(comes, "t.a.T") == {"limit_keys", "limit_strict"}


def test_whatever_asks_who_calls_is_always_made():
    compiled = compile_all(inputs(), OPTIONS)
    listener = message(
        compiled, "LDS", listeners.EDGE_LISTENER, "envoy.config.listener.v3.Listener"
    )
    (chain,) = listener.filter_chains
    kind = chain.filters[0].typed_config.type_url.removeprefix(envoy_api.TYPE_URL)
    manager = envoy_api.message_class(kind).FromString(chain.filters[0].typed_config.value)
    off = {one.name for one in manager.http_filters if one.disabled}
    assert off == set(areas.SWITCHED)
    always = {one.name for one in manager.http_filters} - off
    assert always >= {
        *(SHAPE, issuers.JWT_AUTHN, issuers.ISSUERS, "aerofusion.identity", routes.RBAC),
        *(revoked.REVOKED, revoked.REVOKED_LATELY, policies.DENY, policies.ALLOW),
    }


def test_json_calls_have_whatever_their_service_may_need():
    area = dataclasses.replace(A, json_prefixes=("a",))
    compiled = compile_all(Inputs(catalog=model.Catalog.of(1, [area]), jwks="{}"), OPTIONS)
    assert on(compiled, "a") == set(areas.SWITCHED)
