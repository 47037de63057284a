"""Spans as OTLP requests, one or many in each."""

from dataclasses import dataclass, field

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue


INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER = 1, 2, 3, 4, 5
NOW_NS = 1_700_000_040_000_000_000
"""A full minute."""

MS = 1_000_000


@dataclass(frozen=True)
class One:
    """A span; ids are numbers, 0 is none."""

    service: str
    number: int
    parent: int = 0
    kind: int = SERVER
    failed: bool = False
    start_ns: int = NOW_NS
    duration_ns: int = MS
    trace: int = 1
    attributes: dict[str, str] = field(default_factory=dict)


def export(*spans):
    """One request of *spans*, each in ResourceSpans of its own."""
    made = ExportTraceServiceRequest()
    for one in spans:
        resource = made.resource_spans.add()
        if one.service:
            resource.resource.attributes.append(_attribute("service.name", one.service))
        span = resource.scope_spans.add().spans.add(
            trace_id=one.trace.to_bytes(16, "big"),
            span_id=one.number.to_bytes(8, "big"),
            parent_span_id=one.parent.to_bytes(8, "big") if one.parent else b"",
            kind=one.kind,
            start_time_unix_nano=one.start_ns,
            end_time_unix_nano=one.start_ns + one.duration_ns,
            attributes=[_attribute(*pair) for pair in one.attributes.items()],
        )
        span.status.code = 2 if one.failed else 0
    return made.SerializeToString()


def _attribute(key, value):
    return KeyValue(key=key, value=AnyValue(string_value=value))


def take(edges, *spans, at_ms=NOW_NS // MS, tenant=""):
    edges.take(export(*spans), tenant, at_ms * MS, len(spans))
