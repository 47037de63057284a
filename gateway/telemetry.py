"""Asks telemetry's `QueryService` what the edges' Envoys count."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import grpc

from aerofusion.telemetry.v1 import query_service_pb2, query_service_pb2_grpc


if TYPE_CHECKING:
    from meshkit.identity import Workload

ASK_WITHIN_S: Final = 1.5
RECONNECT_MAX_MS: Final = 2_000

Sums = dict[tuple[tuple[str, str], ...], float]
"""Values by their labels."""


class Unheard(Exception):
    """Telemetry can't tell; the text says why, for people."""


class Telemetry:
    """
    A connection to telemetry.

    Args:
        address: Telemetry's, of gRPC; empty: there is none.

    """

    def __init__(self, workload: Workload, address: str) -> None:
        # Where telemetry was away for long, gRPC would look for it every two minutes only.
        options = [("grpc.max_reconnect_backoff_ms", RECONNECT_MAX_MS)]
        self._channel = (
            workload.channel(address, service="telemetry", options=options) if address else None
        )

    async def close(self) -> None:
        """Let go of the connection."""
        if self._channel is not None:
            await self._channel.close()

    async def at(self, query: str, when: float, *, within_s: float = ASK_WITHIN_S) -> Sums:
        """
        Return what a query in PromQL gives at *when*, in seconds since the epoch.

        Raises:
            Unheard: Telemetry is away, or there is none.

        """
        if self._channel is None:
            raise Unheard("telemetry is away: GATEWAY_TELEMETRY_ADDRESS is not set")
        request = query_service_pb2.QueryInstantRequest(query=query)
        request.time.FromDatetime(datetime.fromtimestamp(when, UTC))
        stub = query_service_pb2_grpc.QueryServiceStub(self._channel)
        try:
            answer = await stub.QueryInstant(request, timeout=within_s)
        except grpc.aio.AioRpcError as error:
            why = f"telemetry is away: {error.code().name} {error.details()}"
            raise Unheard(why[:200]) from None
        return {tuple(sorted(one.labels.items())): one.values[-1] for one in answer.series}
