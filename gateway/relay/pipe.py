"""A byte pipe to the gateway for the state-of-the-world streams of local gRPC clients."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc


if TYPE_CHECKING:
    from gateway.relay.upstream import Upstream

    Context = Any


async def pipe(context: Context, upstream: Upstream) -> None:
    """
    Carry bytes both ways until either side hangs up.

    Nothing is kept: gRPC clients go on with what they have while the gateway is away,
    and a new one has to wait for it.
    """
    call = upstream.sotw()
    forward = asyncio.create_task(_forward(context, call))
    try:
        while (data := await call.read()) is not grpc.aio.EOF:
            await context.write(data)
        code, details = await call.code(), await call.details()
    except grpc.aio.AioRpcError as error:
        code, details = error.code(), error.details()
    finally:
        forward.cancel()
        call.cancel()
        await asyncio.gather(forward, return_exceptions=True)
    if code is not grpc.StatusCode.OK:
        await context.abort(code, details or "The gateway's stream has ended.")


async def _forward(context: Context, call: Any) -> None:
    while (data := await context.read()) is not grpc.aio.EOF:
        await call.write(data)
    await call.done_writing()
