"""Spans of gRPC calls, by OpenTelemetry's own instrumentation where it fits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc
from opentelemetry import context as otel_context
from opentelemetry import propagate
from opentelemetry.instrumentation.grpc import aio_server_interceptor


Handler = Any
"""A `grpc.RpcMethodHandler`, which is generic for type checkers only."""
Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]

UNTRACED = ("/grpc.health.", "/grpc.reflection.", "/opentelemetry.proto.collector.")
"""Health checks would drown the rest; spans about exporting spans would never end."""


class UnaryTracingInterceptor(grpc.aio.ServerInterceptor):
    """
    A server span around each unary call.

    Streams get none: a span is written when it ends, and a session may last for days.
    What happens inside them starts spans of its own, under the caller's trace.
    """

    def __init__(self) -> None:
        self._unary = aio_server_interceptor()  # type: ignore[no-untyped-call]

    async def intercept_service(
        self, continuation: Continuation, details: grpc.HandlerCallDetails
    ) -> Handler | None:
        handler = await continuation(details)
        if handler is None or details.method.startswith(UNTRACED):
            return handler
        if handler.response_streaming:
            return handler

        async def found(_details: grpc.HandlerCallDetails) -> Handler | None:
            return handler

        traced: Handler = await self._unary.intercept_service(found, details)
        return traced


def attach_remote(metadata: Mapping[str, str | bytes]) -> None:
    """Make the trace of the caller, if *metadata* has one (W3C `traceparent`), the current one."""
    if "traceparent" in metadata:
        otel_context.attach(propagate.extract(metadata))


def carrier() -> dict[str, str]:
    """Return the current trace as text, to be stored with work that is done later."""
    headers: dict[str, str] = {}
    propagate.inject(headers)
    return headers
