"""Telemetry's API as an operator of this machine calls it: over its Unix socket."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
import grpc.aio

from aerofusion.telemetry.v1 import query_service_pb2_grpc, trace_service_pb2_grpc


CALL_TIMEOUT_S = 30.0


class Telemetry:
    """An open connection to telemetry, with a stub for each of its services."""

    def __init__(self, socket: Path) -> None:
        self._channel = grpc.aio.insecure_channel(
            f"unix:{socket}",
            options=[
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.max_receive_message_length", 16 * 1024 * 1024),
            ],
        )
        self.queries = query_service_pb2_grpc.QueryServiceStub(self._channel)
        self.traces = trace_service_pb2_grpc.TraceServiceStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        await self._channel.close()
