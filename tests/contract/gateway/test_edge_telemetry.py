"""What the edge tells telemetry of a request: a span in the caller's trace and a log record."""

import asyncio

import grpc
import pytest
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from tests.fixtures.echo import EchoMessage, EchoStub
from tests.fixtures.edge import bearer, edge


TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT_ID = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE_ID}-{PARENT_ID}-01"
WITHIN_S = 20


class Collector:
    """Takes OTLP in and keeps it."""

    def __init__(self, workload):
        self.spans, self.logs = asyncio.Queue(), asyncio.Queue()
        self.port = 0
        self.server = grpc.aio.server()
        for signal, service, module, queue in (
            ("trace", "TraceService", trace_service_pb2, self.spans),
            ("logs", "LogsService", logs_service_pb2, self.logs),
        ):
            name = f"opentelemetry.proto.collector.{signal}.v1.{service}"
            prefix = f"Export{service}"
            handler = grpc.unary_unary_rpc_method_handler(
                self._keeping(queue, getattr(module, f"{prefix}Response")),
                request_deserializer=getattr(module, f"{prefix}Request").FromString,
                response_serializer=lambda response: response.SerializeToString(),
            )
            self.server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler(name, {"Export": handler}),)
            )
        self.credentials = workload.server_credentials()

    def _keeping(self, queue, response):
        async def export(request, _):
            queue.put_nowait(request)
            return response()

        return export

    async def __aenter__(self):
        self.port = self.server.add_secure_port("127.0.0.1:0", self.credentials)
        await self.server.start()
        return self

    async def __aexit__(self, *_):
        await self.server.stop(0)


def text_of(attributes):
    return {one.key: one.value.string_value for one in attributes}


@pytest.fixture
async def mesh(postgres):
    async with edge(postgres) as made:
        await made.put_service("echo", await made.echo())
        yield made


async def test_a_request_leaves_spans_in_its_trace_and_a_log_record(mesh):
    async with Collector(await mesh.workload("telemetry")) as collector:
        nothing = {"grpc_services": [], "json_prefixes": [], "descriptor_set": b""}
        await mesh.put_service("telemetry", collector, **{**nothing, "identity": "telemetry"})
        await mesh.settled()
        metadata = (*bearer(await mesh.token()), ("traceparent", TRACEPARENT))
        async with mesh.channel() as channel, asyncio.timeout(WITHIN_S):
            answer = await EchoStub(channel).Echo(EchoMessage(text="x"), metadata=metadata)
            told = dict(header.split("=", 1) for header in answer.headers)
            assert told["traceparent"].split("-")[1] == TRACE_ID
            logs = await collector.logs.get()
            spans = await collector.spans.get()
    (record,) = logs.resource_logs[0].scope_logs[0].log_records
    attributes = text_of(record.attributes)
    assert text_of(logs.resource_logs[0].resource.attributes)["service.name"] == "edge"
    assert attributes["url.path"] == "/test.echo.v1.EchoService/Echo"
    assert attributes["subject"] == "passengers/p1"
    assert attributes["cluster"] == "services/echo"
    assert "trace_id" not in attributes, "the record itself has it"
    assert "issuer" not in attributes, "what has no value is no attribute"
    assert record.trace_id.hex() == TRACE_ID
    found = spans.resource_spans[0].scope_spans[0].spans
    assert {span.trace_id.hex() for span in found} == {TRACE_ID}
    by_id = {span.span_id.hex(): span for span in found}
    # The upstream's parent is the edge's client span, whose parent is the edge's server span.
    client = by_id[told["traceparent"].split("-")[2]]
    server = by_id[client.parent_span_id.hex()]
    assert server.parent_span_id.hex() == PARENT_ID
    assert text_of(spans.resource_spans[0].resource.attributes)["service.name"] == "edge"


@pytest.mark.parametrize("begun", [None, TRACEPARENT.removesuffix("1") + "0"])
async def test_a_trace_that_is_not_kept_is_told_to_the_service_and_leaves_no_span(postgres, begun):
    async with edge(postgres, edge_trace_sampling=0.0) as mesh:
        await mesh.put_service("echo", await mesh.echo())
        async with Collector(await mesh.workload("telemetry")) as collector:
            nothing = {"grpc_services": [], "json_prefixes": [], "descriptor_set": b""}
            await mesh.put_service("telemetry", collector, **{**nothing, "identity": "telemetry"})
            await mesh.settled()
            metadata = bearer(await mesh.token())
            traces = (("x-client-trace-id", "x"), *((("traceparent", begun),) if begun else ()))
            async with mesh.channel() as channel, asyncio.timeout(WITHIN_S):
                stub = EchoStub(channel)
                answer = await stub.Echo(EchoMessage(text="x"), metadata=(*metadata, *traces))
                told = dict(header.split("=", 1) for header in answer.headers)
                # One that is kept comes after it: what would be told of the first is told by then.
                kept = (*metadata, ("traceparent", TRACEPARENT.replace(TRACE_ID[:4], "feed")))
                await stub.Echo(EchoMessage(text="x"), metadata=kept)
                spans = await collector.spans.get()
    trace_id, flags = told["traceparent"].split("-")[1::2]
    assert flags == "00"
    assert begun is None or trace_id == TRACE_ID
    assert "x-client-trace-id" not in told
    found = {one.trace_id.hex()[:4] for one in spans.resource_spans[0].scope_spans[0].spans}
    assert found == {"feed"}
