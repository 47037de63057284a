"""HTTP hosts through a real Envoy: who reaches what, and what becomes of a request."""

import asyncio
import base64
import json
import ssl

import aiohttp
import grpc
import pytest
import pytest_asyncio

from aerofusion.gateway.v1 import service_pb2
from meshkit.status import from_rpc_error
from tests.fixtures.echo import EchoMessage, EchoStub
from tests.fixtures.edge import bearer
from tests.fixtures.sites import host, open_sites, to
from tests.fixtures.website import Website, server_tls


pytestmark = pytest.mark.asyncio(loop_scope="module")

ORIGIN = "https://page.example"
NAMES = ("shop.example", "other.example", "added.example", "wild.example", "*.wild.example")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def sites(postgres):
    async with open_sites(postgres) as made:
        made.shop, made.copy = await made.website("shop"), await made.website("copy")
        made.echo = await made.mesh.echo("0")
        await made.mesh.put_service("echo", made.echo)
        await made.apply(made.certificate("web", *NAMES))
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def user(sites):
    return await sites.user()


async def asked(sites, path, *, method="GET", name="shop.example", **fields):
    """Send one request; returns status, headers and body."""
    async with (
        sites.browser() as http,
        http.request(method, sites.url(path, name), allow_redirects=False, **fields) as answer,
    ):
        return answer.status, answer.headers, await answer.text()


async def refused(sites, *objects):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await sites.apply(*objects)
    return from_rpc_error(caught.value)


async def test_a_host_passes_requests_on_and_asks_for_a_token(sites, user):
    await sites.apply(host(rules=[{"id": "all", "forward": to("shop")}]))
    before = len(sites.shop.requests)
    assert (await asked(sites, "/x"))[0] == 401
    bad = {"authorization": "Bearer a.b.c"}
    assert (await asked(sites, "/x", headers=bad))[0] == 401
    assert len(sites.shop.requests) == before
    spoofed = {**user, "x-aerofusion-claims": "forged", "x-aerofusion-more": "1"}
    status, _, body = await asked(sites, "/x?y=1", headers=spoofed)
    said = json.loads(body)
    assert (status, said["site"], said["path"]) == (200, "shop", "/x?y=1")
    assert said["host"] == f"shop.example:{sites.mesh.port}"
    assert "x-aerofusion-more" not in said["headers"]
    claims = said["headers"]["x-aerofusion-claims"]
    claims = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    assert claims["sub"] == "passengers/p1"


async def test_access_is_the_rules_own_or_the_hosts(sites, user):
    rules = [
        {"id": "open", "match": {"path_prefix": "/open"}, "access": {"public": True}},
        {"id": "staff", "match": {"path_prefix": "/staff"}, "access": {"roles": ["operator"]}},
        {"id": "rest", "access": {}},
    ]
    rules = [{**rule, "forward": to("shop")} for rule in rules]
    await sites.apply(host(access={"roles": ["nobody"]}, rules=rules))
    operator = await sites.user("operator")
    for path, nobody, passenger, staff in (
        ("/open/a", 200, 200, 200),
        ("/open", 200, 200, 200),
        ("/opener", 401, 200, 200),
        ("/OPEN/a", 401, 200, 200),
        ("/staff/a", 401, 403, 200),
        ("/a", 401, 200, 200),
        # What is public by the path that came isn't by the path that is meant.
        ("/open/../staff/a", 401, 403, 200),
        ("/open/%2e%2e/staff/a", 401, 403, 200),
        ("//staff/a", 401, 403, 200),
        ("/open/..%2fstaff/a", 400, 400, 400),
    ):
        found = [
            await raw(sites, f"GET {path} HTTP/1.1", headers) for headers in ({}, user, operator)
        ]
        assert found == [nobody, passenger, staff], path
    bad = {"authorization": "Bearer a.b.c"}
    assert await raw(sites, "GET /open/a HTTP/1.1", bad) == 401
    rules = [{"id": "all", "forward": to("shop")}]
    await sites.apply(host(access={"roles": ["operator"]}, rules=rules))
    assert await raw(sites, "GET / HTTP/1.1", user) == 403
    assert await raw(sites, "GET / HTTP/1.1", operator) == 200


async def raw(sites, line, headers=None, *, name="shop.example", more=()):
    """Send a request as it is, over HTTP/1.1; returns the status."""
    reader, writer = await connected(sites, name)
    lines = [line, f"host: {name}", *(f"{key}: {value}" for key, value in (headers or {}).items())]
    writer.write("\r\n".join([*lines, *more, "connection: close", "", ""]).encode())
    head = await reader.readline()
    writer.close()
    return int(head.split()[1])


async def connected(sites, name):
    trusted = ssl.create_default_context(cadata=sites.ca.root_pem)
    return await asyncio.open_connection(
        "127.0.0.1", sites.mesh.port, ssl=trusted, server_hostname=name
    )


async def test_trace_connect_and_two_host_headers_reach_nobody(sites, user):
    rules = [{"id": "all", "access": {"public": True}, "forward": to("shop")}]
    await sites.apply(host(domains=["wild.example", "*.wild.example"], rules=rules))
    before = len(sites.shop.requests)
    assert await raw(sites, "TRACE / HTTP/1.1", user, name="wild.example") == 403
    assert await raw(sites, "CONNECT wild.example:443 HTTP/1.1", user, name="wild.example") in {
        403,
        404,
    }
    two = ["host: b.wild.example"]
    assert await raw(sites, "GET / HTTP/1.1", user, name="a.wild.example", more=two) == 403
    assert await raw(sites, "GET / HTTP/1.1", user, name="wild.example", more=two) == 403
    assert len(sites.shop.requests) == before
    assert await raw(sites, "GET / HTTP/1.1", user, name="a.wild.example") == 200


async def test_a_request_for_another_name_than_the_connections_is_misdirected(sites, user):
    await sites.apply(
        host(rules=[{"id": "all", "access": {"public": True}, "forward": to("shop")}]),
        host("other", rules=[{"id": "all", "access": {"public": True}, "forward": to("copy")}]),
    )
    for name in ("other.example", "shop.example.evil.example", "localhost"):
        reader, writer = await connected(sites, "shop.example")
        writer.write(f"GET / HTTP/1.1\r\nhost: {name}\r\nconnection: close\r\n\r\n".encode())
        assert b" 421 " in await reader.readline()
        writer.close()
    assert (await asked(sites, "/", name="other.example"))[2].startswith('{"site": "copy"')
    await sites.apply(deletes=["hosts/other"])


MATCHES = [
    ("exact", {"exact_path": "/exact"}),
    ("regex", {"path_regex": "/r/[0-9]+"}),
    ("post", {"path_prefix": "/m", "methods": ["POST", "PUT"]}),
    ("get", {"path_prefix": "/m", "methods": ["GET"]}),
    ("flag", {"path_prefix": "/h", "headers": [{"name": "x-flag", "exact": "on"}]}),
    ("mobile", {"path_prefix": "/h", "headers": [{"name": "x-flag", "prefix": "mob"}]}),
    ("unset", {"path_prefix": "/h", "headers": [{"name": "x-flag", "present": False}]}),
    ("page", {"path_prefix": "/q", "query": [{"name": "page", "exact": "2"}]}),
    ("sort", {"path_prefix": "/q", "query": [{"name": "sort", "prefix": "by-"}]}),
    ("debug", {"path_prefix": "/q", "query": [{"name": "debug", "present": True}]}),
]


async def test_the_first_rule_that_matches_wins(sites):
    rules = [
        {"id": one, "match": match, "direct_response": {"status": 200, "body": one}}
        for one, match in MATCHES
    ]
    await sites.apply(host(access={"public": True}, rules=rules))
    for line, headers, wanted in (
        ("GET /exact", {}, "exact"),
        ("GET /exact/", {}, 404),
        ("GET /Exact", {}, 404),
        ("GET /r/12", {}, "regex"),
        ("GET /r/12/3", {}, 404),
        ("PUT /m/x", {}, "post"),
        ("GET /m", {}, "get"),
        ("DELETE /m", {}, 404),
        ("GET /h", {"x-flag": "on"}, "flag"),
        ("GET /h", {"x-flag": "mobile"}, "mobile"),
        ("GET /h", {"x-flag": "off"}, 404),
        ("GET /h", {}, "unset"),
        ("GET /q?page=2", {}, "page"),
        ("GET /q?page=22", {}, 404),
        ("GET /q?sort=by-name", {}, "sort"),
        ("GET /q?debug=", {}, "debug"),
        ("GET /", {}, 401),
    ):
        method, path = line.split()
        status, _, body = await asked(sites, path, method=method, headers=headers)
        if wanted == 404:
            # What matches no rule is nobody's: a token is asked for first.
            assert status == 401, line
            known = {**headers, **await sites.user()}
            assert (await asked(sites, path, method=method, headers=known))[0] == 404, line
        elif wanted == 401:
            assert status == 401, line
        else:
            assert (status, body) == (200, wanted), line


async def test_paths_and_hosts_are_rewritten(sites):
    def rule(number, match, rewrite, **fields):
        forward = {**to("shop"), "rewrite": rewrite, **fields}
        return {"id": f"r{number}", "match": match, "forward": forward}

    rules = [
        rule(1, {"path_prefix": "/a"}, {"prefix": "/x/y"}),
        rule(2, {"path_prefix": "/b"}, {"prefix": "/"}),
        rule(3, {"path_prefix": "/c/"}, {"prefix": "/z"}),
        rule(4, {"exact_path": "/d"}, {"full": "/full\\1"}),
        rule(5, {"path_regex": "/e/([a-z]+)/(.*)"}, {"substitution": "/\\2/of/\\1"}),
        rule(6, {"path_prefix": "/f"}, {"full": "/g"}, host="inner.example"),
        rule(7, {"path_prefix": "/"}, {"prefix": "/rest"}),
    ]
    await sites.apply(host(access={"public": True}, rules=rules))
    for path, wanted in (
        ("/a", "/x/y"),
        ("/a/1?q=/a", "/x/y/1?q=/a"),
        ("/b/1/b", "/1/b"),
        ("/b", "/"),
        ("/c/1", "/z/1"),
        ("/d?q", "/full\\1?q"),
        ("/e/shoes/red/1", "/red/1/of/shoes"),
        ("/f/x", "/g"),
        ("/aa", "/rest/aa"),
    ):
        status, _, body = await asked(sites, path)
        said = json.loads(body)
        assert (status, said["path"]) == (200, wanted), path
        assert said["host"].partition(":")[0] == (
            "inner.example" if path == "/f/x" else "shop.example"
        )


async def test_redirects_go_where_they_say(sites):
    rules = [
        {"id": "moved", "match": {"path_prefix": "/old"}, "redirect": {"prefix": "/new"}},
        {"id": "root", "match": {"path_prefix": "/up"}, "redirect": {"prefix": "/"}},
        {
            "id": "away",
            "match": {"path_prefix": "/away"},
            "redirect": {
                "host": "www.example",
                "port": 8443,
                "full_path": "/there",
                "status": 301,
                "strip_query": True,
            },
        },
    ]
    await sites.apply(host(access={"public": True}, rules=rules))
    origin = sites.url("")
    for path, status, location in (
        ("/old/1?q=2", 307, f"{origin}/new/1?q=2"),
        ("/up/1", 307, f"{origin}/1"),
        ("/away/x?q=2", 301, "https://www.example:8443/there"),
    ):
        found, headers, _ = await asked(sites, path)
        assert (found, headers["location"]) == (status, location)


async def test_direct_responses_and_headers(sites, user):
    html = {"status": 503, "body": "<h1>Back soon</h1>", "content_type": "text/html"}
    said = {"set": [{"name": "retry-after", "value": "60"}]}
    rules = [
        {"id": "closed", "match": {"exact_path": "/closed"}, "direct_response": html,
         "response_headers": said},
        {"id": "none", "match": {"exact_path": "/none"}, "direct_response": {"status": 204}},
        {
            "id": "rest",
            "forward": to("shop"),
            "request_headers": {
                "set": [{"name": "x-set", "value": "by the edge"}], "remove": ["x-gone"]
            },
            "response_headers": {"set": [{"name": "x-answer", "value": "1"}], "remove": ["server"]},
        },
    ]  # fmt: skip
    await sites.apply(host(access={"public": True}, rules=rules))
    status, headers, body = await asked(sites, "/closed")
    assert (status, body, headers["content-type"]) == (503, html["body"], "text/html")
    assert headers["retry-after"] == "60"
    assert (await asked(sites, "/none"))[0] == 204
    status, headers, body = await asked(sites, "/", headers={"x-gone": "1", "x-set": "mine"})
    found = json.loads(body)["headers"]
    assert found["x-set"] == "by the edge"
    assert "x-gone" not in found
    assert headers["x-answer"] == "1"


async def test_pages_of_a_hosts_origins_may_call_it(sites, user):
    rules = [{"id": "all", "forward": to("shop")}]
    await sites.apply(host(cors_origins=[ORIGIN], rules=rules))
    ask = {"origin": ORIGIN, "access-control-request-method": "PUT"}
    status, headers, _ = await asked(sites, "/x", method="OPTIONS", headers=ask)
    assert (status, headers["access-control-allow-origin"]) == (200, ORIGIN)
    assert "PUT" in headers["access-control-allow-methods"]
    stranger = {**ask, "origin": "https://evil.example"}
    status, headers, _ = await asked(sites, "/x", method="OPTIONS", headers=stranger)
    assert "access-control-allow-origin" not in headers
    _, headers, _ = await asked(sites, "/x", headers={**user, "origin": ORIGIN})
    assert headers["access-control-allow-origin"] == ORIGIN
    status, headers, _ = await asked(sites, "/x", headers={"origin": ORIGIN})
    assert (status, headers["access-control-allow-origin"]) == (401, ORIGIN)


async def test_weights_mirrors_retries_and_time_limits(sites):
    both = {
        "destinations": [
            {"service": "services/shop", "weight": 1},
            {"service": "services/copy", "weight": 1},
        ]
    }
    rules = [
        {"id": "split", "match": {"path_prefix": "/split"}, "forward": both},
        {
            "id": "copied",
            "match": {"path_prefix": "/copied"},
            "forward": to("shop", mirrors=[{"service": "services/copy"}]),
        },
        {
            "id": "again",
            "match": {"path_prefix": "/status"},
            "forward": to("shop", retry={"attempts_max": 2}),
        },
        {"id": "brief", "match": {"path_prefix": "/slow"}, "forward": to("shop", timeout="0.3s")},
    ]
    await sites.apply(host(access={"public": True}, rules=rules))
    seen = {json.loads((await asked(sites, "/split"))[2])["site"] for _ in range(30)}
    assert seen == {"shop", "copy"}
    await asked(sites, "/copied/here")
    async with asyncio.timeout(10):
        while not any(one["path"] == "/copied/here" for one in sites.copy.requests):  # noqa: ASYNC110
            await asyncio.sleep(0.02)  # polls
    assert (await asked(sites, "/status/503"))[0] == 503
    tried = [one for one in sites.shop.requests if one["path"] == "/status/503"]
    assert len(tried) == 3
    assert (await asked(sites, "/slow?s=5"))[0] == 504


async def test_a_websocket_goes_through_where_a_rule_lets_it(sites, user):
    rules = [
        {
            "id": "socket",
            "match": {"exact_path": "/socket"},
            "forward": to("shop", upgrades=True, timeout="0.5s"),
        },
        {"id": "rest", "forward": to("shop")},
    ]
    await sites.apply(host(rules=rules))
    async with sites.browser() as http:
        async with http.ws_connect(sites.url("/socket"), headers=user) as socket:
            await socket.send_str("hello")
            assert (await socket.receive_str(timeout=5)) == "shop: hello"
            # The time limit is for answers, not for what goes on after an upgrade.
            await socket.send_str("after 1 s")
            assert (await socket.receive_str(timeout=5)) == "shop: after 1 s"
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await http.ws_connect(sites.url("/socket"))
        assert caught.value.status == 401
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await http.ws_connect(sites.url("/other"), headers=user)
        assert caught.value.status == 403


async def test_a_service_outside_the_mesh_is_checked_and_gets_none_of_our_tokens(sites, user):
    issued = sites.ca.issue("api.partner.example")
    partner = await Website(
        "partner", server_tls(issued.key_pem.encode(), issued.chain_pem.encode())
    ).start()
    tls = service_pb2.ExternalTls(server_name="api.partner.example", ca_pem=sites.ca.root_pem)
    fields = {"protocol": service_pb2.PROTOCOL_HTTP1, "external_tls": tls}
    await sites.put_site("partner", partner, **fields)
    key = {"set": [{"name": "x-api-key", "value": "k"}]}
    forward = to("partner", host="api.partner.example")
    await sites.apply(host(rules=[{"id": "all", "forward": forward, "request_headers": key}]))
    status, _, body = await asked(sites, "/x", headers=user)
    said = json.loads(body)
    assert (status, said["site"], said["host"]) == (200, "partner", "api.partner.example")
    assert said["headers"]["x-api-key"] == "k"
    assert not {"authorization", "x-aerofusion-claims"} & said["headers"].keys()
    # Another name than its certificate's, or another authority's: it isn't spoken to.
    tls.server_name = "evil.partner.example"
    await sites.put_site("partner", partner, **fields)
    await sites.mesh.settled()
    assert (await asked(sites, "/x", headers=user))[0] == 503
    tls.server_name, tls.ca_pem = "api.partner.example", sites.mesh.bundle_pem.decode()
    await sites.put_site("partner", partner, **fields)
    await sites.mesh.settled()
    assert (await asked(sites, "/x", headers=user))[0] == 503
    await sites.apply(deletes=["hosts/shop"])
    await sites.apply(deletes=["services/partner"])
    await partner.stop()


async def test_a_new_host_cuts_no_stream_and_changes_the_listener_in_place(sites, user):
    await sites.apply(host(rules=[{"id": "all", "forward": to("shop", upgrades=True)}]))
    before = await sites.stats("listener_manager")
    async with (
        sites.mesh.channel() as channel,
        sites.browser() as http,
        http.ws_connect(sites.url("/socket"), headers=user) as socket,
    ):
        metadata = bearer(await sites.mesh.token())
        chat = EchoStub(channel).Chat(metadata=metadata)

        async def both_go_on(text):
            await chat.write(EchoMessage(text=text))
            assert (await chat.read()).text == text
            await socket.send_str(text)
            assert await socket.receive_str(timeout=5) == f"shop: {text}"

        await both_go_on("before")
        opened = await sites.stats("http.edge.downstream_cx_total")
        added = [{"id": "all", "access": {"public": True}, "forward": to("copy")}]
        await sites.apply(host("added", rules=added))
        await answers(sites, "added.example")
        await both_go_on("added")
        # Another's rules touch its own routes only.
        added[0]["forward"] = to("shop")
        await sites.apply(host("added", rules=added))
        assert json.loads((await asked(sites, "/", name="added.example"))[2])["site"] == "shop"
        assert changed(before, await sites.stats("listener_manager")) == (1, 1)
        await sites.apply(deletes=["hosts/added"])
        await both_go_on("removed")
        assert changed(before, await sites.stats("listener_manager")) == (2, 2)
        # A connection that drains takes no more calls: this one would be on another.
        await EchoStub(channel).Echo(EchoMessage(text="more"), metadata=metadata)
        assert await sites.stats("http.edge.downstream_cx_total") == opened
        drained = await sites.stats("downstream_cx_drain_close")
        assert drained["http.edge.downstream_cx_drain_close"] == 0
        assert drained["http.hosts.downstream_cx_drain_close"] == 0


def changed(before, after):
    """How often the listener was changed since, and how often of that in place."""
    names = ("listener_modified", "listener_in_place_updated")
    return tuple(
        after[f"listener_manager.{name}"] - before[f"listener_manager.{name}"] for name in names
    )


async def answers(sites, name):
    """Wait until the host is there."""
    async with asyncio.timeout(10):
        while True:
            try:
                if (await asked(sites, "/", name=name))[0] == 200:
                    return
            except aiohttp.ClientError:
                await asyncio.sleep(0.01)  # polls


async def test_a_domain_belongs_to_one_host(sites):
    rules = [{"id": "all", "direct_response": {"status": 200}}]
    await sites.apply(host(rules=rules))
    error = await refused(
        sites, host("other", domains=["other.example", "shop.example"], rules=rules)
    )
    assert (error.reason, error.metadata["host"]) == ("DOMAIN_TAKEN", "hosts/shop")
    # In one change it may go from one to the other.
    await sites.apply(
        host("other", domains=["shop.example"], rules=rules),
        host(domains=["other.example"], rules=rules),
    )
    await sites.apply(deletes=["hosts/other"])


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        ({"match": {"path_prefix": "/a/../b"}}, "match.path_prefix"),
        ({"match": {"exact_path": "/a?b"}}, "match.exact_path"),
        ({"match": {"path_regex": "/(?=a)"}}, "match.path_regex"),
        ({"match": {"path_regex": "/(a{1,100}){1,100}"}}, "match.path_regex"),
        ({"match": {"methods": ["TRACE"]}}, "match.methods[0]"),
        ({"forward": {"rewrite": {"full": "/b"}}}, "forward.destinations"),
        ({"forward": {**to("shop"), "rewrite": {"prefix": "/b"}}}, "forward.rewrite.prefix"),
        (
            {
                "match": {"path_regex": "/a"},
                "forward": {**to("shop"), "rewrite": {"substitution": "/\\1"}},
            },
            "forward.rewrite.substitution",
        ),
        ({"direct_response": {"status": 200, "body": "é" * 2049}}, "direct_response.body"),
    ],
)
async def test_a_rule_that_cannot_be_is_refused_with_its_field(sites, rule, field):
    given = {"id": "r", **rule}
    if not {"forward", "redirect", "direct_response"} & given.keys():
        given["direct_response"] = {"status": 200}
    error = await refused(sites, host(rules=[given]))
    assert error.reason == "INVALID_OBJECT"
    assert f"host.rules[0].{field}" in error.field_violations
