"""Real TLS between workloads: who gets in, and what a rotation does to calls under way."""

import asyncio
import contextlib
import ssl
from datetime import UTC, datetime, timedelta

import grpc
import grpc.aio
import pytest

from meshkit.identity import KeyMaterial, SpiffeId, Workload, peer_spiffe_id
from tests.fixtures.ca import TestCa


class Echo:
    """Answers with the peer's identity; the stream answers each message."""

    def __init__(self) -> None:
        self.handler = grpc.method_handlers_generic_handler(
            "test.Echo",
            {
                "Who": grpc.unary_unary_rpc_method_handler(self._who),
                "Talk": grpc.stream_stream_rpc_method_handler(self._talk),
            },
        )

    async def _who(self, _, context):
        return str(peer_spiffe_id(context.auth_context())).encode()

    async def _talk(self, messages, context):
        async for message in messages:
            yield message


@contextlib.asynccontextmanager
async def serving(workload: Workload):
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([Echo().handler])
    port = server.add_secure_port("127.0.0.1:0", workload.server_credentials())
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


async def who(channel) -> bytes:
    return await channel.unary_unary("/test.Echo/Who")(b"", timeout=5)


def taken(channel) -> list:
    return [channel.current(), *channel._retired]


async def test_each_side_knows_the_other(ca):
    client = ca.workload("flightinfo", "3")
    async with serving(ca.workload("notifier")) as target, client.channel(target, "notifier") as it:
        assert await who(it) == b"spiffe://aerofusion/flightinfo/3"


async def test_a_client_talks_to_the_service_it_means_alone(ca):
    client = ca.workload("flightinfo")
    async with serving(ca.workload("notifier")) as target, client.channel(target, "syncd") as it:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await who(it)
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("stranger", ["another authority", "no certificate", "expired"])
async def test_a_server_lets_nobody_in_without_a_good_certificate(ca, stranger):
    root = ca.bundle_pem
    if stranger == "another authority":
        other = TestCa.create().material("flightinfo")
        credentials = grpc.ssl_channel_credentials(root, other.key_pem, other.chain_pem)
    elif stranger == "no certificate":
        credentials = grpc.ssl_channel_credentials(root)
    else:
        old = expired(ca)
        credentials = grpc.ssl_channel_credentials(root, old.key_pem, old.chain_pem)
    options = [("grpc.ssl_target_name_override", "notifier.aerofusion")]
    async with (
        serving(ca.workload("notifier")) as target,
        grpc.aio.secure_channel(target, credentials, options) as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await who(channel)
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


def expired(ca: TestCa) -> KeyMaterial:
    return ca.material("flightinfo", now=datetime.now(UTC) - timedelta(days=3))


async def test_after_a_rotation_calls_under_way_finish_and_new_ones_show_the_new_certificate(ca):
    server, client = ca.workload("notifier"), ca.workload("flightinfo")
    async with serving(server) as target, client.channel(target, "notifier") as channel:
        ask = channel.unary_unary("/test.Echo/Who")
        talk = channel.stream_stream("/test.Echo/Talk")()
        await talk.write(b"before")
        assert await talk.read() == b"before"
        first = channel.current()

        server.replace(ca.material("notifier"))
        client.replace(ca.material("flightinfo"))

        assert await ask(b"", timeout=5) == b"spiffe://aerofusion/flightinfo/0"
        assert channel.current() is not first
        await talk.write(b"after")
        assert await talk.read() == b"after"
        await talk.done_writing()
        assert await talk.read() is grpc.aio.EOF
        await talk.code()
        assert taken(channel) == [channel.current()], (
            "the old connection is closed after its last call"
        )


async def test_a_server_shows_new_connections_its_new_certificate(ca):
    server = ca.workload("notifier")
    async with serving(server) as target:
        port = int(target.rpartition(":")[2])
        shown = []
        for _ in range(2):
            context = ca.workload("flightinfo").client_ssl_context("notifier")
            context.set_alpn_protocols(["h2"])
            _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            shown.append(writer.get_extra_info("peercert")["serialNumber"])
            writer.close()
            server.replace(ca.material("notifier"))
    assert shown[0] != shown[1]


async def test_a_synchronous_channel_follows_rotations_too(ca):
    client = ca.workload("flightinfo")
    async with serving(ca.workload("notifier")) as target:
        with client.sync_channel(target, "notifier") as channel:
            ask = channel.unary_unary("/test.Echo/Who")
            talk = channel.stream_stream("/test.Echo/Talk")
            for _ in range(2):
                answer = await asyncio.to_thread(ask, b"", timeout=5)
                assert answer == b"spiffe://aerofusion/flightinfo/0"
                future = ask.future(b"", timeout=5)
                assert await asyncio.to_thread(future.result) == answer
                replies = talk(iter([b"1", b"2"]), timeout=5)
                assert await asyncio.to_thread(list, replies) == [b"1", b"2"]
                client.replace(ca.material("flightinfo"))


@contextlib.asynccontextmanager
async def tls_server(workload: Workload):
    context = workload.server_ssl_context()

    async def greet(_, writer):
        with contextlib.suppress(OSError):
            writer.write(b"hello")
            await writer.drain()
            writer.close()
            await writer.wait_closed()

    server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def greeting(port: int, context: ssl.SSLContext) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        assert writer.get_extra_info("ssl_object").version() == "TLSv1.3"
        return await reader.read()
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_contexts_for_what_speaks_no_grpc_verify_both_ways(ca):
    async with tls_server(ca.workload("mailsink")) as port:
        client = ca.workload("notifier")
        assert await greeting(port, client.client_ssl_context("mailsink")) == b"hello"
        with pytest.raises(ssl.SSLCertVerificationError):
            await greeting(port, client.client_ssl_context("gateway"))

        bare = ssl.create_default_context(cadata=ca.bundle_pem.decode())
        bare.check_hostname = False
        answer = b""
        with contextlib.suppress(ssl.SSLError, ConnectionError):  # or the end, without a word
            answer = await greeting(port, bare)
        assert answer == b""


async def test_a_context_in_use_takes_over_a_rotation(ca):
    server = ca.workload("mailsink")
    async with tls_server(server) as port:
        client = ca.workload("notifier")
        context = client.client_ssl_context("mailsink")
        assert await greeting(port, context) == b"hello"
        other = TestCa.create()
        material = other.material("mailsink")
        both = material.bundle_pem + ca.bundle_pem
        server.replace(
            KeyMaterial.checked(
                key_pem=material.key_pem,
                chain_pem=material.chain_pem,
                bundle_pem=both,
                expected=SpiffeId("mailsink"),
            )
        )
        with pytest.raises(ssl.SSLCertVerificationError):
            await greeting(port, context)

        own = client.material
        client.replace(
            KeyMaterial.checked(
                key_pem=own.key_pem,
                chain_pem=own.chain_pem,
                bundle_pem=both,
                expected=own.spiffe_id,
            )
        )
        assert await greeting(port, context) == b"hello"
