"""From OpenTelemetry's SDK through the whole service to an answer, over a restart."""

import asyncio
import json

import aiohttp
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from aerofusion.telemetry.v1 import query_service_pb2 as pb
from aerofusion.telemetry.v1 import query_service_pb2_grpc as pb_grpc
from telemetry.app import serve
from telemetry.settings import Settings


RESOURCE = Resource({"service.name": "board", "service.instance.id": "7"})


def arguments_of(ca, port):
    return {
        "endpoint": f"127.0.0.1:{port}",
        "credentials": ca.workload("notifier").channel_credentials(),
        "channel_options": (("grpc.ssl_target_name_override", "telemetry.aerofusion"),),
        "timeout": 60,
    }


def export_histogram(arguments):
    """Send a native histogram of four observations, one of them made in a trace."""
    reader = PeriodicExportingMetricReader(
        OTLPMetricExporter(**arguments), export_interval_millis=60_000
    )
    exponential = View(
        instrument_name="gate.wait", aggregation=ExponentialBucketHistogramAggregation()
    )
    meters = MeterProvider([reader], RESOURCE, views=[exponential])
    waits = meters.get_meter("test").create_histogram("gate.wait", unit="s")
    for seconds in (1.0, 2.0, 4.0):
        waits.record(seconds, {"gate": "A1"})
    tracers = TracerProvider(resource=RESOURCE)
    with tracers.get_tracer("scope").start_as_current_span("boarding") as span:
        trace_id = span.get_span_context().trace_id
        waits.record(100.0, {"gate": "A1"})
    meters.shutdown()
    return f"{trace_id:032x}"


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
        arguments = arguments_of(ca, port)
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


async def test_a_native_histogram_and_its_exemplar_are_answered(ca, run_serve, tmp_path):
    socket = tmp_path / "http.sock"
    settings = Settings(state_dir=tmp_path / "state", http_unix_socket=socket)
    async with run_serve(serve, settings, workload=ca.workload("telemetry")) as port:
        trace_id = await asyncio.to_thread(export_histogram, arguments_of(ca, port))

    async with (
        run_serve(serve, settings, workload=ca.workload("telemetry")),
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=str(socket))) as http,
    ):

        async def ask(path, query):
            url = f"http://local/api/v1/{path}"
            async with http.get(url, params={"query": query}) as response:
                body = await response.json()
            return body["data"]["result"] if path == "query" else body["data"]

        row = (await ask("query", 'gate_wait_seconds{job="board"}'))[0]
        assert row["metric"]["gate"] == "A1"
        shown = row["histogram"][1]
        assert (shown["count"], shown["sum"]) == ("4", "107")
        assert sum(float(count) for _, _, _, count in shown["buckets"]) == 4
        low, high = map(float, shown["buckets"][0][1:3])
        assert low < 1.0 <= high
        counted = await ask("query", "histogram_count(sum by (gate) (gate_wait_seconds))")
        assert counted[0]["value"][1] == "4"
        half = await ask("query", "histogram_quantile(0.4, gate_wait_seconds)")
        assert 1.8 < float(half[0]["value"][1]) < 2.2
        found = await ask("query_exemplars", "rate(gate_wait_seconds[5m])")
        assert found[0]["seriesLabels"]["__name__"] == "gate_wait_seconds"
        assert found[0]["exemplars"][0]["value"] == "100"
        assert found[0]["exemplars"][0]["labels"]["trace_id"] == trace_id
