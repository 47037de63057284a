"""OpenTelemetry's own exporters over HTTP, to the service, to the tables."""

import asyncio
import contextlib

import pytest
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from telemetry.app import serve
from telemetry.settings import Settings
from telemetry.store.model import LogQuery
from telemetry.store.reader import Reader
from telemetry.store.sessions import Sessions
from tests.contract.telemetry_intake.running import samples_of


RESOURCE = Resource({"service.name": "board", "service.instance.id": "7"})


@contextlib.asynccontextmanager
async def door(socket):
    """A TCP port that leads to a Unix socket: the exporters know no other way there."""

    async def carry(reader, writer):
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def lead(reader, writer):
        there, back = await asyncio.open_unix_connection(socket)
        await asyncio.gather(carry(reader, back), carry(there, writer))

    server = await asyncio.start_server(lead, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip])
async def test_all_signals_of_the_sdk_are_taken(tmp_path, ca, run_serve, compression):
    settings = Settings(state_dir=tmp_path / "state", http_unix_socket=tmp_path / "h")

    def export(url):
        reader = PeriodicExportingMetricReader(
            OTLPMetricExporter(endpoint=f"{url}/v1/metrics", compression=compression),
            export_interval_millis=60_000,
        )
        meters = MeterProvider([reader], RESOURCE)
        meters.get_meter("test").create_counter("board.views").add(3, {"gate": "A1"})
        meters.shutdown()
        spans = TracerProvider(resource=RESOURCE)
        spans.add_span_processor(
            SimpleSpanProcessor(
                OTLPSpanExporter(endpoint=f"{url}/v1/traces", compression=compression)
            )
        )
        with spans.get_tracer("scope").start_as_current_span("outer") as outer:
            trace_id = outer.get_span_context().trace_id
        spans.shutdown()
        logs = LoggerProvider(RESOURCE)
        logs.add_log_record_processor(
            SimpleLogRecordProcessor(
                OTLPLogExporter(endpoint=f"{url}/v1/logs", compression=compression)
            )
        )
        logs.get_logger("scope").emit(
            LogRecord(body="gate changed", severity_number=SeverityNumber.WARN)
        )
        logs.shutdown()
        return trace_id.to_bytes(16, "big")

    async with (
        run_serve(serve, settings, workload=ca.workload("telemetry")),
        door(settings.http_unix_socket) as url,
    ):
        trace_id = await asyncio.to_thread(export, url)

    async with Sessions.open(settings.state_dir / "store") as sessions:
        views = await samples_of(sessions, "board_views_total")
        (span,) = await Reader(sessions).trace(trace_id)
        (record,) = await Reader(sessions).search_logs(
            LogQuery(start_ns=0, end_ns=2**62, service="board")
        )
    assert [(dict(one)["gate"], values) for one, values in views.items()] == [("A1", [3.0])]
    assert (span.name, span.service, span.instance) == ("outer", "board", "7")
    assert (record.body, record.severity) == ("gate changed", 13)
