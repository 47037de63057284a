"""A gateway's identity rooms, served as the gateway serves them, on a real PostgreSQL."""

import contextlib
import socket
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from aerofusion.gateway.v1 import identity_service_pb2, identity_service_pb2_grpc
from gateway.identity.parts import Identity
from gateway.store import audit
from meshkit.identity import JoinFile, SpiffeId, Workload
from meshkit.postgres import migrate, open_pool
from meshkit.serving import GrpcServer
from meshkit.settings import MeshSettings


@dataclass
class Clock:
    """Real time, moved by hand."""

    ahead: timedelta = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclass
class Gateway:
    identity: Identity
    pool: Any
    address: str
    unix_socket: Path
    folder: Path
    clock: Clock = field(default_factory=Clock)

    @contextlib.asynccontextmanager
    async def operator(self):
        """The API as the local operator sees it."""
        async with grpc.aio.insecure_channel(f"unix:{self.unix_socket}") as channel:
            yield identity_service_pb2_grpc.IdentityServiceStub(channel)

    @contextlib.asynccontextmanager
    async def api(self, workload: Workload):
        """The API as *workload* sees it."""
        async with workload.channel(self.address) as channel:
            yield identity_service_pb2_grpc.IdentityServiceStub(channel)

    async def ticket(self, service: str, replica: str = "0", **options) -> JoinFile:
        async with self.operator() as api:
            response = await api.CreateJoinToken(
                identity_service_pb2.CreateJoinTokenRequest(
                    spiffe_id=str(SpiffeId(service, replica)), **options
                )
            )
        return JoinFile.from_token(response.join_token)

    def settings(self, folder: Path, ticket: JoinFile | None = None) -> MeshSettings:
        join_file = folder.with_suffix(".join")
        if ticket is not None:
            ticket.write(join_file)
        return MeshSettings(identity_dir=folder, join_file=join_file, gateway_address=self.address)

    async def joined(self, service: str, folder: Path, **options) -> Workload:
        settings = self.settings(folder, await self.ticket(service, **options))
        return await Workload.open(settings, service)

    async def audited(self) -> list[tuple[str, str, str]]:
        rows = await self.pool.fetch("SELECT actor, action, resource FROM audit_log ORDER BY seq")
        return [(row["actor"], row["action"], row["resource"]) for row in rows]


@contextlib.asynccontextmanager
async def running_gateway(dsn: str, folder: Path, clock: Clock | None = None):
    clock = clock or Clock()
    async with open_pool(dsn, application_name="test") as pool:
        await migrate(pool, "gateway.store.migrations")
        identity = Identity(pool=pool, folder=folder, replica="0", audit=audit.record, clock=clock)
        unix_socket = folder / "gateway.sock"
        server = GrpcServer(
            workload=identity.workload,
            listen="127.0.0.1:0",
            policy=identity.policy,
            unix_socket=unix_socket,
        )
        identity.add_to(server)
        await identity.start()
        port = await server.start()
        try:
            yield Gateway(identity, pool, f"127.0.0.1:{port}", unix_socket, folder, clock)
        finally:
            await server.drain(timedelta())
            await identity.stop()


@pytest.fixture
async def gateway(postgres, tmp_path):
    folder = tmp_path / "gateway"
    folder.mkdir(mode=0o700)
    async with running_gateway(await postgres.database("gateway"), folder) as running:
        yield running


@pytest.fixture
def unused_address():
    """An address on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"
