"""What holds for whatever is compiled."""

import subprocess
import sys
from datetime import timedelta
from types import MappingProxyType

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from gateway import model
from gateway.compile import envoy_api
from gateway.compile.compiler import Compiled, compile_all, compile_changes
from gateway.compile.descriptors import InvalidDescriptors, merge, methods
from gateway.compile.inputs import Inputs
from gateway.compile.options import EdgeOptions
from tests.fixtures.echo import SERVICE, descriptor_set


OPTIONS = EdgeOptions()
NAMES = ("services/a", "services/b", "services/c")


def test_the_running_gateway_does_not_load_envoys_dataclasses():
    program = (
        "import sys, gateway.app, gateway.compile.envoy_api as api; api.pool();"
        "sys.exit('envoy_data_plane' in sys.modules or 'pydantic' in sys.modules)"
    )
    path = {"PYTHONPATH": ":".join(sys.path)}
    assert subprocess.run([sys.executable, "-c", program], env=path, check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "fields", "presence"),
    [
        ("envoy.config.core.v3.SocketAddress", {"port_value": 0}, "port_value"),
        ("envoy.config.route.v3.RouteMatch", {"prefix": ""}, "prefix"),
        ("envoy.config.route.v3.HeaderMatcher", {"present_match": False}, "present_match"),
        ("envoy.config.core.v3.ConfigSource", {"ads": {}}, "ads"),
        ("envoy.config.listener.v3.Listener", {"enable_reuse_port": {}}, "enable_reuse_port"),
    ],
)
def test_what_is_set_to_nothing_is_still_set(name, fields, presence):
    message = envoy_api.make(name, **fields)
    again = envoy_api.message_class(name).FromString(message.SerializeToString())
    assert again.HasField(presence)


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=365)))
def test_durations_are_what_timedeltas_come_to(value):
    name = "envoy.config.route.v3.RouteAction"
    assert envoy_api.make(name, timeout=envoy_api.duration(value)) == envoy_api.make(
        name, timeout=value
    )


def test_routes_or_endpoints_alone_touch_nothing_else():
    service = model.Service(name=NAMES[0], identity="x", grpc_services=("t.a.S",))
    catalog = model.Catalog.of(1, [service])
    before = compile_all(Inputs(catalog=catalog, jwks="{}"), OPTIONS)
    route = model.Route(
        name=f"{NAMES[0]}/routes/r",
        grpc_service="t.a.S",
        destinations=(model.Destination(service=NAMES[0], weight=1),),
        timeout=timedelta(seconds=1),
    )
    routed = Inputs(catalog=catalog.with_object(2, route.name, route), jwks="{}")
    after = compile_changes(before, routed, OPTIONS, {NAMES[0]})
    assert after.touched["edge"] == {("RDS", "t.a.S")}
    found = Inputs(
        catalog=catalog, jwks="{}", found={NAMES[0]: (model.Endpoint(address="::1", port=1),)}
    )
    after = compile_changes(before, found, OPTIONS, (), {NAMES[0]})
    assert after.touched["edge"] == after.touched["proxyless"] == {("EDS", NAMES[0])}


@st.composite
def services(draw):
    name = draw(st.sampled_from(NAMES))
    described = draw(st.booleans())
    return model.Service(
        name=name,
        identity=name.removeprefix("services/"),
        grpc_services=draw(
            st.sampled_from(
                [(), (f"test.{name[-1]}.v1.One",), (SERVICE,) if name[-1] == "a" else ()]
            )
        ),
        json_prefixes=draw(st.sampled_from([(), ("x",), ("x", "y")])),
        descriptor_set=descriptor_set() if described else b"",
        endpoints=draw(st.sampled_from([(), (model.Endpoint(address="::1", port=1),)])),
        access=draw(st.sampled_from([model.Access(), model.Access(public=True)])),
    )


@st.composite
def routes(draw):
    parent = draw(st.sampled_from(NAMES))
    return model.Route(
        name=f"{parent}/routes/{draw(st.sampled_from('rs'))}",
        grpc_service=draw(st.sampled_from([SERVICE, f"test.{parent[-1]}.v1.One"])),
        grpc_method=draw(st.sampled_from(["", "Echo"])),
        destinations=(model.Destination(service=draw(st.sampled_from(NAMES)), weight=1),),
        access=draw(st.sampled_from([None, model.Access(public=True)])),
    )


CHANGES = st.lists(
    st.tuples(st.one_of(services(), routes()), st.booleans(), st.sampled_from(["{}", "{} "])),
    min_size=1,
    max_size=8,
)


@given(CHANGES)
@settings(deadline=None, max_examples=100)
def test_changes_one_by_one_come_to_the_same_as_all_at_once(changes):
    compiled = compile_all(Inputs(jwks="{}"), OPTIONS)
    catalog, jwks = compiled.inputs.catalog, "{}"
    for revision, (value, delete, jwks) in enumerate(changes, start=1):
        catalog = catalog.with_object(revision, value.name, None if delete else value)
        touched = {value.name.partition("/routes/")[0]}
        compiled = compile_changes(compiled, Inputs(catalog=catalog, jwks=jwks), OPTIONS, touched)
    whole = compile_all(Inputs(catalog=catalog, jwks=jwks), OPTIONS)
    for flavour in ("edge", "proxyless"):
        ours = {k: dict(v) for k, v in getattr(compiled, flavour).resources.items() if v}
        theirs = {k: dict(v) for k, v in getattr(whole, flavour).resources.items() if v}
        assert ours == theirs


def test_a_change_shares_what_it_does_not_touch():
    catalog = model.Catalog()
    for revision, name in enumerate(NAMES):
        service = model.Service(name=name, identity="x", grpc_services=(f"t.{name[-1]}.S",))
        catalog = catalog.with_object(revision, name, service)
    before = compile_all(Inputs(catalog=catalog, jwks="{}"), OPTIONS)
    moved = model.Service(
        name=NAMES[0],
        identity="x",
        grpc_services=("t.a.S",),
        endpoints=(model.Endpoint(address="::1", port=1),),
    )
    after = compile_changes(
        before,
        Inputs(catalog=catalog.with_object(9, NAMES[0], moved), jwks="{}"),
        OPTIONS,
        {NAMES[0]},
    )
    for kind in ("CDS", "LDS", "RDS", "SRDS", "ECDS"):
        assert after.edge.resources[kind] is before.edge.resources[kind]
    assert after.edge.resources["EDS"] != before.edge.resources["EDS"]
    assert after.edge.revision == 9


def test_versions_are_the_same_in_another_process():
    program = (
        "from tests.golden.gateway.test_compile import *;"
        "c = compile_all(Inputs(catalog=catalog(), jwks=JWKS), OPTIONS);"
        "print(sorted((k, r.name, r.version) for f in (c.edge, c.proxyless)"
        " for k, m in f.resources.items() for r in m.values()))"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(runs) == 1


def test_nothing_at_all_still_denies_by_default():
    compiled = compile_all(Inputs(jwks='{"keys":[]}'), OPTIONS)
    assert isinstance(compiled, Compiled)
    (listener,) = compiled.edge.resources["LDS"].values()
    assert listener.name == "edge"
    config = envoy_api.make("envoy.config.core.v3.TypedExtensionConfig")
    config.ParseFromString(compiled.edge.resources["ECDS"]["envoy.filters.http.jwt_authn"].value)
    rules = (
        envoy_api.message_class("envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication")
        .FromString(config.typed_config.value)
        .rules
    )
    assert [(rule.match.prefix, rule.requirement_name) for rule in rules] == [("/", "token")]


def test_streams_are_told_from_unary_methods():
    found = {method.name: method.streams for method in methods(descriptor_set())[SERVICE]}
    assert found == {"Echo": False, "Ticks": True, "Chat": True}


def test_descriptor_sets_that_share_files_merge_into_one():
    merged = merge([descriptor_set(), descriptor_set()])
    assert methods(merged)[SERVICE] == methods(descriptor_set())[SERVICE]


@pytest.mark.parametrize(
    ("sets", "complaint"),
    [
        ([b"\xff"], "FileDescriptorSet"),
        ([descriptor_set(), descriptor_set().replace(b"Ticks", b"Tocks")], "differs"),
        ([b"\n\x06\n\x01x\x1a\x01y"], "imports y"),
    ],
)
def test_descriptor_sets_that_do_not_merge_are_refused(sets, complaint):
    with pytest.raises(InvalidDescriptors, match=complaint):
        merge(sets)


def test_a_catalog_is_not_altered_by_the_next():
    first = model.Catalog(services=MappingProxyType({}))
    service = model.Service(name="services/a", identity="a")
    second = first.with_object(1, service.name, service)
    assert (dict(first.services), dict(second.services)) == ({}, {"services/a": service})


def test_what_moves_between_services_stays_though_the_states_between_have_it_twice():
    def offering(name, *offered):
        return model.Service(name=name, identity="x", grpc_services=offered)

    def state(revision, first, second):
        both = [offering(NAMES[0], first), offering(NAMES[1], second)]
        catalog = model.Catalog.of(revision, both)
        return Inputs(catalog=catalog, jwks="{}")

    before = compile_all(state(1, "t.a.S", "t.b.S"), OPTIONS)
    halfway = compile_changes(before, state(2, "t.b.S", "t.b.S"), OPTIONS, {NAMES[0]})
    after = compile_changes(halfway, state(3, "t.b.S", "t.a.S"), OPTIONS, {NAMES[1]})
    whole = compile_all(state(3, "t.b.S", "t.a.S"), OPTIONS)
    assert after.edge.resources == whole.edge.resources
