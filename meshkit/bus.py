"""
The bus of hints: wake-ups and copies that may be lost.

Nothing here is truth. Whoever misses a hint finds what happened by reading the store,
so every subscriber polls as well, only less often.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

import nats
import structlog
from opentelemetry import metrics


if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

    from meshkit.identity import Workload

Handler = Callable[[bytes], None]

QUEUED_HINTS_MAX = 10_000
"""Hints waiting to be sent; beyond it new ones are dropped."""

RECONNECT_WAIT_S = 0.2

log = structlog.get_logger()


class Bus:
    """Publishes and receives hints; with no server it takes them and drops them."""

    def __init__(self) -> None:
        self._client: Client | None = None
        self._handlers: list[tuple[str, Handler]] = []
        self._outbox: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(QUEUED_HINTS_MAX)
        self._dropped = metrics.get_meter("meshkit").create_counter(
            "bus.hints.dropped", description="Hints that found no server"
        )

    @property
    def connected(self) -> bool:
        """Whether hints flow at this moment."""
        return self._client is not None and self._client.is_connected

    def publish(self, subject: str, data: bytes = b"") -> None:
        """Hand a hint to the server if there is one. Never waits, never raises."""
        if not self.connected or self._outbox.full():
            self._dropped.add(1)
            return
        self._outbox.put_nowait((subject, data))

    async def subscribe(self, subject: str, handler: Handler) -> None:
        """
        Call *handler* with each hint on *subject* (NATS wildcards allowed), now or once connected.

        *handler* must not block and must not raise; it usually sets an event.
        """
        self._handlers.append((subject, handler))
        if self._client is not None:
            await _attach(self._client, subject, handler)

    async def run(self, url: str, workload: Workload) -> None:
        """Connect, and stay so until cancelled; the client reconnects by itself."""
        client = await _connect(url, workload)
        self._client = client
        try:
            for subject, handler in self._handlers:
                await _attach(client, subject, handler)
            while True:
                subject, data = await self._outbox.get()
                try:
                    await client.publish(subject, data)
                except Exception as error:  # noqa: BLE001 - a lost hint is nobody's fault
                    self._dropped.add(1)
                    log.debug("hint_dropped", subject=subject, error=str(error))
        finally:
            self._client = None
            with contextlib.suppress(Exception):
                async with asyncio.timeout(1):
                    await client.close()


@contextlib.asynccontextmanager
async def open_bus(url: str, workload: Workload) -> AsyncIterator[Bus]:
    """Open a bus; closed on leaving. With an empty *url* it takes hints and drops them."""
    bus = Bus()
    if not url:
        yield bus
        return
    running = asyncio.create_task(bus.run(url, workload), name="bus")
    try:
        yield bus
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def _connect(url: str, workload: Workload) -> Client:
    while True:
        try:
            return await nats.connect(
                url,
                tls=workload.client_ssl_context("nats"),
                tls_hostname="nats.aerofusion",
                # Otherwise the server greets in plaintext before TLS begins.
                tls_handshake_first=True,
                name=str(workload.spiffe_id),
                max_reconnect_attempts=-1,
                reconnect_time_wait=RECONNECT_WAIT_S,
                connect_timeout=2,
                error_cb=_quiet,
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, hints can wait
            log.info("bus_awaited", error=str(error) or type(error).__name__)
            await asyncio.sleep(RECONNECT_WAIT_S)


async def _attach(client: Client, subject: str, handler: Handler) -> None:
    async def receive(message: Msg) -> None:
        handler(message.data)

    await client.subscribe(subject, cb=receive)


async def _quiet(error: Exception) -> None:
    log.debug("bus_error", error=str(error))
