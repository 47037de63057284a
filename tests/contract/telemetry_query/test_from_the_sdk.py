"""From OpenTelemetry's SDK through the whole service to an answer, over a restart."""

import asyncio
import json

import aiohttp
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from aerofusion.telemetry.v1 import query_service_pb2 as pb
from aerofusion.telemetry.v1 import query_service_pb2_grpc as pb_grpc
from telemetry.app import serve
from telemetry.settings import Settings


RESOURCE = Resource({"service.name": "board", "service.instance.id": "7"})


def export(arguments):
    reader = PeriodicExportingMetricReader(
        OTLPMetricExporter(**arguments), export_interval_millis=60_000
    )
    meters = MeterProvider([reader], RESOURCE)
    meters.get_meter("test").create_counter("board.views").add(3, {"gate": "A1"})
    meters.shutdown()
    tracers = TracerProvider(resource=RESOURCE)
    tracers.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(**arguments)))
    tracer = tracers.get_tracer("scope")
    with (
        tracer.start_as_current_span("outer") as outer,
        tracer.start_as_current_span("inner"),
    ):
        trace_id = outer.get_span_context().trace_id
    tracers.shutdown()
    return f"{trace_id:032x}"


async def test_what_the_sdk_sends_is_answered_after_a_restart(ca, run_serve, tmp_path):
    socket = tmp_path / "http.sock"
    settings = Settings(state_dir=tmp_path / "state", http_unix_socket=socket)
    async with run_serve(serve, settings, workload=ca.workload("telemetry")) as port:
        arguments = {
            "endpoint": f"127.0.0.1:{port}",
            "credentials": ca.workload("notifier").channel_credentials(),
            "channel_options": (("grpc.ssl_target_name_override", "telemetry.aerofusion"),),
            "timeout": 5,
        }
        trace_id = await asyncio.to_thread(export, arguments)

    async with (
        run_serve(serve, settings, workload=ca.workload("telemetry")) as port,
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=str(socket))) as http,
        ca.workload("operator").channel(f"127.0.0.1:{port}", service="telemetry") as channel,
    ):
        asked = {"query": 'sum by (gate) (board_views_total{job="board"})'}
        async with http.get("http://local/api/v1/query", params=asked) as response:
            body = json.loads(await response.text())
        assert [row["metric"] for row in body["data"]["result"]] == [{"gate": "A1"}]
        assert body["data"]["result"][0]["value"][1] == "3"
        stub = pb_grpc.QueryServiceStub(channel)
        trace = await stub.GetTrace(pb.GetTraceRequest(trace_id=trace_id))
        assert [(span.depth, span.name) for span in trace.spans] == [(0, "outer"), (1, "inner")]
