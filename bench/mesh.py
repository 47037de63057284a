"""A mesh to measure: started by the command that people use, with a backend of ours in it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from aerofusion.gateway.v1 import service_pb2
from bench.backend import SERVICE
from meshctl.admin import Admin
from meshctl.sockets import gateway_socket
from meshctl.state import State
from meshkit.identity import IdentityFolder, JoinFile, SpiffeId, Workload


POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Mesh:
    """A running mesh, by its state folder and the command that steers it."""

    state: Path
    meshctl: tuple[str, ...]

    def run(self, *words: str, within_s: float = 300) -> str:
        """Run a verb; return what it printed."""
        done = subprocess.run(
            [*self.meshctl, "--state", str(self.state), *words],
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"meshctl {' '.join(words)}: {done.stderr}{done.stdout}")
        return done.stdout

    def status(self) -> dict[str, Any]:
        return dict(json.loads(self.run("status", "--json")))

    def counted(self, part: str, name: str) -> int:
        """A count of the demo's, read from its file: cheaper than a status."""
        try:
            found = json.loads((self.state / part / "counts.json").read_text())
        except (OSError, ValueError):
            return 0
        return int(found["counts"].get(name, 0))

    def token(self, subject: str, role: str, tenant: str) -> str:
        words = ("--subject", subject, "--role", role, "--tenant", tenant)
        return str(json.loads(self.run("token", *words, "--json"))["token"])

    @property
    def admin_socket(self) -> Path:
        holder = State(self.state).holder()
        assert holder is not None, "no mesh runs"
        return gateway_socket(holder.control.parent)


@contextlib.contextmanager
def state_folder() -> Iterator[Path]:
    """A folder that PostgreSQL's own user can reach, removed in the end."""
    folder = Path(tempfile.mkdtemp(prefix="mesh-bench-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def own_meshctl() -> tuple[str, ...]:
    """The command of this checkout."""
    return (sys.executable, "-m", "meshctl")


@contextlib.asynccontextmanager
async def backend(mesh: Mesh) -> AsyncIterator[tuple[str, Workload]]:
    """
    Start the echo service, known to the gateway as `services/bench`.

    Yields its address and its identity, with which it may also be called directly.
    """
    folder = mesh.state / "bench"
    folder.mkdir(mode=0o700, exist_ok=True)
    identity = folder / "identity"
    async with Admin(mesh.admin_socket) as admin:
        token = await admin.join_token(str(SpiffeId("bench")))
        JoinFile.from_token(token).write(folder / "join.json")
        notify = folder / "ready.sock"
        with _notifications(notify) as told:
            process = subprocess.Popen(  # noqa: ASYNC220 - takes a millisecond
                [sys.executable, "-m", "bench.backend", "serve"],
                env={
                    **os.environ,
                    "NOTIFY_SOCKET": str(notify),
                    "BENCH_IDENTITY_DIR": str(identity),
                    "BENCH_JOIN_FILE": str(folder / "join.json"),
                    "BENCH_LOG_LEVEL": "warning",
                },
            )
            try:
                port = await asyncio.to_thread(_port, told)
                address = f"127.0.0.1:{port}"
                await admin.ensure_service(bench_service(port))
                material = IdentityFolder(identity).read(SpiffeId("bench"))
                assert material is not None, "the backend has joined"
                yield (
                    address,
                    Workload(
                        spiffe_id=material.spiffe_id,
                        key_pem=material.key_pem,
                        chain_pem=material.chain_pem,
                        bundle_pem=material.bundle_pem,
                    ),
                )
            finally:
                process.terminate()
                process.wait(10)


def bench_service(port: int) -> service_pb2.Service:
    """The echo service as the catalog knows it."""
    return service_pb2.Service(
        name="services/bench",
        grpc_services=[SERVICE],
        endpoints=[service_pb2.Endpoint(address="127.0.0.1", port=port)],
    )


def edge_channel(mesh: Mesh) -> grpc.aio.Channel:
    """A channel to the edge, as a client from outside opens it."""
    roots = (mesh.state / "ca.pem").read_bytes()
    address = mesh.status()["edge"]["url"].removeprefix("https://")
    return grpc.aio.secure_channel(
        address,
        grpc.ssl_channel_credentials(roots),
        # A failed request is to be seen, not made good.
        options=[("grpc.enable_retries", 0)],
    )


@contextlib.contextmanager
def _notifications(path: Path) -> Iterator[Any]:
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(path))
        told.settimeout(60)
        yield told


def _port(told: Any) -> int:
    while True:
        for line in told.recv(4096).decode().splitlines():
            if line.startswith("X_PORT="):
                return int(line.partition("=")[2])


def wait_for(condition: Any, what: str, within_s: float) -> float:
    """Return the seconds until *condition* held."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > within_s:
            raise RuntimeError(f"waited {within_s:g} s for {what}")
        time.sleep(POLL_S)
    return time.monotonic() - began
