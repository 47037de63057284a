"""A real Envoy behind a real relay behind the gateway's real discovery and identity."""

import asyncio
import contextlib
import signal
import socket
import string
import subprocess
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import aiohttp
import grpc
import grpc.aio
import pytest
from aiohttp import web

from gateway.changes.receipts import Receipts
from gateway.compile.envoy_api import any_of, make
from gateway.compile.sources import ads, secret
from gateway.identity.parts import Identity
from gateway.relay.app import serve
from gateway.relay.limits import RelayLimits
from gateway.relay.settings import Settings
from gateway.store import audit
from gateway.xds.ads import DELTA_METHOD, SOTW_METHOD, AdsLimits, AggregatedDiscovery
from gateway.xds.feed import Feed, Flavour
from gateway.xds.resources import Resource, Snapshot, resource
from meshctl.parts.edge import packaged_binary
from meshkit.authz import allow
from meshkit.identity import JoinFile, SpiffeId, Workload
from meshkit.postgres import migrate, open_pool
from meshkit.serving import GrpcServer
from meshkit.settings import MeshSettings
from tests.fixtures.serving import running


BOOTSTRAP = Path(__file__).parents[3] / "envoy" / "bootstrap.yaml"
ADS_RULE = allow(services=["edge"])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Gateway:
    """The gateway's identity and discovery, on one port, to stop and start again."""

    def __init__(self, pool, folder: Path) -> None:
        self.pool = pool
        self.folder = folder
        self.feed = Feed()
        self.port = 0
        self.identity: Identity | None = None
        self.sessions: set = set()
        self._server: GrpcServer | None = None
        self._silent: grpc.aio.Server | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        identity = Identity(pool=self.pool, folder=self.folder, replica="0", audit=audit.record)
        server = GrpcServer(
            workload=identity.workload,
            listen=f"127.0.0.1:{self.port}",
            policy={**identity.policy, DELTA_METHOD: ADS_RULE, SOTW_METHOD: ADS_RULE},
        )
        identity.add_to(server)
        discovery = AggregatedDiscovery(
            self.feed, limits=AdsLimits(), stopping=server.stopping, receipts=Receipts()
        )
        discovery.register(server.server)
        await identity.start()
        self.port = await server.start()
        self.identity, self._server, self.sessions = identity, server, discovery.sessions

    async def start_silent(self) -> None:
        """Come back as a gateway that takes streams and says nothing on them."""

        async def hang(_: object, context: object) -> None:
            await asyncio.get_running_loop().create_future()

        server = grpc.aio.server()
        handler = grpc.stream_stream_rpc_method_handler(hang)
        service, _, method = DELTA_METHOD.strip("/").partition("/")
        server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(service, {method: handler})]
        )
        server.add_secure_port(self.address, self.identity.workload.server_credentials())
        await server.start()
        self._silent = server

    async def stop(self) -> None:
        if self._silent is not None:
            await self._silent.stop(0)
            self._silent = None
        if self._server is not None:
            server, self._server = self._server, None
            await server.server.stop(0)  # As if killed: no goodbye.
            await server.drain(timedelta())
            await self.identity.stop()

    async def ticket(self, service: str, *public_names: str) -> JoinFile:
        spiffe_id = SpiffeId(service)
        made = await self.identity.enrolment.create_join_token(
            spiffe_id, public_names=frozenset(public_names), actor="test"
        )
        return JoinFile(
            token=made.token,
            spiffe_id=spiffe_id,
            address=self.identity.join_address,
            bundle_pem=self.identity.enrolment.bundle_pem,
        )

    async def joined(self, service: str, folder: Path) -> Workload:
        (await self.ticket(service)).write(folder.with_suffix(".join"))
        settings = MeshSettings(
            identity_dir=folder,
            join_file=folder.with_suffix(".join"),
            gateway_address=self.address,
        )
        return await Workload.open(settings, service)

    def publish(self, edge: "EdgeConfig", *more: tuple[str, Resource]) -> None:
        snapshot = Snapshot().changed(1, [*edge.resources(), *more])
        self.feed.publish(Flavour.EDGE, snapshot)


@dataclass(frozen=True)
class EdgeConfig:
    """The smallest edge that uses every kind of resource the relay carries."""

    port: int
    backend_port: int
    word: str = "first"
    """Comes back in a header of each response: a change of configuration to look for."""

    def resources(self) -> list[tuple[str, Resource]]:
        messages = {
            "CDS": ("backend", self.cluster()),
            "EDS": ("backend", self.endpoints()),
            "LDS": ("edge", self.listener()),
            "RDS": ("routes", self.routes()),
        }
        return [
            (key, resource(name, message.SerializeToString(deterministic=True)))
            for key, (name, message) in messages.items()
        ]

    def cluster(self):
        tls = any_of(
            "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            sni="notifier.aerofusion",
            common_tls_context={
                "tls_params": {"tls_maximum_protocol_version": "TLSv1_3"},
                "tls_certificate_sds_secret_configs": [secret("edge")],
                "validation_context_sds_secret_config": secret("trust"),
            },
        )
        return make(
            "envoy.config.cluster.v3.Cluster",
            name="backend",
            type="EDS",
            connect_timeout=timedelta(seconds=1),
            eds_cluster_config={"eds_config": ads()},
            transport_socket={"name": "envoy.transport_sockets.tls", "typed_config": tls},
        )

    def endpoints(self):
        address = {"address": "127.0.0.1", "port_value": self.backend_port}
        endpoint = {"endpoint": {"address": {"socket_address": address}}}
        return make(
            "envoy.config.endpoint.v3.ClusterLoadAssignment",
            cluster_name="backend",
            endpoints=[{"lb_endpoints": [endpoint]}],
        )

    def listener(self):
        router = {
            "name": "envoy.filters.http.router",
            "typed_config": any_of("envoy.extensions.filters.http.router.v3.Router"),
        }
        manager = any_of(
            "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            stat_prefix="edge",
            rds={"config_source": ads(), "route_config_name": "routes"},
            http_filters=[router],
        )
        tls = any_of(
            "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            common_tls_context={"tls_certificate_sds_secret_configs": [secret("edge_public")]},
        )
        chain = {
            "filters": [
                {
                    "name": "envoy.filters.network.http_connection_manager",
                    "typed_config": manager,
                }
            ],
            "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
        }
        address = {"address": "127.0.0.1", "port_value": self.port}
        return make(
            "envoy.config.listener.v3.Listener",
            name="edge",
            address={"socket_address": address},
            filter_chains=[chain],
        )

    def routes(self):
        header = {"header": {"key": "x-word", "value": self.word}}
        route = {"match": {"prefix": "/"}, "route": {"cluster": "backend"}}
        host = {"name": "all", "domains": ["*"], "routes": [route]}
        return make(
            "envoy.config.route.v3.RouteConfiguration",
            name="routes",
            virtual_hosts=[host],
            response_headers_to_add=[header],
        )


class Envoy:
    def __init__(self, folder: Path, relay_socket: Path) -> None:
        self.folder = folder
        self.admin = folder / "admin.sock"
        values = {
            "node_id": "edge",
            "admin_socket": str(self.admin),
            "relay_socket": str(relay_socket),
            "heap_bytes_max": "500000000",
            "connections_max": "1000",
        }
        self.config = folder / "envoy.yaml"
        self.config.write_text(string.Template(BOOTSTRAP.read_text()).substitute(values))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [packaged_binary(), "-c", str(self.config), "--use-dynamic-base-id"]
        command += ["--concurrency", "1", "-l", "warning"]
        with (self.folder / "envoy.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    async def stats(self) -> dict[str, int]:
        connector = aiohttp.UnixConnector(str(self.admin))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get("http://envoy/stats?format=json") as response,
        ):
            stats = (await response.json())["stats"]
        return {stat["name"]: stat["value"] for stat in stats if "name" in stat}


class Edge:
    """All of it: gateway, relay, Envoy, and a backend that tells who called."""

    def __init__(self, gateway: Gateway, folder: Path, settings: Settings) -> None:
        self.gateway = gateway
        self.folder = folder
        self.settings = settings
        self.envoy = Envoy(folder, settings.socket)
        self.port = free_port()
        self.backend_port = 0
        self.workload: Workload | None = None
        self._stack = contextlib.AsyncExitStack()

    def config(self, word: str = "first") -> EdgeConfig:
        return EdgeConfig(port=self.port, backend_port=self.backend_port, word=word)

    async def start_relay(self) -> None:
        self.workload = await Workload.open(self.settings, "edge")
        self._context = self.workload.client_ssl_context("edge")
        self._context.expected_name = "localhost"
        limits = RelayLimits(quiet=timedelta(milliseconds=200), first_request=timedelta(seconds=2))
        await self._stack.enter_async_context(
            running(serve, self.settings, workload=self.workload, limits=limits)
        )

    async def stop_relay(self) -> None:
        await self._stack.aclose()

    async def get(self) -> tuple[int, str, str]:
        """Status, word and the serial number of the certificate that the backend saw."""
        timeout = aiohttp.ClientTimeout(total=2)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"https://127.0.0.1:{self.port}/", ssl=self._context) as response,
        ):
            return response.status, response.headers.get("x-word", ""), await response.text()

    async def first_ok(self, word: str = "", within_s: float = 10.0) -> float:
        """Seconds until a request succeeded (with *word*, if given)."""
        clock = asyncio.get_running_loop().time
        started = clock()
        seen: object = None
        while clock() - started < within_s:
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                seen = await self.get()
                if seen[0] == 200 and word in ("", seen[1]):
                    return clock() - started
            await asyncio.sleep(0.03)  # polls
        log = (self.folder / "envoy.log").read_text()[-3000:]
        pytest.fail(f"no answer within {within_s} s; last {seen}; Envoy says:\n{log}")


@contextlib.asynccontextmanager
async def backend(workload: Workload):
    async def who(request: web.Request) -> web.Response:
        serial = request.transport.get_extra_info("peercert")["serialNumber"]
        response = web.Response(text=serial)
        response.force_close()  # So that each request brings a handshake.
        return response

    app = web.Application()
    app.router.add_get("/", who)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=workload.server_ssl_context())
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@pytest.fixture
async def edge(postgres):
    with tempfile.TemporaryDirectory(prefix="mesh-") as name:  # Sockets' paths must be short.
        folder = Path(name)
        async with open_pool(await postgres.database("gateway"), application_name="test") as pool:
            await migrate(pool, "gateway.store.migrations")
            gateway = Gateway(pool, folder / "gateway")
            await gateway.start()
            (await gateway.ticket("edge", "localhost", "127.0.0.1")).write(folder / "edge.join")
            settings = Settings(
                gateway_address=gateway.address,
                identity_dir=folder / "edge",
                join_file=folder / "edge.join",
                socket=folder / "run" / "relay.sock",
                shelf_dir=folder / "shelf",
            )
            edge = Edge(gateway, folder, settings)
            notifier = await gateway.joined("notifier", folder / "notifier")
            try:
                async with backend(notifier) as edge.backend_port:
                    gateway.publish(edge.config())
                    await edge.start_relay()
                    edge.envoy.start()
                    await edge.first_ok(within_s=30)
                    yield edge
            finally:
                edge.envoy.kill()
                await edge.stop_relay()
                await gateway.stop()
