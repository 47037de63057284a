"""One edge for a module, with an echo service and two issuers that use the same key id."""

import contextlib
import time

import grpc
import pytest
import pytest_asyncio

from aerofusion.gateway.v1 import key_service_pb2_grpc
from meshkit.tokens import edge_claims
from tests.fixtures.echo import EchoMessage, EchoStub
from tests.fixtures.edge import edge
from tests.fixtures.issuers import Foreign, apply


ANSWERED_WITHIN_S = 10
OBJECTS = ("issuers/", "policies/")


class World:
    """The edge, its clients, and who issues tokens."""

    def __init__(self, mesh, channel):
        self.mesh = mesh
        self.echo = EchoStub(channel)
        self.keys = key_service_pb2_grpc.KeyServiceStub(mesh.operator)
        self.acme = Foreign("acme")
        self.zeta = Foreign("zeta", kind="RSA")

    async def put(self, *objects):
        """Make the catalog hold these issuers and policies and no others, at the edge too."""
        await apply(self.mesh.operator, *objects, prune=OBJECTS)
        await self.mesh.settled()

    async def call(self, method="Echo", **headers):
        """Call with these headers; returns the headers that arrived, and the status."""
        metadata = [(name.replace("_", "-"), value) for name, value in headers.items()]
        try:
            answer = await self.echo.Echo(EchoMessage(text="x"), metadata=metadata)
        except grpc.aio.AioRpcError as error:
            return {}, error
        return dict(one.split("=", 1) for one in answer.headers), None

    async def claims(self, **headers):
        """What a service takes the caller of such a call for."""
        found, error = await self.call(**headers)
        assert error is None, error
        return edge_claims(found, time.time())

    async def code(self, **headers):
        _, error = await self.call(**headers)
        return error.code() if error else grpc.StatusCode.OK

    async def until(self, code, **headers):
        """Call until the answer is *code*: what comes by push takes a moment."""
        ends = time.monotonic() + ANSWERED_WITHIN_S
        while (found := await self.code(**headers)) is not code:
            assert time.monotonic() < ends, f"still {found}"


class Remembering:
    """A PostgreSQL whose database's DSN is kept."""

    def __init__(self, postgres):
        self._postgres = postgres
        self.dsn = ""

    async def database(self, name):
        self.dsn = await self._postgres.database(name)
        return self.dsn


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(postgres):
    async with opened(postgres) as made:
        yield made


@contextlib.asynccontextmanager
async def opened(postgres, **settings):
    remembering = Remembering(postgres)
    async with edge(remembering, **settings) as mesh:
        server = await mesh.echo("0")
        await mesh.put_service("echo", server)
        await mesh.settled()
        async with mesh.channel() as channel:
            made = World(mesh, channel)
            made.server, made.dsn = server, remembering.dsn
            yield made


@pytest.fixture
def bearer():
    return lambda token: {"authorization": f"Bearer {token}"}
