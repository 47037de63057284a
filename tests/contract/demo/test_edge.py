"""Patience over a real gRPC connection: what is repeated, with which token, and what is not."""

import asyncio
from datetime import timedelta

import grpc
import pytest
from grpc_status import rpc_status

from meshctl.demo.edge import Edge, Refused, TokenFile
from meshkit.errors import InvalidInput, Overloaded, Unauthenticated, Unavailable
from meshkit.status import to_status


class Moody:
    """A server that fails as often as it is told to, then echoes."""

    def __init__(self):
        self.moods = []
        self.tokens = []

    async def echo(self, request, context):
        self.tokens.append(dict(context.invocation_metadata())["authorization"])
        if self.moods:
            await context.abort_with_status(rpc_status.to_status(to_status(self.moods.pop(0))))
        return request


@pytest.fixture
async def moody():
    server = grpc.aio.server()
    moody = Moody()
    handler = grpc.unary_unary_rpc_method_handler(moody.echo)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("test.Moody", {"Echo": handler}),)
    )
    moody.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield moody
    await server.stop(0)


@pytest.fixture
async def call(moody, tmp_path):
    token = tmp_path / "token"
    token.write_text("first\n")
    retried = []
    async with grpc.aio.insecure_channel(f"127.0.0.1:{moody.port}") as channel:
        edge = Edge(
            channel,
            token=TokenFile(token),
            call_timeout=timedelta(seconds=5),
            on_retry=retried.append,
            chance=lambda: 0.0,
        )

        async def call(request=b"hello"):
            return await edge.call(channel.unary_unary("/test.Moody/Echo"), request)

        call.retried = retried
        call.token = token
        yield call


async def test_a_call_is_repeated_until_it_succeeds(moody, call):
    moody.moods = [Unavailable("POSTGRES_UNAVAILABLE", "away")] * 3

    assert await call() == b"hello"
    assert call.retried == ["POSTGRES_UNAVAILABLE"] * 3


async def test_a_call_that_can_never_succeed_is_made_once(moody, call):
    moody.moods = [InvalidInput("INVALID_NOTIFICATION", "no template")]

    with pytest.raises(Refused, match="INVALID_NOTIFICATION: no template") as refused:
        await call()

    assert refused.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert len(moody.tokens) == 1


async def test_a_full_service_is_left_alone_for_as_long_as_it_asks(moody, call):
    moody.moods = [Overloaded("BACKLOG_FULL", "full", retry_after=timedelta(milliseconds=400))]
    began = asyncio.get_running_loop().time()

    await call()

    assert asyncio.get_running_loop().time() - began >= 0.4


async def test_a_renewed_token_is_used_for_the_next_attempt(moody, call):
    moody.moods = [Unauthenticated("TOKEN_EXPIRED", "too old")] * 2
    await call()
    call.token.write_text("second")
    await call()

    assert moody.tokens == ["Bearer first"] * 3 + ["Bearer second"]


async def test_a_missing_token_file_leaves_the_last_known_token(moody, call):
    await call()
    call.token.unlink()

    await call()

    assert moody.tokens == ["Bearer first"] * 2
