"""The quota service (`RateLimitQuotaService`): edges report usage, and are told their shares."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import grpc
import grpc.aio
import structlog
from opentelemetry import metrics

from gateway.compile.envoy_api import make, message_class
from gateway.limits.envoy_quirks import ASSIGNMENT_TTL
from gateway.limits.quotas import Action, BucketId, Quotas, Usage
from meshkit.authz import current_caller
from meshkit.errors import Overloaded


_PACKAGE = "envoy.service.rate_limit_quota.v3"
SERVICE: Final = f"{_PACKAGE}.RateLimitQuotaService"
METHOD: Final = f"/{SERVICE}/StreamRateLimitQuotas"
TICK_S: Final = 5.0
ACTIONS_AT_ONCE: Final = 5_000
"""Buckets in one message to an edge."""

log = structlog.get_logger(__name__)


class QuotaService:
    """
    The streams of the edges that are connected here, one for each edge.

    Args:
        streams_max: Edges at once.
        heard: Called after each report with the edge that reported, to tell other replicas.

    """

    def __init__(
        self,
        quotas: Quotas,
        *,
        streams_max: int,
        stopping: asyncio.Event,
        heard: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.quotas = quotas
        self.reports = 0
        """Taken since the start."""

        self._streams: dict[str, _Stream] = {}
        self._streams_max = streams_max
        self._stopping = stopping
        self._heard = heard
        meter = metrics.get_meter("gateway")
        self._reports = meter.create_counter(
            "gateway.limits.reports", description="Usage reports of edges"
        )
        meter.create_observable_gauge(
            "gateway.limits.buckets",
            callbacks=[lambda _: [metrics.Observation(len(quotas))]],
            description="Buckets of quotas that are divided among edges",
        )

    def register(self, server: grpc.aio.Server) -> None:
        """Serve on *server*."""
        handler: Any = grpc.stream_stream_rpc_method_handler(
            self._stream,
            request_deserializer=message_class(f"{_PACKAGE}.RateLimitQuotaUsageReports").FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )
        name = METHOD.rpartition("/")[2]
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, {name: handler}),)
        )

    async def run(self) -> None:
        """Forget what has ended, until cancelled."""
        while True:
            await asyncio.sleep(TICK_S)
            self.quotas.tick(time.monotonic())

    async def _stream(self, requests: AsyncIterator[Any], context: Any) -> None:
        if len(self._streams) >= self._streams_max:
            raise Overloaded(
                "TOO_MANY_QUOTA_STREAMS",
                "As many edges report here as this replica takes; try another.",
            )
        caller = current_caller()
        edge = f"{caller.service}/{caller.replica}"
        mine = self._streams[edge] = _Stream()
        log.info("quotas_opened", edge=edge)
        stopping = asyncio.create_task(self._stopping.wait())
        writing = asyncio.create_task(mine.write(context))
        reading = asyncio.create_task(self._read(edge, requests))
        tasks = (stopping, writing, reading)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if self._streams.get(edge) is mine:
                del self._streams[edge]
                self.quotas.gone(edge)
            for task in tasks:
                task.cancel()
            for task in tasks:
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            log.info("quotas_closed", edge=edge)

    async def _read(self, edge: str, requests: AsyncIterator[Any]) -> None:
        async for report in requests:
            self.reports += 1
            self._reports.add(1)
            usages = [
                Usage(
                    bucket=tuple(sorted(usage.bucket_id.bucket.items())),
                    allowed=usage.num_requests_allowed,
                    refused=usage.num_requests_denied,
                )
                for usage in report.bucket_quota_usages
            ]
            for one, actions in self.quotas.report(edge, usages, time.monotonic()).items():
                stream = self._streams.get(one)
                if stream is not None:
                    stream.tell(actions)
            self._heard(edge)


class _Stream:
    """What waits to be told to one edge: of a bucket only the newest."""

    def __init__(self) -> None:
        self._waiting: dict[BucketId, Action] = {}
        self._wake = asyncio.Event()

    def tell(self, actions: list[Action]) -> None:
        """Send *actions* soon. Never blocks; bounded by the buckets there are."""
        self._waiting.update((action.bucket, action) for action in actions)
        self._wake.set()

    async def write(self, context: Any) -> None:
        """Send what waits, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                some = [self._waiting.pop(key) for key in list(self._waiting)[:ACTIONS_AT_ONCE]]
                await context.write(
                    make(
                        f"{_PACKAGE}.RateLimitQuotaResponse",
                        bucket_action=[_message(action) for action in some],
                    )
                )


def _message(action: Action) -> dict[str, Any]:
    bucket = {"bucket_id": {"bucket": dict(action.bucket)}}
    if action.strategy is None:
        return {**bucket, "abandon_action": {}}
    return {
        **bucket,
        "quota_assignment_action": {
            "assignment_time_to_live": ASSIGNMENT_TTL,
            "rate_limit_strategy": action.strategy,
        },
    }
