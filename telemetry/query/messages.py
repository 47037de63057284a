"""Our answers as the contract's messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf import duration_pb2, timestamp_pb2

from aerofusion.telemetry.v1 import query_service_pb2 as pb
from telemetry.promql.native.texts import populated
from telemetry.promql.nodes import Kind
from telemetry.query.traces import depth_first
from telemetry.traces.critical import times


if TYPE_CHECKING:
    from collections.abc import Sequence

    from telemetry.promql.engine import Answer, Series
    from telemetry.promql.native.columns import Histograms
    from telemetry.store.model import LogCount, LogRecord, Span
    from telemetry.traces.critical import Times

RESULT_TYPES = {
    Kind.SCALAR: pb.RESULT_TYPE_SCALAR,
    Kind.VECTOR: pb.RESULT_TYPE_VECTOR,
    Kind.MATRIX: pb.RESULT_TYPE_MATRIX,
    Kind.STRING: pb.RESULT_TYPE_STRING,
}


def time_series(series: Sequence[Series], pool: Histograms | None) -> list[pb.TimeSeries]:
    """Return the series of an answer; *pool* holds their native histograms."""
    return [_time_series(one, pool) for one in series]


def _time_series(one: Series, pool: Histograms | None) -> pb.TimeSeries:
    if pool is None or one.histogram is None:
        return pb.TimeSeries(
            labels=dict(one.labels), timestamps_ms=one.ts.tolist(), values=one.values.tolist()
        )
    floats = one.histogram < 0
    return pb.TimeSeries(
        labels=dict(one.labels),
        timestamps_ms=one.ts[floats].tolist(),
        values=one.values[floats].tolist(),
        histograms=[
            _histogram(pool, ts, i)
            for ts, i in zip(one.ts.tolist(), one.histogram.tolist(), strict=True)
            if i >= 0
        ],
    )


def _histogram(pool: Histograms, ts_ms: int, i: int) -> pb.HistogramSample:
    return pb.HistogramSample(
        timestamp_ms=ts_ms,
        count=pool.counts[i],
        sum=pool.sums[i],
        buckets=[
            pb.HistogramBucket(
                lower=bucket.low,
                upper=bucket.high,
                count=bucket.population,
                lower_inclusive=bucket.rule in (1, 3),
                upper_inclusive=bucket.rule in (0, 3),
            )
            for bucket in populated(pool, i)
        ],
    )


def notes(answer: Answer) -> pb.QueryNotes:
    """Return what there is to say about an answer."""
    return pb.QueryNotes(
        warnings=answer.warnings, infos=answer.infos, samples_touched=answer.samples
    )


def log_entry(record: LogRecord) -> pb.LogEntry:
    """Return one log record."""
    return pb.LogEntry(
        time=timestamp(record.time_ns),
        severity_number=record.severity,
        severity_text=record.severity_text,
        body=record.body,
        service=record.service,
        instance=record.instance,
        event=record.event,
        scope=record.scope,
        trace_id=record.trace_id.hex(),
        span_id=record.span_id.hex(),
        attributes=record.attributes,
        resource=record.resource,
    )


def log_count(count: LogCount) -> pb.LogCount:
    """Return one group of log records."""
    made = pb.LogCount(
        values=count.values,
        records=count.records,
        apart=count.apart,
        first_time=timestamp(count.first_ns),
        last_time=timestamp(count.last_ns),
    )
    if count.interval_start_ns:
        made.interval_start_time.CopyFrom(timestamp(count.interval_start_ns))
    return made


def trace(trace_id: str, spans: Sequence[Span]) -> pb.GetTraceResponse:
    """Return a trace of at least one span."""
    start_ns = min(span.start_ns for span in spans)
    end_ns = max(span.start_ns + span.duration_ns for span in spans)
    by_start = sorted(spans, key=lambda span: span.start_ns)
    spent = times(spans)
    return pb.GetTraceResponse(
        trace_id=trace_id,
        spans=[_span(depth, span, spent) for depth, span in depth_first(spans)],
        duration=duration(end_ns - start_ns),
        services=dict.fromkeys(span.service for span in by_start),
        critical_path=[
            pb.CriticalSegment(
                span_id=one.span_id.hex(),
                start_time=timestamp(one.start_ns),
                duration=duration(one.end_ns - one.start_ns),
            )
            for one in spent.path
        ],
    )


def _span(depth: int, span: Span, spent: Times) -> pb.TraceSpan:
    return pb.TraceSpan(
        span_id=span.span_id.hex(),
        parent_span_id=span.parent_span_id.hex(),
        depth=depth,
        name=span.name,
        service=span.service,
        instance=span.instance,
        kind=pb.SpanKind.ValueType(span.kind),
        start_time=timestamp(span.start_ns),
        duration=duration(span.duration_ns),
        status=pb.SpanStatus.ValueType(span.status),
        status_message=span.status_message,
        trace_state=span.trace_state,
        scope=span.scope,
        attributes=span.attributes,
        resource=span.resource,
        events=[
            pb.SpanEvent(time=timestamp(e.time_ns), name=e.name, attributes=e.attributes)
            for e in span.events
        ],
        links=[
            pb.SpanLink(trace_id=link.trace_id.hex(), span_id=link.span_id.hex())
            for link in span.links
        ],
        self_time=duration(spent.self_ns[span.span_id]),
        critical_time=duration(spent.critical_ns.get(span.span_id, 0)),
        clock_shift=duration(spent.shift_ns[span.span_id]),
    )


def timestamp(time_ns: int) -> timestamp_pb2.Timestamp:
    """Return Unix nanoseconds as a timestamp."""
    seconds, nanos = divmod(time_ns, 1_000_000_000)
    return timestamp_pb2.Timestamp(seconds=seconds, nanos=nanos)


def duration(length_ns: int) -> duration_pb2.Duration:
    """Return nanoseconds as a duration, which may be negative."""
    made = duration_pb2.Duration()
    made.FromNanoseconds(length_ns)
    return made
