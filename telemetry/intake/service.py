"""OTLP over gRPC: the three collector services, over raw bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc

from telemetry.intake.answers import ANSWERS
from telemetry.intake.tenants import TENANT_HEADER, tenant_of
from telemetry.scan.shapes import Signal


if TYPE_CHECKING:
    from google.protobuf.message import Message

    from meshkit.serving import GrpcServer
    from telemetry.intake.intake import Intake

SERVICES = {
    Signal.METRICS: "opentelemetry.proto.collector.metrics.v1.MetricsService",
    Signal.LOGS: "opentelemetry.proto.collector.logs.v1.LogsService",
    Signal.TRACES: "opentelemetry.proto.collector.trace.v1.TraceService",
}
METHODS = {signal: f"/{service}/Export" for signal, service in SERVICES.items()}


def serve_otlp(server: GrpcServer, intake: Intake) -> None:
    """Add the three services to *server*. Their requests stay bytes: nothing is parsed twice."""
    for signal, service in SERVICES.items():
        server.add(_register, _handler(intake, signal), service)


def _register(handler: grpc.GenericRpcHandler, server: grpc.aio.Server) -> None:
    server.add_generic_rpc_handlers((handler,))


def _handler(intake: Intake, signal: Signal) -> grpc.GenericRpcHandler:
    answer = ANSWERS[signal]
    header = TENANT_HEADER.lower()

    async def export(request: bytes, context: Any) -> Message:
        told = (str(v) for k, v in context.invocation_metadata() or () if k == header)
        return answer(await intake.accept(signal, request, tenant_of(next(told, ""))))

    return grpc.method_handlers_generic_handler(
        SERVICES[signal],
        {
            "Export": grpc.unary_unary_rpc_method_handler(
                export,
                request_deserializer=None,
                response_serializer=lambda message: message.SerializeToString(),
            )
        },
    )
