"""A control plane to measure: PostgreSQL, gateway, relay and Envoy, each a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from string import Template
from typing import Any, Self

import grpc

from aerofusion.gateway.v1 import (
    catalog_service_pb2_grpc,
    change_service_pb2,
    change_service_pb2_grpc,
    config_service_pb2,
    config_service_pb2_grpc,
    identity_service_pb2,
    identity_service_pb2_grpc,
    key_service_pb2_grpc,
    object_pb2,
)
from bench.many_services import METHODS, grpc_service, route, service
from meshctl.parts.edge import packaged_binary
from meshctl.parts.postgres import Cluster
from meshctl.processes import spawn
from meshkit.identity import JoinFile
from meshkit.settings import MeshSettings


__all__ = ["METHODS", "ControlPlane", "EdgeClient", "edge_client", "grpc_service", "route"]

ROOT = Path(__file__).parent.parent
SERVICES_AT_ONCE = 400
READY_WITHIN_S = 180.0
HEAP_BYTES_MAX = 8 << 30
_LARGE = [
    ("grpc.max_receive_message_length", 256 << 20),
    ("grpc.max_send_message_length", 256 << 20),
]


class ControlPlane:
    """Everything running; `close` ends it. Whoever makes it may add more with `start`."""

    def __init__(self, **settings: object) -> None:
        """*settings* are the gateway's, over what is needed to start it."""
        self.folder = Path(tempfile.mkdtemp(prefix="bench-"))
        self.folder.chmod(0o711)
        self.postgres = Cluster(folder=self.folder / "postgres", run=self.folder / "pg")
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.gateway_port = free_port()
        self.edge_port = free_port()
        self.bundle_pem = b""
        self.environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "gen" / "python"))),
            "GATEWAY_LISTEN": f"127.0.0.1:{self.gateway_port}",
            "GATEWAY_UNIX_SOCKET": str(self.gateway_socket),
            "GATEWAY_IDENTITY_DIR": str(self.folder / "identity"),
            "GATEWAY_EDGE_LISTEN": f"127.0.0.1:{self.edge_port}",
            "GATEWAY_LOG_LEVEL": "warning",
            **{f"GATEWAY_{key.upper()}": str(value) for key, value in settings.items()},
        }
        self.channel = grpc.insecure_channel(f"unix:{self.gateway_socket}", options=_LARGE)
        self.catalog = catalog_service_pb2_grpc.CatalogServiceStub(self.channel)
        self.changes = change_service_pb2_grpc.ChangeServiceStub(self.channel)
        self.config = config_service_pb2_grpc.ConfigServiceStub(self.channel)
        self.identity = identity_service_pb2_grpc.IdentityServiceStub(self.channel)
        self.keys = key_service_pb2_grpc.KeyServiceStub(self.channel)

    @property
    def gateway_socket(self) -> Path:
        return self.folder / "gateway.sock"

    @property
    def relay_socket(self) -> Path:
        return self.folder / "relay" / "relay.sock"

    @property
    def relay_identity(self) -> Path:
        """Folder of the relay's keys and certificates."""
        return self.folder / "identities" / "edge"

    @property
    def admin_socket(self) -> Path:
        """Of Envoy's admin interface."""
        return self.folder / "admin.sock"

    def __enter__(self) -> Self:
        try:
            self.processes["postgres"] = spawn(self.postgres.prepare(), self._log("postgres"))
            asyncio.run(self.postgres.wait_ready(lambda: True, READY_WITHIN_S))
            asyncio.run(self.postgres.ensure_databases("gateway"))
            self.environment["GATEWAY_POSTGRES_DSN"] = self.postgres.dsn("gateway")
            self.start_gateway()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all, the newest first, and remove the folder."""
        self.channel.close()
        for name in reversed(list(self.processes)):
            self.stop(name)
        shutil.rmtree(self.folder, ignore_errors=True)

    def stop(self, name: str) -> None:
        """End one process in good order."""
        process = self.processes.pop(name)
        process.send_signal(self.postgres_stop() if name == "postgres" else 15)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self, name: str) -> None:
        """End one process with -9."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    @staticmethod
    def postgres_stop() -> int:
        return 2  # Fast: ends sessions, writes a checkpoint.

    def start(self, name: str, words: Sequence[object], **environment: str) -> int:
        """Start a process; returns its id."""
        self.processes[name] = subprocess.Popen(
            [str(word) for word in words],
            env={**self.environment, **environment},
            stdout=self._log(name),
            stderr=subprocess.STDOUT,
        )
        return self.processes[name].pid

    def start_backend(self, name: str) -> int:
        """Start a `bench.backend`, a replica of the service `bench`; returns its port."""
        port = free_port()
        self.start(
            f"backend-{name}",
            [sys.executable, "-m", "bench.backend", "serve"],
            BENCH_LISTEN=f"127.0.0.1:{port}",
            BENCH_GATEWAY_ADDRESS=f"127.0.0.1:{self.gateway_port}",
            BENCH_IDENTITY_DIR=str(self.folder / "identities" / f"backend-{name}"),
            BENCH_JOIN_FILE=str(self.ticket("bench", name)),
            BENCH_REPLICA=name,
            BENCH_LOG_LEVEL="warning",
        )
        until(lambda: listens(port), f"the backend {name}")
        return port

    def start_gateway(self) -> None:
        self.start("gateway", [sys.executable, "-m", "gateway", "serve"])
        until(self._answers, "the gateway")

    def start_edge(self) -> None:
        """Start relay and Envoy; returns once the edge takes connections."""
        self.start_relay(self.ticket("edge", "0", "localhost", "127.0.0.1"))
        self._start_envoy(
            "envoy",
            "bootstrap.yaml",
            node_id="edge",
            admin_socket=self.admin_socket,
            relay_socket=self.relay_socket,
            heap_bytes_max=HEAP_BYTES_MAX,
            connections_max=1000,
        )
        until(lambda: listens(self.edge_port), "the edge")

    def start_relay(self, ticket: Path | None = None) -> None:
        """Start the relay; without *ticket* with the identity it had before."""
        joining = {"RELAY_JOIN_FILE": str(ticket)} if ticket else {}
        self.start(
            "relay",
            [sys.executable, "-m", "gateway", "relay", "serve"],
            RELAY_GATEWAY_ADDRESS=f"127.0.0.1:{self.gateway_port}",
            RELAY_IDENTITY_DIR=str(self.relay_identity),
            RELAY_SOCKET=str(self.relay_socket),
            RELAY_SHELF_DIR=str(self.folder / "shelf"),
            RELAY_LOG_LEVEL="warning",
            **joining,
        )

    def start_preflight(self) -> None:
        """Start the preflight's Envoy; returns once the gateway counts on it."""
        self._start_envoy(
            "preflight",
            "preflight.yaml",
            admin_socket=self.folder / "preflight.sock",
            gateway_socket=self.gateway_socket,
        )
        until(lambda: self._connected("preflight"), "the preflight")

    def settled(self) -> None:
        """Wait until every client has acknowledged the newest revision."""
        newest = self.revision()
        until(
            lambda: all(one.revision >= newest for one in self._edges()),
            "the edges' acknowledgements",
            within_s=600,
        )

    def revision(self) -> int:
        listed = self.config.ListObjects(config_service_pb2.ListObjectsRequest(page_size=1))
        return int(listed.revision)

    def load(self, services: int) -> float:
        """Fill the catalog with *services* of `METHODS` routes each; returns the seconds."""
        began = time.monotonic()
        for first in range(0, services, SERVICES_AT_ONCE):
            numbers = range(first, min(first + SERVICES_AT_ONCE, services))
            objects = [object_pb2.Object(service=service(number)) for number in numbers]
            objects += [
                object_pb2.Object(route=route(number, method))
                for number in numbers
                for method in range(METHODS)
            ]
            self.apply(objects)
        return time.monotonic() - began

    def apply(self, objects: Sequence[Any]) -> None:
        wanted = config_service_pb2.ChangeSet(objects=objects)
        self.config.ApplyChange(
            config_service_pb2.ApplyChangeRequest(change_set=wanted), timeout=600
        )

    def token(self, subject: str = "passengers/p1", role: str = "passenger") -> str:
        request = identity_service_pb2.CreateTokenRequest(
            subject=subject, tenant="nyc", roles=[role]
        )
        return str(self.identity.CreateToken(request).token)

    def ticket(self, service: str, replica: str, *names: str) -> Path:
        """A join file for an identity of the mesh."""
        request = identity_service_pb2.CreateJoinTokenRequest(
            spiffe_id=f"spiffe://aerofusion/{service}/{replica}", public_names=names
        )
        ticket = JoinFile.from_token(self.identity.CreateJoinToken(request).join_token)
        self.bundle_pem = ticket.bundle_pem
        path = self.folder / f"{service}-{replica}.json"
        ticket.write(path)
        return path

    def client_settings(self, service: str) -> MeshSettings:
        """What a process with this identity opens its `Workload` with."""
        return MeshSettings(
            gateway_address=f"127.0.0.1:{self.gateway_port}",
            identity_dir=self.folder / "identities" / service,
            join_file=self.ticket(service, "bench"),
            replica="bench",
        )

    def memory(self, name: str) -> int:
        """Resident bytes of a process."""
        status = Path(f"/proc/{self.processes[name].pid}/status").read_text()
        line = next(one for one in status.splitlines() if one.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024

    def _start_envoy(self, name: str, template: str, **filled: object) -> None:
        text = Template((ROOT / "envoy" / template).read_text()).substitute(filled)
        path = self.folder / f"{name}.yaml"
        path.write_text(text)
        options = ["--use-dynamic-base-id", "--concurrency", "1", "-l", "warning"]
        self.start(name, [packaged_binary(), "-c", path, *options])

    def _answers(self) -> bool:
        if self.processes["gateway"].poll() is not None:
            raise RuntimeError((self.folder / "gateway.log").read_text()[-3000:])
        with contextlib.suppress(grpc.RpcError):
            self.revision()
            return True
        return False

    def _edges(self) -> Sequence[Any]:
        found = self.changes.ListEdges(change_service_pb2.ListEdgesRequest())
        edges: Sequence[Any] = found.edges
        return edges

    def _connected(self, flavour: str) -> bool:
        return any(one.flavour == flavour and one.revision for one in self._edges())

    def _log(self, name: str) -> int:
        return os.open(self.folder / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


class EdgeClient:
    """One connection of HTTP/1.1 to the edge, with nothing between us and the socket."""

    def __init__(self, plane: ControlPlane) -> None:
        context = ssl.create_default_context(cadata=plane.bundle_pem.decode())
        plain = socket.create_connection(("127.0.0.1", plane.edge_port))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = context.wrap_socket(plain, server_hostname="localhost")
        self.bearer = plane.token()

    def status(self, number: int, method: int) -> int:
        """Call a method; returns the HTTP status."""
        path = f"/{grpc_service(number)}/Method{method}"
        self._socket.sendall(
            f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n"
            f"authorization: Bearer {self.bearer}\r\n\r\n".encode()
        )
        head = b""
        while b"\r\n\r\n" not in head:
            got = self._socket.recv(65_536)
            if not got:
                raise ConnectionError("the edge hung up")
            head += got
        head, _, body = head.partition(b"\r\n\r\n")
        length = next(
            int(line.partition(b":")[2])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length:")
        )
        while len(body) < length:
            body += self._socket.recv(65_536)
        return int(head.split(b" ", 2)[1])

    def close(self) -> None:
        self._socket.close()


@contextlib.contextmanager
def edge_client(plane: ControlPlane) -> Iterator[EdgeClient]:
    client = EdgeClient(plane)
    try:
        yield client
    finally:
        client.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def until(condition: Any, what: str, within_s: float = READY_WITHIN_S) -> None:
    """Wait for *condition*."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited {within_s:g} s for {what}")
        time.sleep(0.02)  # polls
