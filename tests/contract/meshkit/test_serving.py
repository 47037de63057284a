"""What every server of the mesh does, over real gRPC and mutual TLS."""

import asyncio
import contextlib
import socket
from datetime import timedelta

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

from meshkit import errors
from meshkit.authz import allow, current_caller
from meshkit.boundary import BoundaryInterceptor
from meshkit.serving import GrpcServer, ListenFailed, ServingLimits
from meshkit.status import from_rpc_error


POLICY = {
    f"/test.Echo/{name}": allow(services=["notifier", "operator"])
    for name in ("Unary", "Stream", "Chat", "Slow", "Bug", "StreamBug", "Refuse", "StreamRefuse")
} | {"/test.Echo/Admin": allow(services=["operator"])}


def parse(data: bytes) -> bytes:
    if data.startswith(b"bad"):
        raise ValueError("secret parser text")
    return data


class Echo:
    async def unary(self, request, context):
        return current_caller().subject.encode()

    async def slow(self, request, context):
        await asyncio.Event().wait()

    async def bug(self, request, context):
        raise ValueError("password=hunter2")

    async def refuse(self, request, context):
        raise errors.Overloaded("QUEUE_FULL", "Full.", retry_after=timedelta(seconds=5))

    async def stream(self, request, context):
        for part in request.split(b","):
            await context.write(part)

    async def stream_bug(self, request, context):
        yield b"one"
        raise ValueError("password=hunter2")

    async def stream_refuse(self, request, context):
        raise errors.NotFound("THING_NOT_FOUND", "No such thing.")
        yield b""

    async def chat(self, requests, context):
        async for request in requests:
            await context.write(request)


def register(echo, server):
    def unary(fn):
        return grpc.unary_unary_rpc_method_handler(fn, request_deserializer=parse)

    def stream(fn):
        return grpc.unary_stream_rpc_method_handler(fn, request_deserializer=parse)

    handlers = {
        "Unary": unary(echo.unary),
        "Admin": unary(echo.unary),
        "Unlisted": unary(echo.unary),
        "Slow": unary(echo.slow),
        "Bug": unary(echo.bug),
        "Refuse": unary(echo.refuse),
        "Stream": stream(echo.stream),
        "StreamBug": stream(echo.stream_bug),
        "StreamRefuse": stream(echo.stream_refuse),
        "Chat": grpc.stream_stream_rpc_method_handler(echo.chat, request_deserializer=parse),
    }
    # As generated code does.
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", handlers),))
    server.add_registered_method_handlers("test.Echo", handlers)


@contextlib.asynccontextmanager
async def echo_server(ca, unix_socket=None, **limits):
    server = GrpcServer(
        workload=ca.workload("syncd"),
        listen="127.0.0.1:0",
        policy=POLICY,
        unix_socket=unix_socket,
        limits=ServingLimits(**limits),
    )
    server.add(register, Echo(), "test.Echo")
    port = await server.start()
    try:
        yield server, f"127.0.0.1:{port}"
    finally:
        await server.drain(timedelta(seconds=1))


@contextlib.asynccontextmanager
async def client(ca, address, service="notifier"):
    channel = ca.workload(service).channel(address, service="syncd")
    try:
        yield channel
    finally:
        await channel.close()


async def refusal(call):
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value


def reason(error):
    info = error_details_pb2.ErrorInfo()
    status = rpc_status.from_call(error)
    return info.reason if status and status.details and status.details[0].Unpack(info) else ""


async def test_a_caller_is_known_by_its_certificate(ca):
    async with echo_server(ca) as (_, address), client(ca, address) as channel:
        assert (
            await channel.unary_unary("/test.Echo/Unary")(b"") == b"spiffe://aerofusion/notifier/0"
        )


async def test_whoever_may_asks_which_services_there_are(ca):
    list_all = reflection_pb2.ServerReflectionRequest(list_services="")
    async with echo_server(ca) as (_, address), client(ca, address, "operator") as channel:
        call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
        await call.write(list_all)
        first = await call.read()
        await call.write(list_all)  # It is one conversation.
        second = await call.read()
        call.cancel()

    names = {one.name for one in first.list_services_response.service}
    assert names >= {"test.Echo", "grpc.health.v1.Health"}
    assert second == first


async def test_methods_are_found_by_name_since_each_registered_one_costs_every_call(
    ca, monkeypatch
):
    registered = []
    monkeypatch.setattr(
        grpc.aio.Server, "add_registered_method_handlers", lambda *given: registered.append(given)
    )
    async with echo_server(ca) as (_, address), client(ca, address) as channel:
        assert await channel.unary_unary("/test.Echo/Unary")(b"")
        health = health_pb2_grpc.HealthStub(channel)
        assert (await health.Check(health_pb2.HealthCheckRequest())).status

    assert registered == []


async def test_a_methods_handler_is_made_once_and_each_caller_judged_anew(ca, monkeypatch):
    asked = []
    find = BoundaryInterceptor.intercept_service

    async def noted(self, continuation, details):
        asked.append(details.method)
        return await find(self, continuation, details)

    monkeypatch.setattr(BoundaryInterceptor, "intercept_service", noted)
    async with (
        echo_server(ca) as (_, address),
        client(ca, address, "notifier") as allowed,
        client(ca, address, "telemetry") as stranger,
    ):
        for _ in range(2):
            assert await allowed.unary_unary("/test.Echo/Unary")(b"")
            error = await refusal(stranger.unary_unary("/test.Echo/Unary")(b""))
            assert reason(error) == "CALLER_NOT_ALLOWED"
            error = await refusal(allowed.unary_unary("/test.Echo/Nowhere")(b""))
            assert error.code() is grpc.StatusCode.UNIMPLEMENTED

    assert asked == ["/test.Echo/Unary", "/test.Echo/Nowhere", "/test.Echo/Nowhere"]


@pytest.mark.parametrize("method", ["Admin", "Unlisted"])
async def test_a_method_the_caller_is_not_named_for_is_refused(ca, method):
    async with echo_server(ca) as (_, address), client(ca, address) as channel:
        error = await refusal(channel.unary_unary(f"/test.Echo/{method}")(b""))

    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert reason(error) == "CALLER_NOT_ALLOWED"


async def test_a_client_without_a_certificate_gets_no_connection(ca):
    async with echo_server(ca) as (_, address):
        roots = ca.bundle_pem
        credentials = grpc.ssl_channel_credentials(root_certificates=roots)
        options = [("grpc.ssl_target_name_override", "syncd.aerofusion")]
        async with grpc.aio.secure_channel(address, credentials, options=options) as channel:
            error = await refusal(channel.unary_unary("/test.Echo/Unary")(b"", timeout=5))

    assert error.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_plaintext_client_gets_nowhere(ca):
    async with echo_server(ca) as (_, address), grpc.aio.insecure_channel(address) as channel:
        error = await refusal(channel.unary_unary("/test.Echo/Unary")(b"", timeout=5))

    assert error.code() is grpc.StatusCode.UNAVAILABLE


async def test_the_edge_without_a_token_is_no_user(ca):
    async with echo_server(ca) as (_, address), client(ca, address, "edge") as channel:
        error = await refusal(channel.unary_unary("/test.Echo/Unary")(b""))

    assert error.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_whoever_can_open_the_unix_socket_is_the_operator(ca, tmp_path):
    socket_path = tmp_path / "s"
    async with (
        echo_server(ca, unix_socket=socket_path),
        grpc.aio.insecure_channel(f"unix:{socket_path}") as channel,
    ):
        answer = await channel.unary_unary("/test.Echo/Admin")(b"")

    assert answer == b"spiffe://aerofusion/operator/local"


@pytest.mark.parametrize("method", ["Unary", "Stream", "Chat"])
async def test_bytes_that_are_no_message_are_the_clients_fault(ca, method):
    async with echo_server(ca) as (_, address), client(ca, address) as channel:
        path = f"/test.Echo/{method}"
        if method == "Unary":
            error = await refusal(channel.unary_unary(path)(b"bad"))
        elif method == "Stream":
            error = await refusal(channel.unary_stream(path)(b"bad").read())
        else:
            call = channel.stream_stream(path)()
            await call.write(b"bad")
            error = await refusal(call.read())

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason(error) == "MALFORMED_REQUEST"
    assert "secret" not in error.details()


@pytest.mark.parametrize("method", ["Bug", "StreamBug"])
async def test_the_text_of_a_bug_stays_inside(ca, method):
    async with echo_server(ca) as (_, address), client(ca, address) as channel:
        if method == "Bug":
            error = await refusal(channel.unary_unary("/test.Echo/Bug")(b""))
        else:
            call = channel.unary_stream("/test.Echo/StreamBug")(b"")
            assert await call.read() == b"one"
            error = await refusal(call.read())

    assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, "internal error")


async def test_a_refusal_says_what_to_do_and_comes_back_as_our_own_error(ca):
    async with echo_server(ca) as (_, address), client(ca, address) as channel:
        unary = from_rpc_error(await refusal(channel.unary_unary("/test.Echo/Refuse")(b"")))
        stream = from_rpc_error(
            await refusal(channel.unary_stream("/test.Echo/StreamRefuse")(b"").read())
        )

    assert isinstance(unary, errors.Overloaded)
    assert (unary.reason, unary.retry_after) == ("QUEUE_FULL", timedelta(seconds=5))
    assert isinstance(stream, errors.NotFound)


async def test_a_call_without_a_deadline_gets_one(ca):
    async with (
        echo_server(ca, unary_timeout=timedelta(seconds=0.05)) as (_, address),
        client(ca, address) as channel,
    ):
        error = await refusal(channel.unary_unary("/test.Echo/Slow")(b""))

    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_an_oversize_message_is_refused(ca):
    async with (
        echo_server(ca, message_bytes_max=1000) as (_, address),
        client(ca, address) as channel,
    ):
        error = await refusal(channel.unary_unary("/test.Echo/Unary")(b"x" * 2000))

    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_streams_carry_messages_both_ways(ca):
    async with echo_server(ca) as (_, address), client(ca, address) as channel:
        parts = [part async for part in channel.unary_stream("/test.Echo/Stream")(b"a,b")]
        chat = channel.stream_stream("/test.Echo/Chat")()
        await chat.write(b"hello")
        answer = await chat.read()
        await chat.done_writing()

    assert (parts, answer) == ([b"a", b"b"], b"hello")


async def test_health_is_open_to_every_peer_and_ends_with_draining(ca):
    async with echo_server(ca) as (server, address), client(ca, address, "edge") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(service="test.Echo"))
        before = await watch.read()
        await server.drain(timedelta(seconds=1))
        after = await watch.read()

    assert before.status == health_pb2.HealthCheckResponse.SERVING
    assert after.status == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_a_port_already_taken_is_named(ca):
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        server = GrpcServer(
            workload=ca.workload("syncd"), listen=f"127.0.0.1:{port}", policy=POLICY
        )
        with pytest.raises(ListenFailed, match=str(port)):
            await server.start()
        await server.server.stop(0)
