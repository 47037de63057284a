"""OTLP requests as bytes, holding every kind of thing that is loaded."""

import random

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
