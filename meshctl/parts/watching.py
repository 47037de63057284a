"""Telemetry: a service that watches the others, by rules of ours, and who watches that."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import grpc

from aerofusion.telemetry.v1 import objective_service_pb2
from meshctl.objectives import parse
from meshctl.parts import services
from meshctl.parts.part import Part, Send
from meshctl.processes import Command
from meshctl.site import Site
from meshctl.sockets import telemetry_socket
from meshctl.telemetry import CALL_TIMEOUT_S, MESH_OBJECTIVES, MESH_RULES, Telemetry


if TYPE_CHECKING:
    from pathlib import Path


COMPILED_WITHIN_S = 240.0
"""Its first start on a machine compiles: a quarter of a minute, and more beside other work."""

TOLD_OF_SILENCE = "duty-manager@airport.example"

AGAIN_S = 2.0
"""How long until the rules are tried again while telemetry's database is away."""


def telemetry(site: Site) -> Part:
    """The service, with the rules of the mesh in it."""
    part = services.service(
        site,
        "telemetry",
        # Intake goes on without the database: neither the start nor the stop waits for it.
        database=False,
        ports=("http_listen",),
        postgres_dsn=site.cluster.dsn("telemetry"),
        state_dir=str(site.folder("telemetry")),
        backup_dir=str(site.state.folder / "backups" / "telemetry"),
        unix_socket=str(site.socket("telemetry", "telemetry")),
        http_unix_socket=str(site.socket("telemetry", "http")),
        notifier_address=site.address("notifier"),
        alert_smtp_address=site.address("mailsink"),
    )
    return replace(part, ready_within_s=COMPILED_WITHIN_S, keep=lambda send: load_rules(site, send))


def deadman(site: Site) -> Part:
    """Who tells people when telemetry itself stands still."""

    async def prepare() -> Command:
        environment = site.environment(
            "deadman",
            identity="telemetry",
            telemetry_socket=str(site.telemetry_socket),
            smtp_address=site.address("mailsink"),
            smtp_security="mesh",
            mails=TOLD_OF_SILENCE,
            # A first start of telemetry compiles for minutes: nobody is to be told of that.
            grace=str(COMPILED_WITHIN_S),
        )
        return site.python("telemetry", "deadman", environment=environment)

    return Part(
        name="deadman",
        prepare=prepare,
        needs=services.needs_gateway(site, "telemetry"),
        calls=("telemetry", "mailsink"),
        stop_within_s=0.5,
    )


async def load_rules(site: Site, _send: Send) -> None:
    """Have the mesh's own rules evaluated and objectives kept, as soon as there is a database."""
    content = await asyncio.to_thread(MESH_RULES.read_text)
    while True:
        try:
            async with Telemetry(telemetry_socket(site.state.run)) as api:
                await api.apply_rules(content, source=MESH_RULES.name, prune=True)
                await promise(api, site.state.folder / "promised")
        except grpc.RpcError:
            await asyncio.sleep(AGAIN_S)
        else:
            await asyncio.Event().wait()


async def promise(api: Telemetry, promised: Path) -> None:
    """
    Make the mesh's objectives, the first time only: what people make of them later stands.

    Args:
        promised: A file that says that it has been done.

    """
    if await asyncio.to_thread(promised.exists):
        return
    content = await asyncio.to_thread(MESH_OBJECTIVES.read_text)
    for one in parse(content, MESH_OBJECTIVES.name):
        request = objective_service_pb2.CreateObjectiveRequest(
            objective_id=one.name.removeprefix("objectives/"), objective=one
        )
        try:
            await api.objectives.CreateObjective(request, timeout=CALL_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.ALREADY_EXISTS:
                raise
    await asyncio.to_thread(promised.touch)
