"""The edge as clients meet it: a real Envoy behind gateway and relay."""

import asyncio
import base64
import json
import struct

import grpc
import pytest
import pytest_asyncio

from aerofusion.gateway.v1 import catalog_service_pb2 as rpc
from aerofusion.gateway.v1 import route_pb2, service_pb2
from aerofusion.gateway.v1.identity_service_pb2 import RotateKeyRequest
from tests.fixtures.echo import SERVICE, EchoMessage, EchoStub, descriptor_set
from tests.fixtures.edge import bearer, edge


pytestmark = pytest.mark.asyncio(loop_scope="module")

ORIGIN = "https://console.example"
PREFLIGHT = {"origin": ORIGIN, "access-control-request-method": "POST"}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def mesh(postgres):
    async with edge(postgres, edge_cors_origins=ORIGIN) as made:
        made.servers = [await made.echo("0"), await made.echo("1")]
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def echo(mesh):
    """The echo service with its defaults, whatever the test before made of it."""
    await mesh.put_service("echo", mesh.servers[0])
    await mesh.settled()
    async with mesh.channel() as channel:
        yield EchoStub(channel)


@pytest_asyncio.fixture(loop_scope="module")
async def user(mesh):
    return bearer(await mesh.token())


async def refused(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code()


async def test_a_call_arrives_with_its_token_and_its_claims(mesh, echo):
    token = await mesh.token()
    spoofed = (*bearer(token), ("x-aerofusion-claims", "forged"), ("x-aerofusion-more", "1"))
    answer = await echo.Echo(EchoMessage(text="hi"), metadata=spoofed)
    headers = [header.split("=", 1) for header in answer.headers]
    found = dict(headers)
    (claims,) = (value for key, value in headers if key == "x-aerofusion-claims")
    claims = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    assert claims["sub"] == "passengers/p1"
    assert found["authorization"] == f"Bearer {token}"
    assert "x-aerofusion-more" not in found


@pytest.mark.parametrize("token", ["", "nonsense", "a.b.c"])
async def test_a_call_without_a_good_token_is_unauthenticated(mesh, echo, token):
    calls = mesh.servers[0].calls
    metadata = bearer(token) if token else ()
    assert await refused(echo.Echo(EchoMessage(), metadata=metadata)) == (
        grpc.StatusCode.UNAUTHENTICATED
    )
    assert mesh.servers[0].calls == calls


async def test_an_altered_token_is_unauthenticated(mesh, echo):
    head, payload, signature = (await mesh.token()).split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    claims["roles"] = ["operator"]
    forged = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    metadata = bearer(f"{head}.{forged}.{signature}")
    assert await refused(echo.Echo(EchoMessage(), metadata=metadata)) == (
        grpc.StatusCode.UNAUTHENTICATED
    )


@pytest.mark.parametrize(
    ("claim", "code"),
    [
        ("ISSUER", grpc.StatusCode.UNAUTHENTICATED),
        ("AUDIENCE", grpc.StatusCode.PERMISSION_DENIED),
    ],
)
async def test_a_token_of_ours_for_somebody_else_is_refused(mesh, echo, claim, code, monkeypatch):
    calls = mesh.servers[0].calls
    monkeypatch.setattr(f"gateway.identity.tokens.{claim}", "elsewhere")
    metadata = bearer(await mesh.token())
    assert await refused(echo.Echo(EchoMessage(), metadata=metadata)) == code
    assert mesh.servers[0].calls == calls


async def test_a_json_call_without_a_token_never_reaches_the_service(mesh, echo):
    calls = mesh.servers[0].calls
    async with mesh.http() as http:
        answer = await http.post("/echo/v1/echo", json={"text": "hi"})
        assert answer.status == 401
        in_the_query = await http.get("/echo/v1/ticks/t?access_token=" + await mesh.token())
        assert in_the_query.status == 400
    assert mesh.servers[0].calls == calls


async def test_json_is_transcoded(mesh, echo, user):
    async with mesh.http() as http:
        answer = await http.post("/echo/v1/echo", json={"text": "hi"}, headers=dict(user))
        assert answer.status == 200, await answer.text()
        assert (await answer.json())["text"] == "hi"


async def test_a_json_stream_comes_line_by_line(mesh, echo, user):
    async with mesh.http() as http:
        answer = await http.get("/echo/v1/ticks/tock?ticks=4", headers=dict(user))
        assert answer.status == 200, await answer.text()
        lines = (await answer.text()).strip().splitlines()
    assert [json.loads(line)["text"] for line in lines] == [f"tock {n}" for n in range(4)]


@pytest.mark.parametrize("path", ["/echo/v1/nothing", "/nothing/at/all", "/", f"/{SERVICE}"])
async def test_an_unknown_path_is_not_found_with_a_token_and_unauthenticated_without(
    mesh, echo, user, path
):
    async with mesh.http() as http:
        assert (await http.get(path)).status == 401
        assert (await http.get(path, headers=dict(user))).status == 404


async def test_bad_json_is_a_client_error(mesh, echo, user):
    async with mesh.http() as http:
        answer = await http.post("/echo/v1/echo", data=b"{", headers=dict(user))
        assert answer.status == 400
        answer = await http.post("/echo/v1/echo?unknown=1", json={}, headers=dict(user))
        assert answer.status == 400


@pytest.mark.parametrize("path", [f"/{SERVICE}/Echo", "/echo/v1/echo"])
async def test_a_preflight_of_an_allowed_origin_is_answered_by_the_edge(mesh, echo, path):
    async with mesh.http() as http:
        answer = await http.options(path, headers=PREFLIGHT)
        assert answer.status == 200
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert "x-grpc-web" in answer.headers["access-control-allow-headers"]
        stranger = {**PREFLIGHT, "origin": "https://evil.example"}
        answer = await http.options(path, headers=stranger)
        assert "access-control-allow-origin" not in answer.headers


async def test_only_a_preflight_goes_without_a_token(mesh, echo):
    async with mesh.http() as http:
        assert (await http.options(f"/{SERVICE}/Echo")).status == 401
        assert (await http.options("/unknown/x", headers=PREFLIGHT)).status == 401


async def test_grpc_web_is_unwrapped(mesh, echo, user):
    body = EchoMessage(text="web").SerializeToString()
    headers = {**dict(user), "content-type": "application/grpc-web+proto", "origin": ORIGIN}
    async with mesh.http() as http:
        data = struct.pack(">BI", 0, len(body)) + body
        answer = await http.post(f"/{SERVICE}/Echo", data=data, headers=headers)
        assert answer.status == 200
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        payload = await answer.read()
        refusal = await http.post(
            f"/{SERVICE}/Echo", data=data, headers={**headers, "authorization": "Bearer x"}
        )
        # Without this the page could not tell why.
        assert refusal.headers["access-control-allow-origin"] == ORIGIN
        assert refusal.headers["grpc-status"] == "16"
    length = struct.unpack(">BI", payload[:5])[1]
    assert EchoMessage.FromString(payload[5 : 5 + length]).text == "web"
    assert b"grpc-status:0" in payload[5 + length :]


async def test_a_role_that_is_missing_is_permission_denied(mesh, echo, user):
    access = service_pb2.Access(roles=["operator"])
    await mesh.put_service("echo", mesh.servers[0], access=access)
    await mesh.settled()
    code = await refused(echo.Echo(EchoMessage(), metadata=user))
    assert code == grpc.StatusCode.PERMISSION_DENIED
    operator = bearer(await mesh.token("operator", subject="operators/ada"))
    assert (await echo.Echo(EchoMessage(text="x"), metadata=operator)).text == "x"
    async with mesh.http() as http:
        assert (await http.post("/echo/v1/echo", json={}, headers=dict(user))).status == 403


async def test_what_is_public_needs_no_token_but_takes_no_bad_one(mesh, echo):
    await mesh.put_service("echo", mesh.servers[0], access=service_pb2.Access(public=True))
    await mesh.settled()
    answer = await echo.Echo(EchoMessage(text="free"))
    assert answer.text == "free"
    assert not any(header.startswith("x-aerofusion-claims") for header in answer.headers)
    code = await refused(echo.Echo(EchoMessage(), metadata=bearer("a.b.c")))
    assert code == grpc.StatusCode.UNAUTHENTICATED


async def test_a_rate_limit_is_resource_exhausted(mesh, echo, user):
    limit = service_pb2.RateLimit(burst=3, per_second=1)
    await mesh.put_service("echo", mesh.servers[0], rate_limit=limit)
    await mesh.settled()
    codes = [await refused_or_ok(echo.Echo(EchoMessage(), metadata=user)) for _ in range(6)]
    assert codes[:3] == [None] * 3
    assert grpc.StatusCode.RESOURCE_EXHAUSTED in codes[3:]


async def refused_or_ok(call):
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return None


async def accepted(call):
    """Call until it succeeds."""
    async with asyncio.timeout(20):
        while await refused_or_ok(call()):  # noqa: ASYNC110
            await asyncio.sleep(0.05)  # polls


async def test_a_unary_call_ends_at_its_limit_and_a_stream_does_not(mesh, echo, user):
    await mesh.put_service("echo", mesh.servers[0], unary_timeout={"nanos": 300_000_000})
    await mesh.settled()
    code = await refused(echo.Echo(EchoMessage(pause_ms=3000), metadata=user))
    assert code == grpc.StatusCode.DEADLINE_EXCEEDED
    ticks = echo.Ticks(EchoMessage(text="t", ticks=4, pause_ms=150), metadata=user)
    assert len([tick async for tick in ticks]) == 4


async def test_a_replica_with_another_identity_gets_no_call(mesh, echo, user):
    await mesh.put_service("echo", mesh.servers[0], identity="notifier")
    await mesh.settled()
    code = await refused(echo.Echo(EchoMessage(), metadata=user))
    assert code == grpc.StatusCode.UNAVAILABLE


async def test_a_route_sends_chosen_calls_elsewhere(mesh, echo, user):
    canary = {"grpc_services": [], "json_prefixes": [], "descriptor_set": b""}
    await mesh.put_service("canary", mesh.servers[1], **canary)
    route = route_pb2.Route(
        name="services/echo/routes/canary",
        match=route_pb2.RouteMatch(
            grpc_service=SERVICE,
            grpc_method="Echo",
            headers=[route_pb2.HeaderMatch(name="x-canary", exact="yes")],
        ),
        destinations=[route_pb2.Destination(service="services/canary", weight=1)],
    )
    await mesh.catalog.UpdateRoute(rpc.UpdateRouteRequest(route=route, allow_missing=True))
    await mesh.settled()
    chosen = await echo.Echo(EchoMessage(), metadata=(*user, ("x-canary", "yes")))
    others = await echo.Echo(EchoMessage(), metadata=(*user, ("x-canary", "no")))
    assert (chosen.backend, others.backend) == ("echo-1", "echo-0")
    async with mesh.http() as http:
        headers = {**dict(user), "x-canary": "yes"}
        answer = await http.post("/echo/v1/echo", json={}, headers=headers)
        assert (await answer.json())["backend"] == "echo-1"
    await mesh.catalog.DeleteRoute(rpc.DeleteRouteRequest(name=route.name))
    await mesh.catalog.DeleteService(rpc.DeleteServiceRequest(name="services/canary"))
    await mesh.settled()


async def test_a_change_is_in_force_within_milliseconds(mesh, echo, user):
    loop = asyncio.get_running_loop()
    took = []
    for number in range(10):
        await mesh.put_service("echo", mesh.servers[number % 2])
        started = loop.time()
        await mesh.settled()
        took.append(loop.time() - started)
        backend = (await echo.Echo(EchoMessage(), metadata=user)).backend
        assert backend == f"echo-{number % 2}"
    assert sorted(took)[5] < 0.5


async def test_a_rotation_of_the_signing_keys_cuts_no_stream(mesh, echo, user):
    chat = echo.Chat(metadata=user)
    await chat.write(EchoMessage(text="before"))
    assert (await chat.read()).text == "before"
    # The next key must have been published for 10 s.
    await accepted(lambda: mesh.identity.RotateKey(RotateKeyRequest()))
    newer = bearer(await mesh.token())
    await accepted(lambda: echo.Echo(EchoMessage(), metadata=newer))
    await echo.Echo(EchoMessage(), metadata=user)  # The older token is still good.
    await chat.write(EchoMessage(text="after"))
    assert (await chat.read()).text == "after"
    await chat.done_writing()


async def test_what_envoy_refuses_is_told_and_withheld_and_the_rest_goes_on(mesh, echo, user):
    good = (await mesh.settled()).clients[0]
    broken = descriptor_set().replace(b"/echo/v1/echo", b"!echo/v1/echo")
    await mesh.put_service("echo", mesh.servers[1], descriptor_set=broken)
    status = await mesh.settled()
    (rejection,) = status.rejections
    assert rejection.type == "ECDS"
    assert rejection.resource == "envoy.filters.http.grpc_json_transcoder"
    assert rejection.node_id == "edge"
    assert "test.echo.v1.EchoService.Echo" in rejection.error
    assert rejection.version_served
    (extensions,) = (kind for kind in status.clients[0].types if kind.type == "ECDS")
    assert extensions.version_nacked
    assert extensions.error == rejection.error
    assert status.clients[0].acked_revision > good.acked_revision
    # The endpoints of the same change are in force, JSON goes by the last good descriptors.
    assert (await echo.Echo(EchoMessage(), metadata=user)).backend == "echo-1"
    async with mesh.http() as http:
        assert (await http.post("/echo/v1/echo", json={}, headers=dict(user))).status == 200
    sent = extensions.version_sent
    await mesh.put_service("echo", mesh.servers[0], descriptor_set=broken)
    status = await mesh.settled()
    (extensions,) = (kind for kind in status.clients[0].types if kind.type == "ECDS")
    assert extensions.version_sent == sent
    await mesh.put_service("echo", mesh.servers[0])
    assert not (await mesh.settled()).rejections


async def test_the_listener_is_never_changed(mesh, echo):
    stats = await mesh.admin("/stats?filter=listener_manager.listener")
    counts = dict(line.split(": ") for line in stats.splitlines())
    assert counts["listener_manager.listener_modified"] == "0"
    assert counts["listener_manager.listener_added"] == "1"
