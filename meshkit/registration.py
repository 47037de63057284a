"""
Being found: registers this process with the gateway, keeps its lease, and leaves in good order.

                 ┌────── gone, or the stream broke ──────┐
                 ▼                                       │
    run ──▶ REGISTERING ──▶ KEEPING (heartbeats on one stream)
                 │               │
                 └───────────────┴── drain ──▶ DRAINING ──▶ gone

    async with registered(workload, address, "services/shop", port=port) as registrar:
        await stop.wait()
        await registrar.drain(grace)      # no new calls from now on
        await server.drain(grace)         # those under way may end

A gateway that is away changes nothing: it is tried again, and what is registered stays so.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import grpc
import structlog

from aerofusion.gateway.v1 import registry_service_pb2 as rpc
from aerofusion.gateway.v1 import registry_service_pb2_grpc as stubs
from aerofusion.gateway.v1 import service_pb2


if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from meshkit.identity import Workload

CALL_S: Final = 5.0
"""How long the gateway may take to answer."""

RETRY_FIRST_S: Final = 0.1
RETRY_MAX_S: Final = 2.0
LEAVE_S: Final = 2.0
"""How long leaving may take; after that the lease runs out by itself."""

_KEEPALIVE: Final = (
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)

log = structlog.get_logger()


class Registrar:
    """The registration of one endpoint of this process. Made by `registered`."""

    def __init__(
        self, channel: grpc.aio.Channel, service: str, registration: rpc.Registration
    ) -> None:
        self._stub: Any = stubs.RegistryServiceStub(channel)
        self._request = rpc.RegisterRequest(service=service, registration=registration)
        self._name = ""
        self._leaving = asyncio.Event()
        self._asking = asyncio.Lock()
        """Held while the registration changes: leaving isn't overtaken by registering anew."""
        self.found = asyncio.Event()
        """Set once it is registered."""

    async def run(self) -> None:
        """Register and keep the lease until `drain` or cancelled."""
        retry_s = RETRY_FIRST_S
        while not self._leaving.is_set():
            try:
                await self._register()
                retry_s = RETRY_FIRST_S
                await self._keep()
            except (grpc.RpcError, TimeoutError, asyncio.InvalidStateError) as error:
                said = error.details() if isinstance(error, grpc.aio.AioRpcError) else repr(error)
                log.warning("registration_interrupted", error=said)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(retry_s * random.uniform(0.5, 1.0)):  # noqa: S311
                    await self._leaving.wait()
            retry_s = min(2 * retry_s, RETRY_MAX_S)

    async def drain(self, grace: timedelta) -> None:
        """Have new calls go elsewhere; it is gone after *grace*, whatever becomes of us."""
        request = rpc.DeregisterRequest()
        if grace > timedelta():
            request.drain.FromTimedelta(grace)
        await self._leave(request)

    async def end(self) -> None:
        """Be gone now."""
        await self._leave(rpc.DeregisterRequest())

    async def _register(self) -> None:
        async with self._asking:
            if self._leaving.is_set():
                return
            answer = await self._stub.Register(self._request, timeout=CALL_S)
            self._name = answer.registration.name
            self.found.set()

    async def _keep(self) -> None:
        """Keep the lease on one stream until that ends."""
        call = self._stub.KeepAlive()
        over = asyncio.Event()
        call.add_done_callback(lambda _: over.set())
        leaving = asyncio.create_task(self._leaving.wait())
        broken = asyncio.create_task(over.wait())
        try:
            while not over.is_set() and not self._leaving.is_set():
                await call.write(rpc.KeepAliveRequest(names=[self._name]))
                async with asyncio.timeout(CALL_S):
                    answer = await call.read()
                if answer is grpc.aio.EOF:
                    return
                if answer.gone:
                    await self._register()
                    continue
                await asyncio.wait(
                    {leaving, broken},
                    timeout=answer.next.ToTimedelta().total_seconds(),
                    return_when=asyncio.FIRST_COMPLETED,
                )
            if self._leaving.is_set():
                await call.done_writing()
        finally:
            leaving.cancel()
            broken.cancel()
            if not self._leaving.is_set():
                call.cancel()

    async def _leave(self, request: rpc.DeregisterRequest) -> None:
        self._leaving.set()
        try:
            async with asyncio.timeout(LEAVE_S), self._asking:
                request.name = self._name
                if self._name:
                    # The channel may still be holding off after an absence of the gateway.
                    await self._stub.Deregister(request, wait_for_ready=True)
        except (grpc.RpcError, TimeoutError) as error:
            log.warning("registration_left_behind", error=repr(error))


@contextlib.asynccontextmanager
async def registered(
    workload: Workload,
    gateway_address: str,
    service: str,
    *,
    port: int,
    address: str = "",
    lease: timedelta = timedelta(seconds=10),
    weight: int = 1,
    zone: str = "",
) -> AsyncIterator[Registrar]:
    """
    Be registered as a replica of *service* (`services/{service}`) inside the block.

    Doesn't wait for the gateway: `Registrar.found` tells when it is done.

    Args:
        address: Where others reach us; "": where our calls to the gateway come from.
        lease: How long we are still found after we were last heard, if our connection to the
            gateway breaks without a word.

    """
    registration = rpc.Registration(
        endpoint=service_pb2.Endpoint(
            address=address,
            port=port,
            weight=weight,
            locality=service_pb2.Locality(zone=zone) if zone else None,
        )
    )
    registration.lease.FromTimedelta(lease)
    async with workload.channel(gateway_address, options=_KEEPALIVE) as channel:
        registrar = Registrar(channel, service, registration)
        running = asyncio.create_task(registrar.run(), name="registration")
        try:
            yield registrar
        finally:
            await registrar.end()
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
