"""OTLP requests as bytes, holding every kind of thing that is loaded."""

import random
import struct

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from telemetry.scan.shapes import Signal


NOISE = (b"\xff" * 9 + b"\x01", b"\xff" * 4 + b"\x0f", b"\x80" * 6 + b"\x01", b"\x80\x00")


def gauges(name, values, at_ns, **attributes):
    """One gauge point for each value, told apart by the attribute `n`."""
    request = ExportMetricsServiceRequest()
    target = request.resource_metrics.add()
    target.resource.attributes.add(key="service.name").value.string_value = "test"
    metric = target.scope_metrics.add().metrics.add(name=name)
    for n, value in enumerate(values):
        point = metric.gauge.data_points.add(time_unix_nano=at_ns, as_double=value)
        point.attributes.add(key="n").value.int_value = n
        for key, text in attributes.items():
            point.attributes.add(key=key).value.string_value = text
    return request.SerializeToString()


def gauge_over_time(name, points):
    """One gauge's values, each with its time."""
    # Messages behind one another are one message with all of their fields.
    return b"".join(gauges(name, [value], at_ns) for at_ns, value in points)


def metrics(now_ns):
    """Every kind of metric, and of each reason to refuse a point one."""
    request = ExportMetricsServiceRequest()
    target = request.resource_metrics.add()
    _every_value(target.resource.attributes)
    add = target.scope_metrics.add().metrics.add
    total = add(name="http.requests", unit="1").sum
    total.aggregation_temporality, total.is_monotonic = 2, True
    for n in range(2):
        point = total.data_points.add(time_unix_nano=now_ns, as_int=-n)
        point.attributes.add(key="n").value.int_value = n
    gauge = add(name="g", unit="s").gauge.data_points
    gauge.add(time_unix_nano=5, as_double=1)
    gauge.add(time_unix_nano=0, as_double=float("nan"))
    gauge.add(time_unix_nano=now_ns, flags=1)
    gauge.add(time_unix_nano=now_ns)
    histogram = add(name="h", unit="By").histogram
    histogram.aggregation_temporality = 2
    for n in range(2):
        point = histogram.data_points.add(
            time_unix_nano=now_ns,
            count=6,
            sum=3.5,
            bucket_counts=[1, 2, 3],
            explicit_bounds=[0.5, 1],
            flags=n,
        )
        point.attributes.add(key="n").value.int_value = n
    histogram.data_points.add(time_unix_nano=now_ns, bucket_counts=[1], explicit_bounds=[1])
    histogram.data_points.add(time_unix_nano=now_ns, count=6)
    point = add(name="s").summary.data_points.add(count=2, sum=3)
    point.quantile_values.add(quantile=0.5, value=2)
    exponential = add(name="e").exponential_histogram
    exponential.aggregation_temporality = 2
    exponential.data_points.add(scale=21)
    fine = exponential.data_points.add(
        time_unix_nano=now_ns, scale=10, count=7, sum=2.5, zero_count=1, zero_threshold=0.5
    )
    fine.positive.offset, fine.negative.offset = -3, 2
    fine.positive.bucket_counts.extend([1, 0, 2, 1])
    fine.negative.bucket_counts.extend([2])
    seen = fine.exemplars.add(time_unix_nano=now_ns, as_double=1.5)
    seen.trace_id, seen.span_id = b"t" * 16, b"s" * 8
    seen.filtered_attributes.add(key="gate").value.string_value = "A1"
    delta = add(name="c", unit="1").sum
    delta.aggregation_temporality, delta.is_monotonic = 1, True
    delta.data_points.add(time_unix_nano=now_ns, start_time_unix_nano=now_ns - 9, as_int=1)
    add(name="d").sum.data_points.add(time_unix_nano=now_ns, as_int=1)
    add().gauge.data_points.add(time_unix_nano=now_ns, as_int=1)
    return request.SerializeToString()


def logs(now_ns):
    request = ExportLogsServiceRequest()
    target = request.resource_logs.add()
    _every_value(target.resource.attributes)
    scope = target.scope_logs.add()
    scope.scope.name = "scope"
    for at in (now_ns, 0, 5):
        record = scope.log_records.add(
            time_unix_nano=at,
            severity_number=9,
            severity_text="INFO",
            trace_id=b"t" * 16,
            span_id=b"s" * 7,
            event_name="e",
        )
        record.body.string_value = "hello"
        _every_value(record.attributes)
    return request.SerializeToString()


def traces(now_ns):
    request = ExportTraceServiceRequest()
    target = request.resource_spans.add()
    _every_value(target.resource.attributes)
    for id_bytes, at in ((8, now_ns), (7, now_ns), (8, 5)):
        span = target.scope_spans.add().spans.add(
            trace_id=b"t" * 16,
            span_id=b"s" * id_bytes,
            parent_span_id=b"p" * id_bytes,
            start_time_unix_nano=at,
            end_time_unix_nano=at + 5,
            name="n",
            kind=2,
            trace_state="a=b",
        )
        _every_value(span.attributes)
        _every_value(span.events.add(time_unix_nano=2**64 - 1, name="event").attributes)
        span.links.add(trace_id=b"t" * 16, span_id=b"s")
        span.status.code = 2
    return request.SerializeToString()


def many_spans(chance: random.Random, now_ns):
    """Spans of several resources and scopes, with everything that one may have, or not."""
    request = ExportTraceServiceRequest()
    for _ in range(chance.randrange(1, 4)):
        target = request.resource_spans.add()
        if chance.random() < 0.8:
            target.resource.attributes.add(key="service.name").value.string_value = "gate"
            _some_values(chance, target.resource.attributes)
        for _ in range(chance.randrange(3)):
            scope = target.scope_spans.add()
            if chance.random() < 0.5:
                scope.scope.name = f"scope {chance.randrange(3)}"
            for _ in range(chance.randrange(20)):
                _some_span(chance, scope.spans.add(), now_ns)
    return request.SerializeToString()


def _some_span(chance, span, now_ns):
    span.trace_id, span.span_id = (
        chance.randbytes(16),
        chance.randbytes(chance.choice([8, 8, 8, 7])),
    )
    span.parent_span_id = chance.randbytes(chance.choice([0, 8, 9]))
    span.start_time_unix_nano = chance.choice([0, 5, now_ns, now_ns - 1, now_ns - 10**9])
    span.end_time_unix_nano = chance.choice([0, now_ns, now_ns + 5, 2**64 - 1])
    span.name = "n" * chance.choice([0, 1, 127, 128, 20_000])
    span.kind, span.status.code = chance.randrange(-2, 9), chance.randrange(-2, 5)
    span.status.message, span.trace_state = chance.choice(["", "no"]), chance.choice(["", "a=b"])
    _some_values(chance, span.attributes)
    for _ in range(chance.choice([0, 0, 1, 3])):
        at = chance.choice([0, now_ns, 2**63 - 1, 2**63])
        event = span.events.add(time_unix_nano=at, name=f"event {chance.randrange(3)}")
        _some_values(chance, event.attributes)
    for _ in range(chance.choice([0, 0, 1, 2])):
        sizes = chance.choice([(16, 8), (15, 8), (16, 0)])
        ids = [chance.randbytes(size) for size in sizes]
        span.links.add(trace_id=ids[0], span_id=ids[1])


def _some_values(chance, attributes):
    for _ in range(chance.randrange(5)):
        value = attributes.add(key=f"key {chance.randrange(9)}").value
        match chance.randrange(8):
            case 0:
                value.int_value = chance.choice([0, -1, 9, 10, 2**63 - 1, -(2**63)])
            case 1:
                (value.double_value,) = struct.unpack("<d", chance.randbytes(8))
            case 2:
                digits, exponent = chance.randrange(-(10**6), 10**6), chance.randrange(-12, 26)
                value.double_value = digits * 10.0**exponent
            case 3:
                value.bytes_value = chance.randbytes(chance.randrange(7))
            case 4:
                value.array_value.values.add().int_value = 1
            case 5:
                value.kvlist_value.values.add(key="k").value.double_value = 1.5
            case 6:
                value.bool_value = chance.random() < 0.5
            case 7:
                value.string_value = "é" * chance.choice([0, 1, 63, 64, 9_000])


REQUESTS = {Signal.METRICS: metrics, Signal.LOGS: logs, Signal.TRACES: traces}


def mutated(chance: random.Random, request: bytes) -> bytes:
    """Return *request* with one to three small faults."""
    data = bytearray(request)
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(data))
        match chance.randrange(8):
            case 0:
                data[at : at + 1] = chance.choice(NOISE)
            case 1:
                del data[at]
            case 2:
                data.insert(at, chance.randrange(256))
            case 3:
                data[at] ^= 1 << chance.randrange(8)
            case 4:
                start, count = chance.randrange(len(data)), chance.randrange(1, 12)
                data[at : at + count] = data[start : start + count]
            case 5:
                data[at] = chance.choice((0x00, 0x0B, 0x0C, 0x12, 0x0A, 0x08, 0x7F, 0x80, 0xFF))
            case _:
                data[at] = chance.randrange(256)
    return bytes(data)


def _every_value(attributes):
    for key in ("text", "int", "bool", "double", "list", "map", "bytes", "unset"):
        value = attributes.add(key=key).value
        match key:
            case "text":
                value.string_value = "v"
            case "int":
                value.int_value = -5
            case "bool":
                value.bool_value = True
            case "double":
                value.double_value = 0.5
            case "list":
                value.array_value.values.add().string_value = "q"
            case "map":
                value.kvlist_value.values.add(key="k")
            case "bytes":
                value.bytes_value = b"\0\1"
