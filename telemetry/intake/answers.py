"""OTLP's answers: what was refused is told, and not to be sent again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from telemetry.scan.shapes import Signal


if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

    from telemetry.intake.intake import Accepted


def _metrics(accepted: Accepted) -> Message:
    response = ExportMetricsServiceResponse()
    if accepted.refused or accepted.message:
        response.partial_success.rejected_data_points = accepted.refused
        response.partial_success.error_message = accepted.message
    return response


def _logs(accepted: Accepted) -> Message:
    response = ExportLogsServiceResponse()
    if accepted.refused or accepted.message:
        response.partial_success.rejected_log_records = accepted.refused
        response.partial_success.error_message = accepted.message
    return response


def _traces(accepted: Accepted) -> Message:
    response = ExportTraceServiceResponse()
    if accepted.refused or accepted.message:
        response.partial_success.rejected_spans = accepted.refused
        response.partial_success.error_message = accepted.message
    return response


ANSWERS: dict[Signal, Callable[[Accepted], Message]] = {
    Signal.METRICS: _metrics,
    Signal.LOGS: _logs,
    Signal.TRACES: _traces,
}
"""The response of each signal's service. A message with nothing refused is a warning."""
