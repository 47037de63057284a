"""Explain without an Envoy: what it is made of, and that it owns up to what it doesn't know."""

import dataclasses
import json
from datetime import UTC, datetime

import pytest

from gateway import model
from gateway.compile.compiler import compile_all
from gateway.compile.envoy_api import any_of, make, pack
from gateway.compile.inputs import Inputs
from gateway.compile.options import EdgeOptions
from gateway.explain import access_log
from gateway.explain.call import Body, Call
from gateway.explain.configuration import Configuration
from gateway.explain.envoy_words import meanings
from gateway.explain.origin import attributed
from gateway.explain.paths import PathRefused, normalised
from gateway.explain.steps import NotModelled, Verdict
from gateway.explain.templates import Templates
from gateway.explain.walk import explain
from gateway.xds.resources import resource
from meshkit.errors import InvalidInput
from tests.fixtures.echo import SERVICE, descriptor_set


MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ECHO = model.Service(
    name="services/echo",
    identity="echo",
    grpc_services=(SERVICE,),
    json_prefixes=("echo",),
    descriptor_set=descriptor_set(),
    endpoints=(model.Endpoint(address="10.0.0.1", port=5000),),
    access=model.Access(roles=("operator",)),
)
CANARY = model.Route(
    name="services/echo/routes/canary",
    grpc_service=SERVICE,
    headers=(model.HeaderMatch(name="x-canary", exact="yes"),),
    destinations=(
        model.Destination(service="services/echo", weight=3),
        model.Destination(service="services/gone", weight=1),
    ),
    access=model.Access(public=True),
)
CATALOG = model.Catalog.of(7, (ECHO, CANARY))
CALL = Call(method="POST", path=f"/{SERVICE}/Echo", body=Body.GRPC)
OPERATOR = {"sub": "operators/ada", "roles": ["operator"]}


@pytest.fixture
def snapshot():
    return compile_all(Inputs(catalog=CATALOG, jwks='{"keys":[]}'), EdgeOptions()).edge


def manager(**fields):
    given = {"normalize_path": {"value": True}, "merge_slashes": True}
    given["path_with_escaped_slashes_action"] = "REJECT_REQUEST"
    return make(MANAGER, **{**given, **fields})


def verdicts(found):
    return {step.name.rpartition(".")[2]: step.verdict for step in found.steps}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/a/b", "/a/b"),
        ("/a//b", "/a/b"),
        ("/a/./b/../c", "/a/c"),
        ("/../a", "/a"),
        ("/a/%2e%2E/b", "/b"),
        ("/%41%7e%20", "/A~%20"),
        ("/a/..", "/"),
        ("/a/.?x=/../y", "/a/?x=/../y"),
    ],
)
def test_a_path_becomes_what_routes_see(path, expected):
    assert normalised(path, manager()) == expected


@pytest.mark.parametrize("path", ["/a%2Fb", "/a%5cb", "/a#b"])
def test_a_path_that_could_be_read_in_two_ways_is_refused(path):
    with pytest.raises(PathRefused):
        normalised(path, manager())


def test_a_path_nobody_knows_the_end_of_is_not_guessed():
    with pytest.raises(NotModelled):
        normalised('/a"b', manager())


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", "/echo/v1/echo", f"{SERVICE}/Echo"),
        ("POST", "/echo/v1/echo/", f"{SERVICE}/Echo"),
        ("GET", "/echo/v1/ticks/a", f"{SERVICE}/Ticks"),
        ("GET", "/echo/v1/ticks", None),
        ("GET", "/echo/v1/ticks/a/b", None),
        ("PUT", "/echo/v1/echo", None),
    ],
)
def test_json_paths_find_their_method(method, path, expected):
    found = Templates(descriptor_set(), [SERVICE]).find(method, path)
    assert (found and found[0].grpc_method) == expected


def test_every_step_to_a_service_is_told_with_the_object_that_decided(snapshot):
    call = dataclasses.replace(CALL, claims=OPERATOR)
    found = attributed(explain(Configuration(snapshot), call), CATALOG)
    assert found.answer.by == "service"
    assert found.certain
    assert found.grpc_method == f"{SERVICE}/Echo"
    assert [one.address for one in found.endpoints] == ["10.0.0.1:5000"]
    objects = {step.stage: step.object for step in found.steps}
    assert objects["scope"] == objects["route"] == objects["cluster"] == "services/echo"
    assert ("longest_duration", "30 s") in [fact for step in found.steps for fact in step.facts]


def test_without_the_role_rbac_refuses(snapshot):
    call = dataclasses.replace(CALL, claims={"sub": "passengers/p1", "roles": ["passenger"]})
    found = attributed(explain(Configuration(snapshot), call), CATALOG)
    assert verdicts(found)["rbac"] is Verdict.REFUSED
    assert (found.answer.http_status, found.answer.grpc_status) == (200, 7)
    assert found.answer.details == "rbac_access_denied_matched_policy[none]"
    assert found.steps[-1].object == "services/echo"


def test_a_json_call_becomes_a_grpc_call_and_is_refused_as_json(snapshot):
    call = Call(method="GET", path="/echo/v1/ticks/t")
    found = explain(Configuration(snapshot), call)
    assert found.grpc_method == f"{SERVICE}/Ticks"
    assert verdicts(found)["grpc_json_transcoder"] is Verdict.CHANGED
    assert (found.answer.http_status, found.answer.grpc_status) == (401, None)
    assert found.answer.details == "jwt_authn_access_denied{Jwt_is_missing}"


@pytest.mark.parametrize(("random", "by"), [(0, "service"), (2, "service"), (3, "edge")])
def test_a_random_value_settles_a_weighted_split(snapshot, random, by):
    call = dataclasses.replace(CALL, headers=(("x-canary", "yes"),), random=random)
    found = explain(Configuration(snapshot), call)
    assert found.route == CANARY.name
    assert found.answer.by == by
    assert [one.share for one in found.clusters] == [0.75, 0.25]


def test_without_one_what_depends_on_it_is_left_open(snapshot):
    call = dataclasses.replace(CALL, headers=(("x-canary", "yes"),))
    found = explain(Configuration(snapshot), call)
    assert found.answer.by == "nobody"
    assert found.steps[-1].verdict is Verdict.DEPENDS


def with_filter(snapshot, name, packed):
    """The snapshot with one more HTTP filter, before the router."""
    listener = make("envoy.config.listener.v3.Listener")
    listener.ParseFromString(snapshot.resources["LDS"]["edge"].value)
    holder = listener.filter_chains[0].filters[0].typed_config
    http = make(MANAGER)
    http.ParseFromString(holder.value)
    kind = "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter"
    http.http_filters.insert(-1, make(kind, name=name, typed_config=packed))
    holder.value = http.SerializeToString()
    return snapshot.changed(8, [("LDS", resource("edge", listener.SerializeToString()))])


def header_input(name):
    kind = "envoy.type.matcher.v3.HttpRequestHeaderMatchInput"
    return {"name": "header", "typed_config": any_of(kind, header_name=name)}


def test_a_filter_that_is_not_known_is_owned_up_to(snapshot):
    packed = any_of("envoy.config.cluster.v3.Cluster", name="x")
    call = dataclasses.replace(CALL, claims=OPERATOR)
    found = explain(Configuration(with_filter(snapshot, "odd", packed)), call)
    assert verdicts(found)["odd"] is Verdict.NOT_MODELLED
    assert not found.certain


@pytest.mark.parametrize(
    ("header", "verdict"),
    [("revoked", Verdict.REFUSED), ("other", Verdict.PASSED), (None, Verdict.PASSED)],
)
def test_a_tree_of_revoked_ids_refuses_those_it_holds(snapshot, header, verdict):
    def on_match(action, name):
        kind = "envoy.config.rbac.v3.Action"
        return {"action": {"name": "x", "typed_config": any_of(kind, action=action, name=name)}}

    tree = make("xds.type.matcher.v3.Matcher", on_no_match=on_match("ALLOW", "rest"))
    tree.matcher_tree.input.CopyFrom(
        make("xds.core.v3.TypedExtensionConfig", **header_input("x-token-id"))
    )
    revoked = make("xds.type.matcher.v3.Matcher.OnMatch", **on_match("DENY", "revoked"))
    tree.matcher_tree.exact_match_map.map["revoked"].CopyFrom(revoked)
    packed = any_of("envoy.extensions.filters.http.rbac.v3.RBAC", matcher=tree)
    headers = (("x-token-id", header),) if header else ()
    call = dataclasses.replace(CALL, claims=OPERATOR, headers=headers)
    found = explain(Configuration(with_filter(snapshot, "revocations", packed)), call)
    assert verdicts(found)["revocations"] is verdict
    if verdict is Verdict.REFUSED:
        assert found.answer.details == "rbac_access_denied_matched_policy[revoked]"


def test_what_a_shadow_policy_would_refuse_goes_on(snapshot):
    policy = make(
        "envoy.config.rbac.v3.Policy",
        permissions=[{"url_path": {"path": {"prefix": f"/{SERVICE}/"}}}],
        principals=[
            {
                "and_ids": {
                    "ids": [
                        {"remote_ip": {"address_prefix": "192.0.2.0", "prefix_len": {"value": 24}}},
                        {"not_id": {"header": {"name": "x-ok", "present_match": True}}},
                    ]
                }
            }
        ],
    )
    rules = {"action": "DENY", "policies": {"away": policy}}
    packed = any_of("envoy.extensions.filters.http.rbac.v3.RBAC", shadow_rules=rules)
    changed = Configuration(with_filter(snapshot, "shadow", packed))
    call = dataclasses.replace(CALL, claims=OPERATOR, remote_address="192.0.2.7")
    found = explain(changed, call)
    assert verdicts(found)["shadow"] is Verdict.SHADOW
    assert found.answer.by == "service"
    for other in ({"remote_address": "10.0.0.1"}, {"headers": (("x-ok", "1"),)}):
        found = explain(changed, dataclasses.replace(call, **other))
        assert verdicts(found)["shadow"] is Verdict.PASSED


def test_the_bucket_of_a_quota_is_told(snapshot):
    settings = make(
        "envoy.extensions.filters.http.rate_limit_quota.v3.RateLimitQuotaBucketSettings"
    )
    settings.deny_response_settings.SetInParent()
    values = settings.bucket_id_builder.bucket_id_builder
    values["limit"].string_value = "limits/all"
    custom = make("envoy.config.core.v3.TypedExtensionConfig", **header_input("x-tenant"))
    values["tenant"].custom_value.CopyFrom(custom)
    tree = make("xds.type.matcher.v3.Matcher")
    row = tree.matcher_list.matchers.add()
    single = row.predicate.single_predicate
    single.input.CopyFrom(make("xds.core.v3.TypedExtensionConfig", **header_input(":path")))
    single.value_match.prefix = f"/{SERVICE}/"
    row.on_match.action.name = "x"
    packed = make("google.protobuf.Any", **pack(settings))
    row.on_match.action.typed_config.CopyFrom(packed)
    kind = "envoy.extensions.filters.http.rate_limit_quota.v3.RateLimitQuotaFilterConfig"
    changed = with_filter(snapshot, "quota", any_of(kind, domain="x", bucket_matchers=tree))
    call = dataclasses.replace(CALL, claims=OPERATOR, headers=(("x-tenant", "nyc"),))
    found = explain(Configuration(changed), call)
    (step,) = [step for step in found.steps if step.name == "quota"]
    assert step.verdict is Verdict.DEPENDS
    assert step.facts == (("limit", "limits/all"), ("tenant", "nyc"))
    assert found.certain


def test_what_a_strict_limit_asks_is_told(snapshot):
    actions = [
        {"generic_key": {"descriptor_key": "limit", "descriptor_value": "limits/strict"}},
        {
            "metadata": {
                "descriptor_key": "subject",
                "metadata_key": {
                    "key": "envoy.filters.http.jwt_authn",
                    "path": [{"key": "claims"}, {"key": "sub"}],
                },
            }
        },
    ]
    kind = "envoy.extensions.filters.http.ratelimit.v3.RateLimit"
    packed = any_of(kind, domain="x", rate_limits=[{"actions": actions}])
    call = dataclasses.replace(CALL, claims=OPERATOR)
    found = explain(Configuration(with_filter(snapshot, "strict", packed)), call)
    (step,) = [step for step in found.steps if step.name == "strict"]
    assert step.verdict is Verdict.DEPENDS
    assert step.facts == (("limit", "limits/strict"), ("subject", "operators/ada"))


def test_a_route_with_a_field_that_is_not_known_is_not_guessed(snapshot):
    routes = make("envoy.config.route.v3.RouteConfiguration")
    routes.ParseFromString(snapshot.resources["RDS"][SERVICE].value)
    routes.virtual_hosts[0].routes[0].match.tls_context.presented.value = True
    changed = snapshot.changed(8, [("RDS", resource(SERVICE, routes.SerializeToString()))])
    found = explain(Configuration(changed), CALL)
    assert not found.certain
    assert found.answer.by == "nobody"


@pytest.mark.parametrize(
    ("match", "action", "path", "expected"),
    [
        ({"prefix": "/a/"}, {"prefix_rewrite": "/"}, "/a/b?c=d", "/b?c=d"),
        ({"path_separated_prefix": "/a"}, {"prefix_rewrite": "/x"}, "/a/b", "/x/b"),
        ({"path": "/a/b"}, {"prefix_rewrite": "/whole"}, "/a/b?q=1", "/whole?q=1"),
        (
            {"safe_regex": {"regex": "/a/([0-9]+)/.*"}},
            {
                "regex_rewrite": {
                    "pattern": {"regex": "/a/([0-9]+)/(.*)"},
                    "substitution": r"/\2/\1",
                }
            },
            "/a/7/b",
            "/b/7",
        ),
    ],
)
def test_a_path_is_rewritten_for_the_service(snapshot, match, action, path, expected):
    routes = make("envoy.config.route.v3.RouteConfiguration")
    routes.ParseFromString(snapshot.resources["RDS"]["echo"].value)
    route = routes.virtual_hosts[0].routes[0]
    route.match.CopyFrom(make("envoy.config.route.v3.RouteMatch", **match))
    kind = "envoy.config.route.v3.RouteAction"
    route.route.CopyFrom(make(kind, cluster="services/echo", **action))
    scope = snapshot.resources["SRDS"]["echo"]
    moved = make("envoy.config.route.v3.ScopedRouteConfiguration")
    moved.ParseFromString(scope.value)
    moved.name = "a"
    moved.key.fragments[0].string_key = "a"
    changed = snapshot.changed(
        8,
        [
            ("RDS", resource("echo", routes.SerializeToString())),
            ("SRDS", resource("a", moved.SerializeToString())),
        ],
    )
    call = Call(method="GET", path=path, claims=OPERATOR)
    found = explain(Configuration(changed), call)
    assert found.answer.by == "service"
    assert found.path == expected


@pytest.mark.parametrize(
    ("action", "status", "verdict"),
    [
        ({"direct_response": {"status": 418}}, 418, Verdict.REFUSED),
        ({"direct_response": {"status": 204}}, 204, Verdict.ANSWERED),
        ({"redirect": {"response_code": "PERMANENT_REDIRECT"}}, 308, Verdict.ANSWERED),
    ],
)
def test_a_route_may_answer_by_itself(snapshot, action, status, verdict):
    routes = make("envoy.config.route.v3.RouteConfiguration")
    routes.ParseFromString(snapshot.resources["RDS"]["echo"].value)
    made = make("envoy.config.route.v3.Route", match={"prefix": "/"}, name="hosts/x", **action)
    routes.virtual_hosts[0].routes[0].CopyFrom(made)
    changed = snapshot.changed(8, [("RDS", resource("echo", routes.SerializeToString()))])
    call = Call(method="GET", path="/echo/x", claims=OPERATOR)
    found = explain(Configuration(changed), call)
    assert found.answer.http_status == status
    assert found.steps[-1].verdict is verdict
    assert found.steps[-1].object == "hosts/x"


RECORD = {
    "time": "2026-11-24T11:00:00Z",
    "attributes": {
        "http.request.method": "POST",
        "url.path": f"/{SERVICE}/Echo",
        "http.response.status_code": "200",
        "rpc.grpc.status": "Unavailable",
        "flags": "UF,URX",
        "details": "upstream_reset_before_response_started{connection_failure}",
        "cluster": "services/echo",
        "route": "-",
        "subject": "operators/ada",
        "roles": '["operator"]',
        "content_type": "application/grpc",
        "request_bytes": "5",
    },
}


@pytest.mark.parametrize("shape", ["ours", "flat", "otlp"])
def test_a_record_of_the_access_log_becomes_the_request(shape):
    record = dict(RECORD)
    if shape == "flat":
        record = {"timestamp": RECORD["time"], **RECORD["attributes"]}
    elif shape == "otlp":
        values = [
            {"key": key, "value": {"stringValue": value}}
            for key, value in RECORD["attributes"].items()
        ]
        record = {"timeUnixNano": "1795518000000000000", "attributes": values}
    logged = access_log.parse(json.dumps(record))
    assert logged.time == datetime(2026, 11, 24, 11, tzinfo=UTC)
    assert logged.call.path == f"/{SERVICE}/Echo"
    assert logged.call.body is Body.GRPC
    assert logged.call.claims == {"sub": "operators/ada", "roles": ["operator"]}
    assert (logged.http_status, logged.grpc_status) == (200, 14)


def test_the_line_of_text_is_enough():
    logged = access_log.parse("envoy: GET /echo/v1/ticks/a 401 -")
    assert (logged.call.method, logged.call.path) == ("GET", "/echo/v1/ticks/a")
    assert logged.http_status == 401
    assert logged.time is None


@pytest.mark.parametrize("line", ["", "hello", "{", "[]", "{}", '{"url.path": 7}', "{" * 20_000])
def test_what_is_no_record_is_refused(line):
    with pytest.raises(InvalidInput) as caught:
        access_log.parse(line)
    assert caught.value.reason == "LOG_LINE_UNREADABLE"


def test_where_a_log_differs_from_what_is_expected_is_told(snapshot):
    logged = access_log.parse(json.dumps(RECORD))
    found = explain(Configuration(snapshot), logged.call)
    (difference,) = logged.differences(found)
    assert "the edge answered" in difference.lower()
    assert logged.meanings() == [
        "UF: the connection to the service failed.",
        "URX: all retries, or all attempts to connect, were used up.",
        "upstream_reset_before_response_started{connection_failure}: the service's stream ended "
        "before it answered (connection failure).",
    ]


def test_a_flag_that_is_not_known_is_told_as_such():
    assert meanings("XYZ", "-") == ["XYZ: a flag that is not known here."]
