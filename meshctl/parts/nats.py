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
import shutil
import ssl
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from meshctl.faults import MeshctlError
from meshctl.processes import Command
from meshkit.identity import IdentityFolder


CLIENTS = ("gateway", "notifier", "syncd", "telemetry")
PROBE_INTERVAL_S = 0.02
SERVER_NAME = "nats.aerofusion"

CONFIGURATION = """\
server_name: mesh
listen: "127.0.0.1:{port}"
max_payload: 1MB
max_pending: 16MB
max_connections: 1000
write_deadline: "5s"
tls {{
  cert_file: {chain}
  key_file: {key}
  ca_file: {bundle}
  verify_and_map: true
  handshake_first: true
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
    """Holds its configuration. Made if absent."""

    identity: IdentityFolder
    """What it shows and trusts; it takes up a change at SIGHUP."""

    port: int

    clients: Sequence[str] = CLIENTS
    """Services whose certificates may connect."""

    @property
    def url(self) -> str:
        return f"tls://127.0.0.1:{self.port}"

    def prepare(self) -> Command:
        """Write the configuration and return the command that serves it."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.folder / "nats.conf"
        path.write_text(
            CONFIGURATION.format(
                port=self.port,
                chain=json.dumps(str(self.identity.chain)),
                key=json.dumps(str(self.identity.key)),
                bundle=json.dumps(str(self.identity.bundle)),
                users=", ".join(f'{{user: "{name}.aerofusion"}}' for name in self.clients),
            )
        )
        return Command(argv=[str(packaged_binary()), "--config", str(path)])

    async def wait_ready(self, alive: Callable[[], bool], timeout_s: float) -> None:
        """
        Return once the server completes a TLS handshake with our certificate.

        Raises:
            MeshctlError: It ended (*alive* says so), or *timeout_s* passed.

        """
        try:
            async with asyncio.timeout(timeout_s):
                while alive():
                    if await self._shakes_hands():
                        return
                    await asyncio.sleep(PROBE_INTERVAL_S)
        except TimeoutError:
            raise MeshctlError(f"NATS was not ready within {timeout_s:g} s.") from None
        raise MeshctlError("NATS ended before it was ready.", "read its log")

    async def _shakes_hands(self) -> bool:
        # Both sides show the server's own certificate: we have no other here.
        context = ssl.create_default_context(cafile=self.identity.bundle)
        context.load_cert_chain(self.identity.chain, self.identity.key)
        try:
            _, writer = await asyncio.open_connection(
                "127.0.0.1", self.port, ssl=context, server_hostname=SERVER_NAME
            )
        except OSError:  # Nobody listens yet, or not for TLS.
            return False
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return True


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
