"""A gateway with a real Envoy, and replicas as processes of their own."""

import asyncio
import contextlib
import os
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest_asyncio

from aerofusion.gateway.v1 import registry_service_pb2_grpc
from tests.fixtures.edge import ROOT, edge


REPLICA = Path(__file__).with_name("replica.py")
WITHIN_S = 60.0


class Replicas:
    """Starts and ends them. By their number."""

    def __init__(self, mesh):
        self.mesh = mesh
        self.processes = {}
        self.ports = {}

    async def start(self, replica, lease_s=10.0):
        """Start one and wait until it is registered; with `lease_s` 0 it doesn't register."""
        mesh = self.mesh
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            REPLICA,
            f"127.0.0.1:{mesh.gateway_port}",
            mesh.folder / "replicas" / replica,
            await mesh.join_file("echo", replica),
            replica,
            str(lease_s),
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=asyncio.subprocess.PIPE,
        )
        self.processes[replica] = process
        async with asyncio.timeout(WITHIN_S):
            self.ports[replica] = int(await process.stdout.readline())
        return self.ports[replica]

    async def kill(self, replica):
        """End one with -9; returns when that was."""
        process = self.processes.pop(replica)
        process.kill()
        at = time.monotonic()
        await process.wait()
        return at

    async def close(self):
        for replica in list(self.processes):
            with contextlib.suppress(ProcessLookupError):
                await self.kill(replica)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def mesh(postgres):
    async with edge(postgres) as made:
        yield with_registry(made)


@pytest_asyncio.fixture(loop_scope="module")
async def own_mesh(postgres):
    """One whose gateway believes at once that a lease has run out."""
    async with edge(postgres, registry_outage_grace=timedelta(seconds=1)) as made:
        yield with_registry(made)


def with_registry(made):
    made.registry = registry_service_pb2_grpc.RegistryServiceStub(made.operator)
    made.gateway_address = f"127.0.0.1:{made.gateway_port}"
    return made


@pytest_asyncio.fixture(loop_scope="module")
async def replicas(mesh):
    made = Replicas(mesh)
    yield made
    await made.close()
