"""Asks telemetry's `QueryService` what the edges' Envoys count and log."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import grpc

from aerofusion.telemetry.v1 import query_service_pb2, query_service_pb2_grpc
from meshkit.errors import InvalidInput
from meshkit.status import from_rpc_error


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
        request = query_service_pb2.QueryInstantRequest(query=query)
        request.time.FromDatetime(datetime.fromtimestamp(when, UTC))
        try:
            answer = await self._stub().QueryInstant(request, timeout=within_s)
        except grpc.aio.AioRpcError as error:
            raise _unheard(error) from None
        return {tuple(sorted(one.labels.items())): one.values[-1] for one in answer.series}

    async def count_logs(
        self, request: query_service_pb2.CountLogsRequest, *, within_s: float
    ) -> query_service_pb2.CountLogsResponse:
        """
        Return how many log records there are.

        Raises:
            Unheard: Telemetry is away, or there is none.
            InvalidInput: QUERY_TOO_EXPENSIVE and what else telemetry says of *request*.

        """
        try:
            answer: query_service_pb2.CountLogsResponse
            answer = await self._stub().CountLogs(request, timeout=within_s)
        except grpc.aio.AioRpcError as error:
            refusal = from_rpc_error(error)
            if isinstance(refusal, InvalidInput):
                raise refusal from None
            raise _unheard(error) from None
        return answer

    def _stub(self) -> Any:
        if self._channel is None:
            raise Unheard("telemetry is away: GATEWAY_TELEMETRY_ADDRESS is not set")
        return query_service_pb2_grpc.QueryServiceStub(self._channel)


def _unheard(error: grpc.aio.AioRpcError) -> Unheard:
    why = f"telemetry is away: {error.code().name} {error.details()}"
    return Unheard(why[:200])
