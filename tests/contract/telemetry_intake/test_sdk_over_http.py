"""OpenTelemetry's own exporters over HTTP, to the service, to the tables."""

import asyncio
import contextlib

import pytest
import pytest_asyncio
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

from telemetry.settings import Settings
from telemetry.store.model import LogQuery
from tests.contract.telemetry_intake.running import served


pytestmark = pytest.mark.asyncio(loop_scope="module")


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


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(ca, tmp_path_factory):
    """The service, and the address of a door to it."""
    folder = tmp_path_factory.mktemp("telemetry")
    settings = Settings(state_dir=folder / "state", http_unix_socket=folder / "h")
    async with served(settings, ca) as service, door(settings.http_unix_socket) as url:
        yield service, url


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip])
async def test_all_signals_of_the_sdk_are_taken(service, compression):
    board = f"board-{compression.name}"
    resource = Resource({"service.name": board, "service.instance.id": "7"})

    def export(url):
        reader = PeriodicExportingMetricReader(
            OTLPMetricExporter(endpoint=f"{url}/v1/metrics", compression=compression),
            export_interval_millis=60_000,
        )
        meters = MeterProvider([reader], resource)
        meters.get_meter("test").create_counter("board.views").add(3, {"gate": "A1"})
        meters.shutdown()
        spans = TracerProvider(resource=resource)
        spans.add_span_processor(
            SimpleSpanProcessor(
                OTLPSpanExporter(endpoint=f"{url}/v1/traces", compression=compression)
            )
        )
        with spans.get_tracer("scope").start_as_current_span("outer") as outer:
            trace_id = outer.get_span_context().trace_id
        spans.shutdown()
        logs = LoggerProvider(resource)
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

    trace_id = await asyncio.to_thread(export, service[1])

    reader = await service[0].reader()
    views = await service[0].samples("board_views_total")
    (span,) = await reader.trace(trace_id)
    (record,) = await reader.search_logs(LogQuery(start_ns=0, end_ns=2**62, service=board))
    gates = {dict(one)["gate"]: values for one, values in views.items() if ("job", board) in one}
    assert gates == {"A1": [3.0]}
    assert (span.name, span.service, span.instance) == ("outer", board, "7")
    assert (record.body, record.severity) == ("gate changed", 13)
