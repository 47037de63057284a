"""Who calls what is deprecated: a real Envoy's access log, through telemetry, as operators read it."""

import asyncio
import contextlib
import ssl
from types import SimpleNamespace

import aiohttp
import grpc
import pytest
import pytest_asyncio
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from aerofusion.gateway.v1 import lifecycle_service_pb2 as rpc
from aerofusion.gateway.v1 import lifecycle_service_pb2_grpc
from meshkit.errors import NotFound, Unavailable
from meshkit.status import from_rpc_error
from telemetry.app import serve as serve_telemetry
from telemetry.settings import Settings as TelemetrySettings
from tests.fixtures.cli import meshctl
from tests.fixtures.echo import SERVICE, EchoMessage, EchoStub, descriptor_set
from tests.fixtures.edge import bearer, edge, free_port
from tests.fixtures.serving import running
from tests.fixtures.webca import CLIENT, WebCa


pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

WITHIN_S = 60
PARTNER = "spiffe://partner.example/board"
ENDING = {
    "grpc_service": SERVICE,
    "deprecate_time": {"seconds": 1_700_000_000},
    "sunset_time": {"seconds": 1_900_000_000},
    "successor": "test.echo.v2.EchoService",
}


class World:
    """An edge whose access log goes to telemetry."""

    def __init__(self, mesh, telemetry, folder):
        self.mesh = mesh
        self.folder = folder
        self.telemetry = contextlib.AsyncExitStack()
        self._settings = telemetry
        self.lifecycles = lifecycle_service_pb2_grpc.LifecycleServiceStub(mesh.operator)

    async def start_telemetry(self):
        workload = await self.mesh.workload("telemetry")
        await self.telemetry.enter_async_context(
            running(serve_telemetry, self._settings, workload=workload)
        )

    def http(self, issued=None):
        """An HTTP client that shows this certificate, or none."""
        trusted = ssl.create_default_context(cadata=self.mesh.bundle_pem.decode())
        if issued is not None:
            chain, key = self.folder / "chain.pem", self.folder / "key.pem"
            chain.write_text(issued.chain_pem)
            key.write_text(issued.key_pem)
            trusted.load_cert_chain(chain, key)
        connector = aiohttp.TCPConnector(ssl=trusted)
        return aiohttp.ClientSession(f"https://localhost:{self.mesh.port}", connector=connector)

    async def usage(self, calls, **asked):
        """Return the usage once so many calls are in it."""
        request = rpc.GetDeprecatedUsageRequest(**asked)
        async with asyncio.timeout(WITHIN_S):
            while True:
                answer = await self.lifecycles.GetDeprecatedUsage(request)
                if sum(one.calls for one in answer.usages) >= calls:
                    return answer
                await asyncio.sleep(0.05)  # polls


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(postgres, tmp_path_factory):
    folder = tmp_path_factory.mktemp("deprecated")
    ca = WebCa()
    (folder / "roots.pem").write_text(ca.root_pem)
    address = f"127.0.0.1:{free_port()}"
    async with edge(
        postgres, telemetry_address=address, edge_client_roots_file=str(folder / "roots.pem")
    ) as mesh:
        settings = TelemetrySettings(listen=address, state_dir=folder / "telemetry")
        made = World(mesh, settings, folder)
        async with made.telemetry:
            await made.start_telemetry()
            made.ca = ca
            made.server = await mesh.echo()
            nothing = {"grpc_services": [], "json_prefixes": [], "descriptor_set": b""}
            await mesh.put_service(
                "telemetry",
                SimpleNamespace(port=int(address.rpartition(":")[2])),
                **{**nothing, "identity": "telemetry"},
            )
            await mesh.put_service("echo", made.server, lifecycles=[ENDING])
            await mesh.settled()
            yield made


async def test_every_consumer_of_a_deprecated_api_is_named(world):
    mesh = world.mesh
    phone = bearer(await mesh.token())
    board = await mesh.token("service", subject="services/board")
    async with mesh.channel() as channel:
        stub = EchoStub(channel)
        for _ in range(3):
            await stub.Echo(EchoMessage(text="x"), metadata=phone)
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.Echo(EchoMessage(text="x"))
    shown = world.ca.issue(PARTNER, usage=CLIENT)
    headers = {"authorization": f"Bearer {board}"}
    async with (
        world.http(shown) as http,
        http.post("/echo/v1/echo", json={"text": "x"}, headers=headers) as answer,
    ):
        assert answer.status == 200
    answer = await world.usage(5)

    found = {
        (one.method, one.consumer.subject, one.consumer.tenant, one.consumer.certificate_uri): (
            one.calls,
            one.unserved,
        )
        for one in answer.usages
    }
    assert found == {
        ("Echo", "passengers/p1", "nyc", ""): (3, 0),
        ("Echo", "services/board", "nyc", PARTNER): (1, 0),
        ("Echo", "", "", ""): (1, 1),
    }
    assert answer.usages_total == 3
    for one in answer.usages:
        assert (one.service, one.grpc_service) == ("services/echo", SERVICE)
        assert one.first_call_time.ToNanoseconds() <= one.last_call_time.ToNanoseconds()
    assert [(one.method, one.described) for one in answer.methods] == [
        ("Echo", False),
        ("Ticks", False),
        ("Chat", False),
    ]
    assert answer.methods[0].sunset_time.seconds == 1_900_000_000
    assert answer.methods[0].successor == "test.echo.v2.EchoService"


async def test_usage_is_counted_in_periods_and_within_times(world):
    answer = await world.usage(5, period=Duration(seconds=1))
    assert sum(one.calls for one in answer.usages) == 5
    for one in answer.usages:
        start = one.period_start_time.ToNanoseconds()
        assert start <= one.first_call_time.ToNanoseconds()
        assert one.last_call_time.ToNanoseconds() < start + 10**9
    last = max(one.last_call_time.ToNanoseconds() for one in answer.usages)
    later = Timestamp()
    later.FromNanoseconds(last + 1)
    nobody = await world.usage(0, start_time=later)
    assert (len(nobody.usages), len(nobody.methods)) == (0, 3)
    (most,) = (await world.usage(3, page_size=1)).usages
    assert most.calls == 3


async def test_meshctl_shows_it(world):
    socket = world.mesh.gateway_socket
    shown = await meshctl(socket, "deprecated")
    assert "services/board with spiffe://partner.example/board" in shown.out
    assert "(anonymous)" in shown.out
    assert f"Nobody called {SERVICE}/Ticks; its sunset is on 2030-03-17." in shown.out
    told = (await meshctl(socket, "deprecated", "echo", "--since", "1h", "--json")).json
    assert [one["calls"] for one in told["usages"]] == ["3", "1", "1"]
    assert "PERIOD FROM" in (await meshctl(socket, "deprecated", "--per", "24h")).out
    assert (await meshctl(socket, "deprecated", "--since", "soon")).code == 2


async def test_a_method_that_its_descriptors_call_deprecated_is_told_and_others_are_not(world):
    described = FileDescriptorSet.FromString(descriptor_set())
    (echo,) = (file for file in described.file if file.package == "test.echo.v1")
    echo.service[0].method[0].options.deprecated = True
    await world.mesh.put_service("echo", world.server, descriptor_set=described.SerializeToString())
    answer = await world.usage(5)
    assert [(one.method, one.described) for one in answer.methods] == [("Echo", True)]
    assert not answer.methods[0].HasField("sunset_time")
    await world.mesh.put_service("echo", world.server)
    answer = await world.usage(0)
    assert (len(answer.methods), len(answer.usages)) == (0, 0)


async def test_what_is_unknown_and_what_can_not_be_asked_is_told_and_nothing_is_forgotten(world):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await world.usage(0, service="services/none")
    assert isinstance(from_rpc_error(caught.value), NotFound)
    await world.mesh.put_service(
        "echo", world.server, lifecycles=[ENDING], descriptor_set=b"", json_prefixes=[]
    )
    await world.telemetry.aclose()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await world.usage(0)
    assert isinstance(from_rpc_error(caught.value), Unavailable)
    assert from_rpc_error(caught.value).reason == "TELEMETRY_AWAY"
    await world.start_telemetry()
    async with asyncio.timeout(WITHIN_S):
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError):
                answer = await world.usage(5)
                break
            await asyncio.sleep(0.05)  # polls
    # Without descriptors it is any method of the service.
    assert [(one.grpc_service, one.method) for one in answer.methods] == [(SERVICE, "")]
    assert {one.method for one in answer.usages} == {"Echo"}
    assert sum(one.calls for one in answer.usages) == 5
