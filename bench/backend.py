"""
A service of the mesh that answers at once: what the edge's own share is measured against.

`python -m bench.backend serve`, settings `BENCH_*` as of every service.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from typing import Any

import grpc

from meshkit.authz import allow
from meshkit.identity import Workload
from meshkit.main import run_service
from meshkit.serving import GrpcServer
from meshkit.settings import MeshSettings


SERVICE = "aerofusion.bench.v1.EchoService"
ECHO = f"/{SERVICE}/Echo"
STREAM = f"/{SERVICE}/Stream"
LANES = (
    *("Swap", "Order", "Name", "Weigh", "Limit", "Move"),
    *("Key", "Policy", "Quota", "Canary", "Issuer"),
)
"""Each a service of its own that does the same, so that each can be changed by itself."""

SERVICES = (SERVICE, *(f"aerofusion.bench.v1.{lane}Service" for lane in LANES))
POLICY = {
    f"/{service}/{method}": allow(services=["bench"], roles=["service"])
    for service in SERVICES
    for method in ("Echo", "Stream")
}


@dataclass(frozen=True, kw_only=True)
class Settings(MeshSettings):
    """Nothing of its own."""


async def echo(request: bytes, _context: Any) -> bytes:
    return request


async def stream(requests: Any, context: Any) -> None:
    """Send back what comes, for as long as it comes."""
    async for request in requests:
        await context.write(request)


def register(_servicer: object, server: Any) -> None:
    handlers = {
        "Echo": grpc.unary_unary_rpc_method_handler(echo),
        "Stream": grpc.stream_stream_rpc_method_handler(stream),
    }
    server.add_generic_rpc_handlers(
        tuple(grpc.method_handlers_generic_handler(service, handlers) for service in SERVICES)
    )


async def serve(
    settings: Settings,
    *,
    stop: asyncio.Event,
    started: asyncio.Future[int] | None = None,
) -> None:
    """Serve until *stop* is set."""
    workload = await Workload.open(settings, "bench")
    server = GrpcServer(workload=workload, listen=settings.listen, policy=POLICY)
    server.add(register, None, SERVICE)
    port = await server.start()
    if started is not None:
        started.set_result(port)
    await stop.wait()
    await server.drain(settings.shutdown_grace)


if __name__ == "__main__":
    sys.exit(run_service("bench", Settings, serve))
