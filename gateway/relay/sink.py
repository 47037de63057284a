"""Takes Envoy's metrics by OTLP on the relay's socket, and tells telemetry what they come to."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

import grpc
import structlog
from google.protobuf.message import DecodeError
from opentelemetry import metrics
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from gateway.relay.stats import EdgeStats, changed_services


if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.relay.session import Item
    from meshkit.identity import Workload

METRICS: Final = "opentelemetry.proto.collector.metrics.v1.MetricsService"
EXPORT: Final = "Export"
TIMEOUT_S: Final = 5.0
CHANGES_MAX: Final = 64
"""Changes between two tellings of Envoy's that are heard."""

log = structlog.get_logger(__name__)


class Sink:
    """
    Envoy's metrics on their way to telemetry.

    What telemetry misses is in what it is told next, since sums are sent; what Envoy counts while
    the relay is away is lost.
    """

    def __init__(self, workload: Workload, address: str, replica: str) -> None:
        self._stats = EdgeStats()
        self._series = 0
        self._changes: list[frozenset[str]] = []
        """Services of changes that Envoy has taken since it last told; bounded."""

        self._replica = replica
        self._news = asyncio.Event()
        self._send: Any = None
        if address:
            channel = workload.channel(address, "telemetry")
            self._send = channel.unary_unary(f"/{METRICS}/{EXPORT}")
        self._channel = channel if address else None
        self._taking = asyncio.Lock()
        meter = metrics.get_meter("gateway")
        meter.create_observable_gauge(
            "relay.stats.series",
            callbacks=[lambda _: [metrics.Observation(self._series)]],
            unit="{series}",
            description="Series that the edge's metrics are",
        )
        meter.create_observable_counter(
            "relay.stats.dropped",
            callbacks=[lambda _: [metrics.Observation(self._stats.dropped)]],
            unit="{point}",
            description="Points of Envoy's own metrics that there was no room for",
        )

    def changed(self, type_url: str, items: Iterable[Item]) -> None:
        """Hear what Envoy has taken: the services concerned are worth series of their own."""
        if self._send is not None and len(self._changes) < CHANGES_MAX:
            services = changed_services(type_url, items)
            self._changes += [services] if services else []

    async def export(self, request: bytes, context: Any) -> bytes:
        """Answer Envoy's call of OTLP's `Export`."""
        if self._send is not None:
            try:
                told = ExportMetricsServiceRequest.FromString(request)
            except DecodeError:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "This is no OTLP.")
            async with self._taking:
                # With many services it takes a while, and configuration must not wait for it.
                changes, self._changes = self._changes, []
                await asyncio.to_thread(self._take, told, changes)
            self._news.set()
        return ExportMetricsServiceResponse().SerializeToString()

    def _take(self, told: ExportMetricsServiceRequest, changes: list[frozenset[str]]) -> None:
        for services in changes:
            self._stats.touch(services)
        self._stats.take(told, time.time_ns())
        self._series = self._stats.series()

    async def run(self) -> None:
        """Tell telemetry after each telling of Envoy's, until cancelled."""
        reached = True
        while True:
            await self._news.wait()
            self._news.clear()
            async with self._taking:
                now = time.time_ns()
                sums = await asyncio.to_thread(self._stats.export, self._replica, now)
            try:
                await self._send(sums.SerializeToString(), timeout=TIMEOUT_S)
            except grpc.aio.AioRpcError as error:
                if reached:
                    log.warning("relay.stats_untold", code=error.code().name)
                reached = False
            else:
                reached = True

    async def close(self) -> None:
        """Close the channel to telemetry."""
        if self._channel is not None:
            await self._channel.close()
