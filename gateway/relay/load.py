"""
Carries Envoy's load reports to the gateway, on one stream of Envoy's that outlives the gateway's.

Reports are hints: those that come while the gateway is away are dropped. A gateway that comes back
is told who reports by what Envoy said first.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING, Any

import grpc


if TYPE_CHECKING:
    from gateway.relay.limits import RelayLimits
    from gateway.relay.upstream import Upstream

    Context = Any


async def carry(context: Context, upstream: Upstream, limits: RelayLimits) -> None:
    """Carry reports and orders until Envoy hangs up."""
    first = await context.read()
    if first is grpc.aio.EOF:
        return
    calls: list[Any] = []
    """The gateway's stream, while there is one."""

    hearing = asyncio.create_task(_hear(context, calls))
    following = asyncio.create_task(_follow(context, upstream, limits, calls, first))
    try:
        await asyncio.wait({hearing, following}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (hearing, following):
            task.cancel()
        await asyncio.gather(hearing, following, return_exceptions=True)


async def _hear(context: Context, calls: list[Any]) -> None:
    while (data := await context.read()) is not grpc.aio.EOF:
        for call in calls:
            with contextlib.suppress(grpc.RpcError, asyncio.InvalidStateError):
                await call.write(data)


async def _follow(
    context: Context, upstream: Upstream, limits: RelayLimits, calls: list[Any], first: bytes
) -> None:
    pause_s = limits.reconnect_delay_max.total_seconds()
    while True:
        await upstream.connected()
        call = upstream.load()
        try:
            await call.write(first)
            calls.append(call)
            while (data := await call.read()) is not grpc.aio.EOF:
                await context.write(data)
        except (grpc.RpcError, asyncio.InvalidStateError):
            pass  # It is away; that is no fault of Envoy's.
        finally:
            calls.clear()
            call.cancel()
        await asyncio.sleep(pause_s * random.uniform(0.1, 1.0))  # noqa: S311 - jitter
