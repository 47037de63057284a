"""What the parts of one mesh have in common: places, ports, who they are, what they are told."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc

from meshctl import exits
from meshctl.admin import Admin, told
from meshctl.faults import MeshctlError
from meshctl.parts.postgres import Cluster
from meshctl.processes import Command
from meshctl.sockets import gateway_socket
from meshctl.state import State
from meshkit.identity import IdentityFolder, JoinFile, SpiffeId


ROOT = Path(__file__).parents[1]
IMPORTED_FROM = (ROOT, ROOT / "gen" / "python", ROOT / "clients" / "python")
REPLICA = "0"
GOOD_FOR_MIN = timedelta(minutes=5)
"""A stored certificate that ends sooner is not counted on."""
SHUTDOWN_GRACE_S = "1"
BACKGROUND = {"telemetry": 5, "devices": 5, "mailsink": 5}
"""Niceness of parts that nobody waits for: what is watched comes before the watching."""
TOLD = (
    "GATEWAY",
    "RELAY",
    "NOTIFIER",
    "SYNCD",
    "TELEMETRY",
    "DEADMAN",
    "MAILSINK",
    "FLIGHTINFO",
    "DEVICES",
)
"""Prefixes of the settings that a person may give."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a person decided about this mesh."""

    port_edge: int = 0
    """Port of the edge; 0 is the one it had, or a free one."""

    demo: bool = True
    without: Sequence[str] = ()
    """Parts not to start: somebody runs them in another way, such as in a debugger."""

    log_level: str = "info"
    settings: Mapping[str, str] = field(default_factory=dict)
    """Further settings of services, by the name of the environment variable."""


class Site:
    """One mesh on one machine. Needs the state folder's lock."""

    def __init__(self, state: State, options: Options) -> None:
        self.state = state
        self.options = options
        self.cluster = Cluster(folder=state.folder / "postgres", run=state.run / "postgres")

    @property
    def gateway_socket(self) -> Path:
        return gateway_socket(self.state.run)

    @property
    def telemetry_socket(self) -> Path:
        """Where telemetry answers Prometheus's HTTP API to us."""
        return self.state.run / "telemetry" / "http.sock"

    @property
    def ca_file(self) -> Path:
        """Roots to trust at the edge, for clients that are no part of the mesh."""
        return self.state.folder / "ca.pem"

    @property
    def edge_address(self) -> str:
        return f"127.0.0.1:{self.state.port('edge', self.options.port_edge)}"

    @property
    def steering_file(self) -> Path:
        """What `meshctl demo` writes to change a running day."""
        return self.state.folder / "demo" / "steering.json"

    def folder(self, part: str) -> Path:
        """A folder for what *part* keeps; made if absent."""
        path = self.state.folder / part
        path.mkdir(mode=0o700, exist_ok=True)
        return path

    def socket(self, part: str, name: str) -> Path:
        """Path of a Unix socket that only we can reach."""
        folder = self.state.run / part
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder / f"{name}.sock"

    def address(self, part: str) -> str:
        return f"127.0.0.1:{self.state.port(part)}"

    def identity(self, service: str) -> IdentityFolder:
        return IdentityFolder(self.state.folder / "identity" / service)

    def join_path(self, service: str) -> Path:
        return self.state.folder / "join" / f"{service}.json"

    def admitted(self, service: str) -> bool:
        """Whether *service* holds a certificate that it can start with."""
        material = self.identity(service).read(SpiffeId(service, REPLICA))
        return material is not None and material.not_after - datetime.now(UTC) > GOOD_FOR_MIN

    async def admit(self, service: str, public_names: Sequence[str] = ()) -> None:
        """
        Write *service* a one-time token to join with.

        While the gateway is away a service goes by the certificate it has.

        Raises:
            MeshctlError: The gateway gave none, and *service* has no certificate.

        """
        try:
            async with Admin(self.gateway_socket) as admin:
                token = await admin.join_token(str(SpiffeId(service, REPLICA)), public_names)
        except grpc.RpcError as error:
            if self.admitted(service):
                return
            raise told(error) from None
        ticket = JoinFile.from_token(token)
        ticket.write(self.join_path(service))
        if not self.ca_file.exists() or self.ca_file.read_bytes() != ticket.bundle_pem:
            self.ca_file.write_bytes(ticket.bundle_pem)

    def environment(self, name: str, *, identity: str = "", **own: str) -> dict[str, str]:
        """
        The environment of the process *name*: what every one is told, *own*, a person's word.

        *own* and what every one is told are fields of its settings.

        Args:
            identity: Its service in the mesh, if it isn't *name*.

        """
        prefix = name.upper()
        identity = identity or name
        common = {
            "gateway_address": self.address("gateway"),
            "telemetry_address": self.address("telemetry"),
            "nats_url": f"tls://{self.address('nats')}",
            "identity_dir": str(self.identity(identity).path),
            "join_file": str(self.join_path(identity)),
            "replica": REPLICA,
            "log_level": self.options.log_level,
            "shutdown_grace": SHUTDOWN_GRACE_S,
        }
        told_of = {f"{prefix}_{field.upper()}": value for field, value in {**common, **own}.items()}
        chosen = {n: v for n, v in self.options.settings.items() if n.startswith(f"{prefix}_")}
        return {**python_environment(), **told_of, **chosen}

    def python(self, *words: str, environment: Mapping[str, str]) -> Command:
        """A command that runs `python -m *words*`."""
        return Command(
            argv=[sys.executable, "-m", *words],
            environment=environment,
            niceness=BACKGROUND.get(words[-2 if words[-1] == "serve" else -1], 0),
        )


def python_environment() -> dict[str, str]:
    return {
        "PYTHONPATH": os.pathsep.join(map(str, IMPORTED_FROM)),
        "PYTHONUNBUFFERED": "1",
        # Threads of the runtime that allocate from arenas of their own cost memory.
        "MALLOC_ARENA_MAX": "2",
        "HOME": str(Path.home()),
    }


def require_known(settings: Mapping[str, str]) -> None:
    """Refuse a setting that no part would read. What its part thinks of it, that part says."""
    for name in settings:
        if name.partition("_")[0] not in TOLD:
            raise MeshctlError(
                f"{name} is a setting of no part.",
                f"a name that begins with one of: {', '.join(TOLD)}",
                exit_code=exits.CONFIG,
            )
