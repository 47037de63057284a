"""
NATS: the bus of hints, from the packaged binary.

Clients and server show each other certificates of the mesh's CA, and a client
is the user that its certificate's DNS name says. It keeps nothing on disk:
JetStream is off, since a hint may be lost and truth lives elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from meshctl.faults import MeshctlError
from meshctl.processes import Command


CLIENTS = ("gateway", "notifier", "syncd", "telemetry")
PROBE_INTERVAL_S = 0.02
PROBE_TIMEOUT_S = 2.0

CONFIGURATION = """\
server_name: mesh
listen: "127.0.0.1:{port}"
max_payload: 1MB
max_pending: 16MB
max_connections: 1000
write_deadline: "5s"
lame_duck_duration: "1s"
lame_duck_grace_period: "0s"
tls {{
  cert_file: {chain}
  key_file: {key}
  ca_file: {bundle}
  verify_and_map: true
  min_version: "1.3"
  timeout: 5
}}
authorization {{
  users: [{users}]
}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One NATS server."""

    folder: Path
    """Holds its configuration and its identity. Made if absent."""

    port: int

    clients: Sequence[str] = CLIENTS
    """Services whose certificates may connect."""

    @property
    def url(self) -> str:
        return f"tls://127.0.0.1:{self.port}"

    def install_identity(self, key_pem: bytes, chain_pem: bytes, bundle_pem: bytes) -> None:
        """Write what the server shows and trusts; a running one takes it up at SIGHUP."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, content in (("key", key_pem), ("chain", chain_pem), ("bundle", bundle_pem)):
            half = self._pem(name).with_suffix(".new")
            half.unlink(missing_ok=True)
            descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            half.rename(self._pem(name))

    def prepare(self) -> Command:
        """Write the configuration and return the command that serves it."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.folder / "nats.conf"
        path.write_text(
            CONFIGURATION.format(
                port=self.port,
                chain=json.dumps(str(self._pem("chain"))),
                key=json.dumps(str(self._pem("key"))),
                bundle=json.dumps(str(self._pem("bundle"))),
                users=", ".join(f'{{user: "{name}.aerofusion"}}' for name in self.clients),
            )
        )
        return Command(argv=[str(packaged_binary()), "--config", str(path)])

    async def wait_ready(self, alive: Callable[[], bool], timeout_s: float) -> None:
        """
        Return once the server greets whoever connects.

        Raises:
            MeshctlError: It ended (*alive* says so), or *timeout_s* passed.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while alive():
                    if await self._greets():
                        return
                    await asyncio.sleep(PROBE_INTERVAL_S)
        except TimeoutError:
            raise MeshctlError(f"NATS was not ready within {timeout_s:g} s.") from None
        raise MeshctlError("NATS ended before it was ready.", "read its log")

    async def _greets(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        try:
            line = await asyncio.wait_for(reader.readline(), PROBE_TIMEOUT_S)
        except (OSError, TimeoutError):
            return False
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        return line.startswith(b"INFO ") and bool(json.loads(line[5:]).get("tls_required"))

    def _pem(self, name: str) -> Path:
        return self.folder / f"{name}.pem"


def packaged_binary() -> Path:
    """
    The server of the environment we run in.

    Raises:
        MeshctlError: It is not installed.
    """
    beside = Path(sys.executable).parent / "nats-server"
    found = beside if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise MeshctlError("The NATS server is not installed.", "make env")
    return Path(found)
