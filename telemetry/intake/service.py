"""OTLP over gRPC: the three collector services, over raw bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from telemetry.scan.shapes import Signal


if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

    from meshkit.serving import GrpcServer
    from telemetry.intake.intake import Accepted, Intake

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
    answer = _ANSWERS[signal]

    async def export(request: bytes, _: object) -> Message:
        return answer(await intake.accept(signal, request))

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


def _metrics(accepted: Accepted) -> Message:
    response = ExportMetricsServiceResponse()
    if accepted.refused:
        response.partial_success.rejected_data_points = accepted.refused
        response.partial_success.error_message = accepted.message
    return response


def _logs(accepted: Accepted) -> Message:
    response = ExportLogsServiceResponse()
    if accepted.refused:
        response.partial_success.rejected_log_records = accepted.refused
        response.partial_success.error_message = accepted.message
    return response


def _traces(accepted: Accepted) -> Message:
    response = ExportTraceServiceResponse()
    if accepted.refused:
        response.partial_success.rejected_spans = accepted.refused
        response.partial_success.error_message = accepted.message
    return response


_ANSWERS: dict[Signal, Callable[[Accepted], Message]] = {
    Signal.METRICS: _metrics,
    Signal.LOGS: _logs,
    Signal.TRACES: _traces,
}
