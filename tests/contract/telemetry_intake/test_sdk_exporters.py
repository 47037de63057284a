"""OpenTelemetry's own exporters, over mutual TLS, to the one service there is, to the tables."""

import asyncio
import time

import grpc
import pytest
import pytest_asyncio
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode

from telemetry.intake.service import METHODS
from telemetry.scan.shapes import Signal
from telemetry.settings import Settings
from telemetry.store.model import LogQuery, Matcher, MatchOp
from tests.contract.telemetry_intake import otlp_requests
from tests.contract.telemetry_intake.running import served


pytestmark = pytest.mark.asyncio(loop_scope="module")
RESOURCE = Resource({"service.name": "board", "service.instance.id": "7", "host.name": "h"})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(ca, tmp_path_factory):
    settings = Settings(state_dir=tmp_path_factory.mktemp("telemetry") / "state")
    async with served(settings, ca) as service:
        yield service


@pytest.fixture
def exporting(ca):
    """Arguments that make an SDK exporter call as the notifier."""

    def arguments(port, service="notifier"):
        workload = ca.workload(service)
        return {
            "endpoint": f"127.0.0.1:{port}",
            "credentials": workload.channel_credentials(),
            "channel_options": (("grpc.ssl_target_name_override", "telemetry.aerofusion"),),
            "compression": grpc.Compression.Gzip,
            "timeout": 30,
        }

    return arguments


async def test_metrics_of_the_sdk_become_series_with_prometheus_names(service, exporting):
    def export(port):
        reader = PeriodicExportingMetricReader(
            OTLPMetricExporter(**exporting(port)), export_interval_millis=60_000
        )
        provider = MeterProvider([reader], RESOURCE)
        meter = provider.get_meter("test")
        meter.create_counter("board.views", unit="{view}").add(3, {"gate": "A1"})
        meter.create_histogram(
            "board.render", unit="s", explicit_bucket_boundaries_advisory=[0.1, 1]
        ).record(0.5)
        meter.create_up_down_counter("board.open").add(-2)
        provider.shutdown()

    await asyncio.to_thread(export, service.port)

    async def read(reader):
        series = await reader.select_series([Matcher(label="job", op=MatchOp.EQUAL, value="board")])
        samples = await reader.read_samples(series, start_ms=0, end_ms=2**50)
        ends = samples.offsets[1:] - 1
        return {
            one.labels: float(samples.values[end]) for one, end in zip(series, ends, strict=True)
        }

    seen = await read(await service.reader())

    def labels(name, **more):
        return tuple(sorted({"__name__": name, "job": "board", "instance": "7", **more}.items()))

    assert seen == {
        labels("board_views_total", gate="A1"): 3.0,
        labels("board_render_seconds_bucket", le="0.1"): 0.0,
        labels("board_render_seconds_bucket", le="1"): 1.0,
        labels("board_render_seconds_bucket", le="+Inf"): 1.0,
        labels("board_render_seconds_count"): 1.0,
        labels("board_render_seconds_sum"): 0.5,
        labels("board_open"): -2.0,
    }


async def test_spans_of_the_sdk_come_back_as_one_trace(service, exporting):
    def export(port):
        provider = TracerProvider(resource=RESOURCE)
        provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(**exporting(port))))
        tracer = provider.get_tracer("scope")
        with tracer.start_as_current_span(
            "outer", kind=SpanKind.SERVER, attributes={"n": 1, "ok": True, "x": 0.5}
        ) as outer:
            with tracer.start_as_current_span("inner") as inner:
                inner.add_event("thought", {"of": "gates"})
                inner.set_status(Status(StatusCode.ERROR, "lost"))
            trace_id = outer.get_span_context().trace_id
        provider.shutdown()
        return trace_id.to_bytes(16, "big")

    trace_id = await asyncio.to_thread(export, service.port)

    spans = await (await service.reader()).trace(trace_id)

    outer, inner = sorted(spans, key=lambda span: span.parent_span_id)
    assert (outer.name, outer.service, outer.instance, outer.kind) == ("outer", "board", "7", 2)
    assert outer.attributes == {"n": "1", "ok": "true", "x": "0.5"}
    assert outer.resource["host.name"] == "h"
    assert (inner.parent_span_id, inner.scope) == (outer.span_id, "scope")
    assert (inner.status, inner.status_message) == (2, "lost")
    assert [(event.name, event.attributes) for event in inner.events] == [
        ("thought", {"of": "gates"})
    ]
    assert outer.duration_ns >= inner.duration_ns > 0


async def test_logs_of_the_sdk_are_found_by_text_severity_and_attribute(service, exporting):
    now = time.time_ns()

    def export(port):
        provider = LoggerProvider(resource=RESOURCE)
        exporter = OTLPLogExporter(**exporting(port))
        provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
        logger = provider.get_logger("scope")
        for number, severity in ((1, SeverityNumber.INFO), (2, SeverityNumber.ERROR)):
            logger.emit(
                LogRecord(
                    timestamp=now + number,
                    severity_number=severity,
                    severity_text=severity.name,
                    body=f"Gate {number} isn't open: 100% 'late'",
                    attributes={"gate": f"A{number}"},
                )
            )
        provider.shutdown()

    await asyncio.to_thread(export, service.port)

    async def read(reader):
        def query(**conditions):
            return LogQuery(start_ns=now - 10**9, end_ns=now + 10**9, service="board", **conditions)

        return [
            [record.body[:6] for record in await reader.search_logs(query(**conditions))]
            for conditions in (
                {},
                {"text": "ISN'T open: 100% 'l"},
                {"severity_min": 17},
                {"attributes": {"gate": "A1", "host.name": "h"}},
                {"text": "no such"},
            )
        ]

    both, text, errors, gate, none = await read(await service.reader())

    assert both == text == ["Gate 2", "Gate 1"]
    assert errors == ["Gate 2"]
    assert gate == ["Gate 1"]
    assert none == []


async def test_a_service_nobody_named_may_not_send(service, ca):
    address = f"127.0.0.1:{service.port}"
    async with ca.workload("stranger").channel(address, service="telemetry") as channel:
        export = channel.unary_unary("/opentelemetry.proto.collector.logs.v1.LogsService/Export")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await export(b"", timeout=30)

    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_bytes_that_are_no_otlp_are_refused_for_good(service, ca):
    address = f"127.0.0.1:{service.port}"
    async with ca.workload("edge").channel(address, service="telemetry") as channel:
        export = channel.unary_unary(METHODS[Signal.METRICS])
        empty = await export(b"", timeout=30)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await export(b"\x0a\xff", timeout=30)

    assert empty == b""
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_points_that_are_refused_are_counted_to_their_sender(service, ca):
    address = f"127.0.0.1:{service.port}"
    async with ca.workload("edge").channel(address, service="telemetry") as channel:
        answer = await channel.unary_unary(METHODS[Signal.METRICS])(
            otlp_requests.metrics(time.time_ns()), timeout=5
        )

    told = ExportMetricsServiceResponse.FromString(answer).partial_success
    assert told.rejected_data_points == 6
    assert "1 TEMPORALITY" in told.error_message
