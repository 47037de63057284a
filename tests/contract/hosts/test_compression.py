"""What the edge compresses, and that it holds nothing back for it."""

import asyncio
import gzip

import pytest
import pytest_asyncio

from tests.fixtures.echo import EchoMessage, EchoStub
from tests.fixtures.edge import bearer
from tests.fixtures.sites import host, open_sites, to


pytestmark = pytest.mark.asyncio(loop_scope="module")

WITHIN_S = 30


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def sites(postgres):
    async with open_sites(postgres) as made:
        await made.website("shop")
        made.echo = await made.mesh.echo("0")
        await made.mesh.put_service("echo", made.echo)
        rules = [{"id": "all", "access": {"public": True}, "forward": to("shop")}]
        await made.apply(made.certificate("web", "shop.example"), host(rules=rules))
        yield made


async def curl(sites, path, coding):
    """Return what curl, which knows them all, makes of an answer, and its headers."""
    address = f"shop.example:{sites.mesh.port}"
    root = sites.mesh.folder / "root.pem"
    root.write_text(sites.ca.root_pem)
    words = ["curl", "-s", "--cacert", str(root), "--resolve", f"{address}:127.0.0.1"]
    words += ["--compressed", "-H", f"accept-encoding: {coding}", "-D", "/dev/stderr"]
    process = await asyncio.create_subprocess_exec(
        *words,
        f"https://{address}{path}",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    body, head = await process.communicate()
    lines = [line.split(": ", 1) for line in head.decode().lower().splitlines() if ": " in line]
    return body.decode(), dict(lines)


@pytest.mark.parametrize("coding", ["zstd", "br", "gzip"])
async def test_text_is_compressed_as_the_caller_likes(sites, coding):
    for kind in ("text/html", "application/json"):
        body, headers = await curl(sites, f"/text/{kind}", coding)
        assert body == "the same again and again " * 200
        assert headers["content-encoding"] == coding
        assert "accept-encoding" in headers["vary"]


async def test_of_codings_liked_alike_the_cheapest_is_taken(sites):
    _, headers = await curl(sites, "/text/text/html", "gzip, deflate, br, zstd")
    assert headers["content-encoding"] == "zstd"
    _, headers = await curl(sites, "/text/text/html", "gzip, br;q=0.5")
    assert headers["content-encoding"] == "gzip"


async def test_what_gains_nothing_is_left_alone(sites):
    for path in ("/text/image/png", "/text/application/grpc-web+proto", "/"):
        _, headers = await curl(sites, path, "gzip")
        assert "content-encoding" not in headers, path
    _, headers = await curl(sites, "/text/text/html", "identity")
    assert "content-encoding" not in headers


async def test_each_line_of_a_json_stream_comes_at_once(sites):
    """Of the transcoder, too; and a gRPC stream isn't compressed at all."""
    wanted = {**await sites.user(), "accept-encoding": "gzip"}
    # The service says nothing more before a line has come: what is held back would never come.
    sites.echo.heard = asyncio.Semaphore(0)
    async with (
        asyncio.timeout(WITHIN_S),
        sites.mesh.http() as http,
        http.get("/echo/v1/ticks/tock?ticks=4", headers=wanted) as answer,
    ):
        assert answer.headers["content-encoding"] == "gzip"
        lines = 0
        async for chunk in answer.content.iter_any():
            for _ in range(chunk.count(b"\n")):
                lines += 1
                sites.echo.heard.release()
    assert lines == 4
    sites.echo.heard = None
    async with sites.mesh.channel() as channel:
        metadata = (*bearer(await sites.mesh.token()), ("accept-encoding", "gzip"))
        call = EchoStub(channel).Ticks(EchoMessage(text="t", ticks=2), metadata=metadata)
        assert [tick.text async for tick in call] == ["t 0", "t 1"]
        assert "content-encoding" not in dict(await call.initial_metadata())


async def test_a_body_that_is_sent_compressed_stays_so(sites):
    packed = gzip.compress(b"x" * 2000)
    headers = {"content-encoding": "gzip", "accept-encoding": "gzip"}
    async with (
        sites.browser() as http,
        http.post(sites.url("/"), data=packed, headers=headers) as answer,
    ):
        assert (await answer.json())["headers"]["content-encoding"] == "gzip"
