"""Client certificates at a real Envoy: whose are taken, and what services and policies know of them."""

import json
import ssl
import tempfile
from pathlib import Path

import aiohttp
import grpc
import pytest
import pytest_asyncio

from aerofusion.gateway.v1 import explain_service_pb2 as explain_rpc
from aerofusion.gateway.v1 import explain_service_pb2_grpc
from tests.fixtures.echo import EchoMessage, EchoStub
from tests.fixtures.edge import bearer, edge
from tests.fixtures.issuers import apply, policy
from tests.fixtures.webca import CLIENT, DAY, SERVER, WebCa


pytestmark = pytest.mark.asyncio(loop_scope="module")

SPIFFE = "spiffe://partner.example/board"
NAME = "board.partner.example"
SPOOFED = {
    "x-forwarded-client-cert": f"Hash=0;URI={SPIFFE};DNS={NAME}",
    "x-aerofusion-certificate": SPIFFE,
    "x-aerofusion-certificate-names": NAME,
}
OURS = "x-aerofusion-certificate"


class World:
    """An edge that asks for certificates of an authority, an echo service, and who calls it."""

    def __init__(self, mesh, ca, folder):
        self.mesh = mesh
        self.ca = ca
        self.folder = folder
        self.explain = explain_service_pb2_grpc.ExplainServiceStub(mesh.operator)

    def issue(self, *names, ca=None, usage=CLIENT, **fields):
        return (ca or self.ca).issue(*names, usage=usage, **fields)

    def http(self, issued=None):
        """A client that shows this certificate, or none."""
        context = ssl.create_default_context(cadata=self.mesh.bundle_pem.decode())
        if issued is not None:
            chain, key = self.folder / "chain.pem", self.folder / "key.pem"
            chain.write_text(issued.chain_pem)
            key.write_text(issued.key_pem)
            context.load_cert_chain(chain, key)
        connector = aiohttp.TCPConnector(ssl=context)
        return aiohttp.ClientSession(f"https://localhost:{self.mesh.port}", connector=connector)

    async def called(self, issued=None, **headers):
        """Call with this certificate; returns the status, and the headers that arrived."""
        headers = {"authorization": f"Bearer {self.token}", **headers}
        async with (
            self.http(issued) as http,
            http.post("/echo/v1/echo", json={"text": "x"}, headers=headers) as answer,
        ):
            text = await answer.text()
            if answer.status != 200:
                return answer.status, {}
            return 200, dict(one.split("=", 1) for one in json.loads(text)["headers"])

    async def put(self, *policies):
        await apply(self.mesh.operator, *policies, prune=("policies/",))
        await self.mesh.settled()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(postgres):
    ca = WebCa()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        roots = folder / "roots.pem"
        roots.write_text(ca.root_pem)
        async with edge(postgres, edge_client_roots_file=str(roots)) as mesh:
            made = World(mesh, ca, folder)
            await mesh.put_service("echo", await mesh.echo("0"))
            await mesh.settled()
            made.token = await mesh.token()
            yield made


async def test_who_shows_none_is_nobody_by_certificate(world):
    status, headers = await world.called()
    assert status == 200
    assert not [name for name in headers if name.startswith(OURS)]


async def test_services_are_told_what_a_good_one_says(world):
    status, headers = await world.called(world.issue(SPIFFE, NAME, "other.partner.example"))
    assert status == 200
    assert headers[OURS] == SPIFFE
    assert headers[f"{OURS}-names"] == f"{NAME},other.partner.example"
    assert "x-forwarded-client-cert" not in headers
    credentials = grpc.ssl_channel_credentials(
        world.mesh.bundle_pem,
        *(one.encode() for one in reversed(pair(world.issue(SPIFFE, NAME)))),
    )
    async with grpc.aio.secure_channel(f"localhost:{world.mesh.port}", credentials) as channel:
        answer = await EchoStub(channel).Echo(EchoMessage(), metadata=bearer(world.token))
    assert f"{OURS}={SPIFFE}" in answer.headers


def pair(issued):
    return issued.chain_pem, issued.key_pem


@pytest.mark.parametrize("names", [(), (SPIFFE,), (NAME,)])
async def test_nobody_says_by_a_header_what_a_certificate_would(world, names):
    issued = world.issue(*names) if names else None
    status, headers = await world.called(issued, **SPOOFED)
    assert status == 200
    found = {name: value for name, value in headers.items() if name in SPOOFED}
    told = {OURS: SPIFFE, f"{OURS}-names": NAME}
    assert found == {key: value for key, value in told.items() if value in names}


BAD = {
    "of another authority": {"ca": WebCa()},
    "ended": {"begins": -3 * DAY, "ends": -DAY},
    "not yet good": {"begins": DAY, "ends": 3 * DAY},
    "a server's": {"usage": SERVER},
}


@pytest.mark.parametrize("what", [*BAD, "without the one between"])
async def test_others_are_refused_before_anything_is_asked(world, what):
    issued = world.issue(SPIFFE, **BAD[what]) if what in BAD else cut(world.issue(SPIFFE))
    with pytest.raises(aiohttp.ClientError):
        await world.called(issued)
    # The connection after it is as good as any.
    assert (await world.called(world.issue(SPIFFE)))[0] == 200


def cut(issued):
    """A chain that ends with its first certificate."""
    end = "-----END CERTIFICATE-----\n"
    first, _, _ = issued.chain_pem.partition(end)
    return type(issued)(first + end, issued.key_pem)


RULES = [
    (SPIFFE, (SPIFFE,), 200),
    (SPIFFE, (SPIFFE + "2",), 403),
    (SPIFFE, (NAME,), 403),
    (SPIFFE, (), 403),
    (SPIFFE, (SPIFFE, "spiffe://partner.example/other"), 403),
    ("spiffe://partner.example/*", (SPIFFE,), 200),
    ("spiffe://partner.example/*", ("spiffe://partner.example.evil.example/x",), 403),
    (NAME, (NAME,), 200),
    (NAME, ("a.example", NAME, SPIFFE), 200),
    (NAME, (f"x{NAME}",), 403),
    (NAME, (f"a.example,{NAME}",), 403),
    (NAME, (f"{NAME}.evil.example",), 403),
    ("board.*", (NAME,), 200),
    ("board.*", ("x.board.partner.example",), 403),
]


@pytest.mark.parametrize(("wanted", "names", "status"), RULES)
async def test_policies_mean_who_has_the_certificate(world, wanted, names, status):
    await world.put(policy("p", "ALLOW", {"certificates": [wanted]}))
    issued = world.issue(*names) if names else None
    assert (await world.called(issued))[0] == status
    assert (await world.called(None, **SPOOFED))[0] == 403, "by headers alone"
    said = await world.explain.Explain(question(world, names))
    assert said.answer.http_status == (0 if status == 200 else status)
    assert said.certain
    await world.put()


async def test_who_looks_like_several_gets_nowhere_whatever_policies_say(world):
    issued = world.issue(f"a.example,{NAME}", SPIFFE)
    assert (await world.called(issued))[0] == 403
    assert (await world.called(world.issue("a.example", NAME, SPIFFE)))[0] == 200


def question(world, names):
    """The same request, as Explain is asked about it."""
    call = explain_rpc.CallDescription(
        method="POST",
        path="/echo/v1/echo",
        headers=[explain_rpc.RequestHeader(name="content-type", value="application/json")],
        client_uris=[one for one in names if "://" in one],
        client_names=[one for one in names if "://" not in one],
    )
    return explain_rpc.ExplainRequest(call=call, token=world.token)


async def test_a_certificate_takes_no_tokens_place(world):
    issued = world.issue(SPIFFE)
    async with world.http(issued) as http:
        async with http.post("/echo/v1/echo", json={}) as answer:
            assert answer.status == 401
        bad = {"authorization": "Bearer a.b.c"}
        async with http.post("/echo/v1/echo", json={}, headers=bad) as answer:
            assert answer.status == 401
