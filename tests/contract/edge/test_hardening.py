"""What the edge makes of hostile bytes: each row of the table that its profile was measured by."""

import asyncio
import contextlib
import json
import stat
import urllib.parse

import psutil
import pytest
import pytest_asyncio
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tests.fixtures.echo import SERVICE, EchoMessage, EchoStub
from tests.fixtures.edge import bearer, edge
from tests.fixtures.wire import Http2, connect, http1, status_of


pytestmark = pytest.mark.asyncio(loop_scope="module")

PATH = f"/{SERVICE}/Echo"
STREAMS_MAX = 256
REFUSED_STREAM = 7


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def mesh(postgres):
    async with edge(postgres) as made:
        made.server = await made.echo()
        await made.put_service("echo", made.server)
        await made.settled()
        made.user = await made.token()
        yield made


@contextlib.asynccontextmanager
async def served(mesh):
    """Open a connection to do harm on; whatever it was sent, everybody else is served."""
    connection = await Http2.open(mesh.port, mesh.bundle_pem)
    yield connection
    connection.close()
    async with mesh.channel() as channel:
        answer = await EchoStub(channel).Echo(EchoMessage(text="x"), metadata=bearer(mesh.user))
        assert answer.text == "x"


@pytest_asyncio.fixture(loop_scope="module")
async def h2(mesh):
    async with served(mesh) as connection:
        yield connection


def grpc_headers(mesh, path=PATH, *more):
    return [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", path),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("authorization", f"Bearer {mesh.user}"),
        *more,
    ]


def message_of(answer):
    return urllib.parse.unquote(answer.get("grpc-message", ""))


async def raw(mesh, text):
    given = text.replace("TOKEN", f"authorization: Bearer {mesh.user}")
    return await http1(mesh.port, mesh.bundle_pem, given.replace("\n", "\r\n").encode("latin-1"))


JSON_CALL = (
    "POST /echo/v1/echo HTTP/1.1\nhost: localhost\nTOKEN\ncontent-type: application/json\n"
    '{more}content-length: 12\n\n{{"text":"a"}}'
)


async def json_call(mesh, more=""):
    """The headers that the service saw, several of one name in the order they came."""
    answer = await raw(mesh, JSON_CALL.format(more=more))
    assert status_of(answer) == 200, answer
    body = answer.partition(b"\r\n\r\n")[2]
    seen = json.loads(body[body.index(b"{") : body.rindex(b"}") + 1])["headers"]
    return [tuple(one.split("=", 1)) for one in seen]


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        # Two lengths, or a length and chunks: whose end would be where the next request begins.
        (
            f"POST {PATH} HTTP/1.1\nhost: a\ncontent-length: 4\ntransfer-encoding: chunked\n\n0\n\n",
            400,
        ),
        (f"POST {PATH} HTTP/1.1\nhost: a\ncontent-length: 4\ncontent-length: 5\n\nabcd", 400),
        (f"POST {PATH} HTTP/1.1\nhost: a\ncontent-length: -1\n\n", 400),
        (f"POST {PATH} HTTP/1.1\nhost: a\ntransfer-encoding: identity, cow\n\n", 501),
        (f"POST {PATH}#x HTTP/1.1\nhost: a\ncontent-length: 0\n\n", 400),
        (f"POST {PATH}%2fx HTTP/1.1\nhost: a\ncontent-length: 0\n\n", 400),
        (f"POST {PATH}%00 HTTP/1.1\nhost: a\ncontent-length: 0\n\n", 400),
        (f"GET /{'x' * 20_000} HTTP/1.1\nhost: a\n\n", 431),
        (f"GET / HTTP/1.1\nhost: a\nlarge: {'x' * 20_000}\n\n", 431),
        ("GET / HTTP/1.1\nhost: a\n" + "".join(f"h{n}: x\n" for n in range(70)) + "\n", 431),
        ("GET / HTTP/1.1\nhost: a\nx_y: 1\n\n", 400),
        (f"TRACE {PATH} HTTP/1.1\nhost: a\nTOKEN\n\n", 403),
        ("CONNECT other.example:443 HTTP/1.1\nhost: other.example:443\n\n", 404),
        (f"GET {PATH} HTTP/1.1\nhost: a\nTOKEN\nconnection: upgrade\nupgrade: websocket\n\n", 403),
        (f"POST {PATH} HTTP/1.1\nhost: a\nhost: b\nTOKEN\ncontent-length: 0\n\n", 403),
        ("GET /nothing/here HTTP/1.1\nhost: a\nTOKEN\n\n", 404),
    ],
)
async def test_a_bad_request_of_http1_is_refused(mesh, request_text, status):
    calls = mesh.server.calls
    answer = await raw(mesh, request_text)
    assert status_of(answer) == status, answer[:300]
    assert answer.count(b"HTTP/1.1 ") == 1
    assert mesh.server.calls == calls


@pytest.mark.parametrize("path", ["//", "/./", "/../echo/../", "/%2e/"])
async def test_a_path_has_one_form_for_every_rule(mesh, path):
    calls = mesh.server.calls
    answer = await raw(mesh, f"POST {path}{PATH[1:]} HTTP/1.1\nhost: a\ncontent-length: 0\n\n")
    assert status_of(answer) == 401, answer[:200]  # The service's own rule, not another's.
    assert mesh.server.calls == calls


async def test_a_service_sees_no_address_that_the_caller_made_up(mesh):
    seen = await json_call(
        mesh,
        "x-forwarded-for: 10.0.0.1\nforwarded: for=10.0.0.1\nx-envoy-external-address: 10.0.0.1\n"
        "x-forwarded-client-cert: By=spiffe://x\nx-aerofusion-claims: e30\nX-Real-IP: 10.0.0.1\n",
    )
    names = [name for name, _ in seen]
    assert names.count("x-forwarded-for") == 1
    assert not any("10.0.0.1" in value for _, value in seen)
    assert "forwarded" not in names
    assert "x-forwarded-client-cert" not in names
    assert "e30" not in [value for _, value in seen]


@pytest.mark.parametrize("junk", ["-1S", "1", "S", "99999999999S", "1X", "", "1e3m"])
async def test_a_junk_deadline_is_no_longer_one_at_the_service(mesh, junk):
    seen = dict(await json_call(mesh, f"grpc-timeout: {junk}\n"))
    assert seen.get("grpc-timeout", "30000m") == "30000m"


async def test_headers_that_never_end_and_handshakes_that_never_begin_are_given_up(mesh):
    async def slow_headers():
        reader, writer = await connect(mesh.port, mesh.bundle_pem, "http/1.1")
        writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n")
        async with asyncio.timeout(20):
            answer = await reader.read()
        writer.close()
        return status_of(answer)

    async def no_handshake():
        reader, writer = await asyncio.open_connection("127.0.0.1", mesh.port)
        async with asyncio.timeout(20):
            answer = await reader.read()
        writer.close()
        return answer

    assert await asyncio.gather(slow_headers(), no_handshake()) == [408, b""]


MALFORMED = [
    {":path": "no-slash"},
    {":path": "/a b"},
    {":path": "/a\0b"},
    {"UPPER": "x"},
    {"value": "a\r\nb: c"},
    {"value": "a\0b"},
    {"content-length": "-1"},
    {"connection": "keep-alive"},
    {"x_y": "1"},
]


# Envoy closes a connection a second after it gave it up: these wait for it together.
async def test_a_malformed_request_of_http2_is_never_answered_with_a_call(mesh):
    async def refused(bad):
        async with served(mesh) as h2:
            reset, answer = await h2.answer((dict(grpc_headers(mesh)) | bad).items())
            return h2.closed or reset != -1 or answer[":status"] == "400"

    calls = mesh.server.calls
    found = await asyncio.gather(*map(refused, MALFORMED))
    assert [bad for bad, was in zip(MALFORMED, found, strict=True) if not was] == []
    assert mesh.server.calls == calls + len(MALFORMED), "those that asked whether it serves"


async def test_a_pseudo_header_that_comes_twice_is_refused(mesh, h2):
    headers = [(":path", "/other"), *grpc_headers(mesh)]
    reset, answer = await h2.answer(headers)
    assert h2.closed or reset != -1, answer


async def test_headers_that_are_too_large_or_too_many_end_their_stream_alone(mesh, h2):
    for more in ([("large", "x" * 40_000)], [(f"h{n}", "x") for n in range(70)]):
        # Frames are at most 16 KiB: a header block this large goes on in CONTINUATIONs.
        stream = h2.stream()
        block = h2.encoder.encode([*grpc_headers(mesh), *more], huffman=False)
        first, *rest = [block[at : at + 16_000] for at in range(0, len(block), 16_000)]
        frames = [HeadersFrame(stream, data=first, flags=["END_STREAM"])]
        frames += [ContinuationFrame(stream, data=one) for one in rest]
        frames[-1].flags.add("END_HEADERS")
        await h2.send(*frames)
        await h2.until(lambda stream=stream: stream in h2.resets or stream in h2.ended)
        assert stream in h2.resets or h2.headers[stream][":status"] == "431"
    assert (await h2.answer(grpc_headers(mesh)))[1]["grpc-status"] == "0"


async def test_an_hpack_bomb_ends_its_stream(mesh, h2):
    stream = h2.stream()
    entry = h2.encoder.encode([("bomb", "x" * 3_000)], huffman=False)
    index = b"\xbe"  # The newest entry of the dynamic table.
    block = h2.encoder.encode(grpc_headers(mesh), huffman=False) + entry + index * 8_000
    await h2.send(HeadersFrame(stream, data=block, flags=["END_HEADERS", "END_STREAM"]))
    await h2.until(lambda: stream in h2.resets or stream in h2.ended)
    assert h2.closed or stream in h2.resets or h2.headers[stream][":status"] == "431"


async def test_streams_beyond_the_maximum_are_refused_and_no_others(mesh, h2):
    streams = [h2.stream() for _ in range(STREAMS_MAX + 44)]
    await h2.until(lambda: False, within_s=0.2)  # The server's settings.
    frames = [h2.request(grpc_headers(mesh), stream=one, body=None) for one in streams]
    await h2.send(*(frame for few in frames for frame in few))
    await h2.until(lambda: len(h2.resets) >= 44)
    assert set(h2.resets) == set(streams[STREAMS_MAX:]) or h2.closed
    assert set(h2.resets.values()) <= {REFUSED_STREAM}


FLOODS = {
    "continuations": lambda mesh, h2: [
        HeadersFrame(1, data=h2.encoder.encode(grpc_headers(mesh))),
        *(ContinuationFrame(1, data=b"\x00\x01a\x7f\x81\x07" + b"x" * 1_022) for _ in range(2_000)),
    ],
    "empty continuations": lambda mesh, h2: [
        HeadersFrame(1, data=h2.encoder.encode(grpc_headers(mesh))),
        *(ContinuationFrame(1) for _ in range(2_000)),
    ],
    "empty data": lambda mesh, h2: [
        *h2.request(grpc_headers(mesh), stream=1, body=None),
        *(DataFrame(1) for _ in range(2_000)),
    ],
    "settings": lambda _mesh, _h2: [SettingsFrame(0, settings={4: 65_535}) for _ in range(20_000)],
    "priorities": lambda mesh, h2: [
        *h2.request(grpc_headers(mesh), stream=1, body=None),
        *(PriorityFrame(1, depends_on=0, stream_weight=1) for _ in range(20_000)),
    ],
    "window updates": lambda mesh, h2: [
        *h2.request(grpc_headers(mesh), stream=1, body=None),
        *(WindowUpdateFrame(1, window_increment=1) for _ in range(20_000)),
    ],
}


async def test_a_flood_of_frames_ends_the_connection(mesh):
    async def ended(kind):
        async with served(mesh) as h2:
            await h2.send(*FLOODS[kind](mesh, h2))
            await h2.until(lambda: False)
            return h2.closed

    assert await asyncio.gather(*map(ended, FLOODS)) == [True] * len(FLOODS), list(FLOODS)


async def test_pings_are_answered_however_many(h2):
    await h2.send(*(PingFrame(0, opaque_data=bytes(8)) for _ in range(500)))
    await h2.until(lambda: h2.pongs == 500)
    assert h2.pongs == 500


async def test_streams_that_are_opened_and_reset_at_once_end_the_connection(mesh, h2):
    """Rapid reset (CVE-2023-44487), with a real upstream behind."""
    pause = h2.request(grpc_headers(mesh), stream=1, body=None)
    await h2.send(*pause)
    for _ in range(20):
        frames = []
        for _ in range(50):
            stream = h2.stream()
            frames += h2.request(grpc_headers(mesh), stream=stream, body=None)
            frames.append(RstStreamFrame(stream, error_code=8))
        await h2.send(*frames)
    await h2.until(lambda: False)
    assert h2.closed
    counted = await mesh.admin("/stats?filter=too_many_premature_resets")
    assert counted.split(": ")[1].strip() != "0"


@pytest.mark.parametrize("token", ["", "a.b.c"])
async def test_a_bad_token_isnt_told_what_is_wrong_with_it(mesh, h2, token):
    headers = dict(grpc_headers(mesh)) | {"authorization": f"Bearer {token}"}
    _, answer = await h2.answer(headers.items())
    assert answer["grpc-status"] == "16"
    assert message_of(answer) == "unauthenticated"


async def test_a_call_of_nothing_is_unimplemented(mesh, h2):
    _, answer = await h2.answer(grpc_headers(mesh, "/unknown.Service/Method"))
    assert answer["grpc-status"] == "12"
    assert message_of(answer) == "There is nothing by this name."


async def test_a_service_that_is_away_is_told_without_its_address(mesh, h2):
    await mesh.put_service(
        "away", grpc_services=["test.Away"], json_prefixes=[], descriptor_set=b""
    )
    await mesh.settled()
    _, answer = await h2.answer(grpc_headers(mesh, "/test.Away/Get"))
    assert answer["grpc-status"] == "14"
    assert message_of(answer) == "The service can't be reached now."


async def test_the_admin_interface_is_the_owners_and_on_no_port(mesh):
    assert stat.S_IMODE(mesh.admin_socket.stat().st_mode) == 0o600
    listening = {
        one.laddr.port
        for one in psutil.Process(mesh.process.pid).net_connections("inet")
        if one.status == psutil.CONN_LISTEN
    }
    assert listening == {mesh.port}
