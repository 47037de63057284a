"""Telemetry as a process of its own, as it is started in a mesh, and what it uses."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from socket import AF_UNIX, SOCK_STREAM, socket
from typing import TYPE_CHECKING, Any

import psutil

from gateway.identity.authority import LEAF_LIFETIME, Authority, SigningRequest
from meshkit.identity import IdentityFolder, KeyMaterial, SpiffeId
from meshkit.identity.material import new_key_pem, workload_request_pem


if TYPE_CHECKING:
    from collections.abc import Iterator

_STARTS_WITHIN_S = 300
_QUIET_SHARE = 0.08
"""A process that uses less of a core has done what it had to."""


class UnixConnection(HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("telemetry", timeout=120)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket(AF_UNIX, SOCK_STREAM)
        self.sock.settimeout(120)
        self.sock.connect(str(self._path))


@dataclass(slots=True)
class Server:
    """A running telemetry service."""

    state: Path
    grpc_socket: Path
    http_socket: Path
    process: subprocess.Popen[bytes]

    @property
    def cpu_s(self) -> float:
        """CPU time of all its threads since it started, user and kernel."""
        times = psutil.Process(self.process.pid).cpu_times()
        return times.user + times.system

    @property
    def rss_mb(self) -> float:
        """Its memory."""
        return psutil.Process(self.process.pid).memory_info().rss / 1e6

    def get(self, path: str, **parameters: str) -> Any:
        """Return the `data` of an answer of its Prometheus API."""
        connection = UnixConnection(self.http_socket)
        connection.request("GET", f"/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
        answer = json.loads(connection.getresponse().read())
        connection.close()
        if answer["status"] != "success":
            raise RuntimeError(answer)
        return answer["data"]

    def value(self, query: str, at: float | None = None) -> float:
        """Return the only value of an instant query; 0 if there is none."""
        found = self.get("query", query=query, time=f"{at or time.time():.3f}")["result"]
        return float(found[0]["value"][1]) if found else 0.0

    def count(self, metric: str, start: float, end: float, step_s: int = 5) -> int:
        """Return how many samples of *metric* there are from *start* to *end*, by PromQL."""
        total = 0.0
        at = start
        while at < end:
            at += step_s
            total += self.value(f"sum(count_over_time({metric}[{step_s}s]))", at)
        return int(total)

    def wait_quiet(self) -> None:
        """Return once it has nothing to do any more: merges are done."""
        quiet_since = time.monotonic()
        before = self.cpu_s
        while time.monotonic() - quiet_since < 3:
            time.sleep(1)
            now = self.cpu_s
            if now - before > _QUIET_SHARE:
                quiet_since = time.monotonic()
            before = now

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it."""
        self.process.send_signal(number)
        self.process.wait(60)


@contextlib.contextmanager
def running(folder: Path | None = None, **environ: str) -> Iterator[Server]:
    """Start telemetry on *folder*, or one that goes in the end; *environ* without its prefix."""
    made = folder or Path(tempfile.mkdtemp(prefix="bench-telemetry-"))
    server = start(made, **environ)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.stop()
        if folder is None:
            shutil.rmtree(made)


def start(folder: Path, *, command: list[str] | None = None, **environ: str) -> Server:
    """Start telemetry on *folder*, by *command* if given, and wait until it takes requests."""
    identity = folder / "identity"
    if not identity.exists():
        IdentityFolder(identity).write(_material())
    grpc_socket, http_socket = folder / "g", folder / "h"
    http_socket.unlink(missing_ok=True)
    process = subprocess.Popen(
        command or [sys.executable, "-m", "telemetry", "serve"],
        env=os.environ
        | {
            "TELEMETRY_STATE_DIR": str(folder / "state"),
            "TELEMETRY_IDENTITY_DIR": str(identity),
            "TELEMETRY_UNIX_SOCKET": str(grpc_socket),
            "TELEMETRY_HTTP_UNIX_SOCKET": str(http_socket),
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        | {f"TELEMETRY_{name.upper()}": value for name, value in environ.items()},
        stdout=subprocess.DEVNULL,
    )
    server = Server(folder / "state", grpc_socket, http_socket, process)
    deadline = time.monotonic() + _STARTS_WITHIN_S
    while True:
        try:
            server.get("labels")
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return server


def _material() -> KeyMaterial:
    authority = Authority.create(now=datetime.now(UTC))
    spiffe_id, key_pem = SpiffeId("telemetry", "0"), new_key_pem()
    request = SigningRequest.parse(workload_request_pem(key_pem, spiffe_id))
    issued = authority.issue_workload(
        request, spiffe_id, now=datetime.now(UTC), lifetime=LEAF_LIFETIME
    )
    return KeyMaterial.checked(
        key_pem=key_pem,
        chain_pem=issued.chain_pem,
        bundle_pem=authority.bundle_pem,
        expected=spiffe_id,
    )
