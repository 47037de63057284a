"""The bus of hints as a part: its certificate is ours to obtain and to renew."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass
from pathlib import Path

from meshctl.parts.nats import Server
from meshctl.parts.part import Part, Send
from meshctl.parts.services import needs_gateway
from meshctl.processes import Command
from meshctl.site import REPLICA, Site
from meshkit.identity import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    """What `Workload.open` wants to know; NATS has no settings of ours."""

    gateway_address: str
    identity_dir: Path
    join_file: Path | None
    replica: str = REPLICA


def nats(site: Site) -> Part:
    port = site.state.port("nats")
    folder = site.identity("nats")
    server = Server(folder=site.folder("nats"), identity=folder, port=port)
    member = _Member(
        gateway_address=site.address("gateway"),
        identity_dir=folder.path,
        join_file=site.join_path("nats"),
    )

    async def prepare() -> Command:
        await site.admit("nats")
        await Workload.open(member, "nats")
        return server.prepare()

    async def keep(send: Send) -> None:
        workload = await Workload.open(member, "nats")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(workload.run(), name="nats-renewal")
            while True:
                await workload.rotation()
                send(signal.SIGHUP)

    return Part(
        name="nats",
        prepare=prepare,
        needs=needs_gateway(site, "nats"),
        calls=(),
        wait_ready=lambda alive: server.wait_ready(alive, 20),
        keep=keep,
        stop_within_s=0.5,
        ports={"nats": port},
    )
