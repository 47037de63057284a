"""The airport day's processes, with the tokens they call the edge with."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import grpc

from meshctl.admin import Admin, told
from meshctl.demo.passengers import DEFAULT_PASSENGERS
from meshctl.demo.settings import DEFAULT_DEVICES, DEFAULT_TENANT
from meshctl.faults import MeshctlError
from meshctl.parts.part import Part, Send
from meshctl.parts.services import needs_gateway
from meshctl.private import write_private
from meshctl.processes import Command
from meshctl.site import Site


TOKEN_TTL = timedelta(hours=12)
RENEW_AFTER_S = TOKEN_TTL.total_seconds() / 2
LOOK_S = 30.0
NEEDS = ("gateway", "envoy", "notifier", "syncd")
CALLS = (*NEEDS, "telemetry")

Mint = Callable[[Admin], Awaitable[bytes]]


def mailsink(site: Site) -> Part:
    """Where the mail goes unless a mail server is set."""

    async def prepare() -> Command:
        await site.admit("mailsink")
        environment = site.environment(
            "mailsink",
            listen=site.address("mailsink"),
            state_dir=str(site.folder("mailsink")),
            shutdown_grace="0.3",
        )
        return site.python("meshctl.demo", "mailsink", environment=environment)

    return Part(
        name="mailsink",
        prepare=prepare,
        needs=needs_gateway(site, "mailsink"),
        calls=("telemetry",),
        stop_within_s=0.5,
        ports={"smtp": site.state.port("mailsink")},
    )


def flightinfo(site: Site) -> Part:
    """The internal service that replays the day."""
    token = site.folder("flightinfo") / "token"

    async def mint(admin: Admin) -> bytes:
        answer = await admin.token(
            subject="services/flightinfo", tenant=DEFAULT_TENANT, roles=["service"], ttl=TOKEN_TTL
        )
        return answer.token.encode()

    async def prepare() -> Command:
        await site.admit("flightinfo")
        if not _is_fresh(token):
            write_private(token, await _minted(site, mint))
        environment = site.environment(
            "flightinfo", **_edge(site, "flightinfo"), token_file=str(token)
        )
        return site.python("meshctl.demo", "flightinfo", environment=environment)

    async def keep(_send: Send) -> None:
        await _renew(token, lambda: _minted(site, mint))

    return Part(
        name="flightinfo", prepare=prepare, keep=keep, needs=NEEDS, calls=CALLS, stop_within_s=0.7
    )


def devices(site: Site) -> Part:
    """Passengers' phones have tokens; the process that plays them tells telemetry who it is."""
    tokens = site.folder("devices") / "tokens.json"

    async def mint(admin: Admin) -> bytes:
        made = {}
        for number in range(1, min(DEFAULT_DEVICES, DEFAULT_PASSENGERS) + 1):
            subject = f"passengers/p{number}"
            answer = await admin.token(
                subject=subject, tenant=DEFAULT_TENANT, roles=["passenger"], ttl=TOKEN_TTL
            )
            made[subject] = answer.token
        return json.dumps(made).encode()

    async def prepare() -> Command:
        await site.admit("devices")
        if not _is_fresh(tokens):
            write_private(tokens, await _minted(site, mint))
        environment = site.environment("devices", **_edge(site, "devices"), tokens_file=str(tokens))
        return site.python("meshctl.demo", "devices", environment=environment)

    async def keep(_send: Send) -> None:
        await _renew(tokens, lambda: _minted(site, mint))

    return Part(
        name="devices", prepare=prepare, keep=keep, needs=NEEDS, calls=CALLS, stop_within_s=0.7
    )


def _edge(site: Site, name: str) -> dict[str, str]:
    """What one that calls through the edge is told besides."""
    return {
        "edge_address": site.edge_address,
        "edge_ca_file": str(site.ca_file),
        "state_dir": str(site.folder(name)),
        "steering_file": str(site.steering_file),
        "tenant": DEFAULT_TENANT,
    }


def _is_fresh(path: Path) -> bool:
    """Whether the tokens in *path* will do for long, so that the gateway may be away."""
    return path.exists() and time.time() - path.stat().st_mtime < RENEW_AFTER_S


async def _minted(site: Site, mint: Mint) -> bytes:
    try:
        async with Admin(site.gateway_socket) as admin:
            return await mint(admin)
    except grpc.RpcError as error:
        raise told(error) from None


async def _renew(path: Path, fetch: Callable[[], Awaitable[bytes]]) -> None:
    """Replace tokens long before they expire; the gateway may be away for a while."""
    while True:
        await asyncio.sleep(LOOK_S)
        if _is_fresh(path):
            continue
        with contextlib.suppress(MeshctlError):
            write_private(path, await fetch())
