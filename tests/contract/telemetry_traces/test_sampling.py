"""With a budget of spans, odd traces stay and ordinary ones stand for others."""

import asyncio
from datetime import timedelta

from google.protobuf.timestamp_pb2 import Timestamp
from opentelemetry.trace import SpanKind

from aerofusion.telemetry.v1 import trace_service_pb2 as pb
from aerofusion.telemetry.v1 import trace_service_pb2_grpc as pb_grpc
from telemetry.app import serve
from telemetry.settings import Settings
from tests.contract.telemetry_traces.sending import NOW_NS, services, until
from tests.fixtures.serving import running


WITHIN_S = 50


def send(ca, port, batch):
    """20 ordinary traces and one that went wrong in a child; returns the odd one's id."""
    with services(ca, port, "busy") as (busy,):
        for n in range(20):
            busy.span("ordinary", n, 1, kind=SpanKind.SERVER, batch=batch)
        root = busy.begin("odd", 30, kind=SpanKind.SERVER)
        busy.span("child", 30, 1, root, error=True)
        busy.end(root, 31)
        return root.trace_id


def asking(text):
    return pb.SearchTracesRequest(
        filter=text,
        start_time=Timestamp(seconds=NOW_NS // 10**9),
        end_time=Timestamp(seconds=NOW_NS // 10**9 + 60),
        page_size=200,
    )


async def test_odd_traces_stay_and_ordinary_ones_have_honest_weights(ca, tmp_path):
    settings = Settings(
        state_dir=tmp_path / "state",
        trace_spans_per_second=1.0,
        segment_age=timedelta(milliseconds=50),
    )
    odd, found = set(), []
    async with (
        running(serve, settings, workload=ca.workload("telemetry")) as port,
        ca.workload("operator").channel(f"127.0.0.1:{port}", service="telemetry") as channel,
        asyncio.timeout(WITHIN_S),
    ):
        stub = pb_grpc.TraceServiceStub(channel)
        # Of the first eight batches, all 160 would fit into one page.
        while len(odd) < 8 or len(found) == 160 or all(one.weight == 1 for one in found):
            odd.add(await asyncio.to_thread(send, ca, port, len(odd)))
            answer = await stub.SearchTraces(asking("{name=ordinary} | batch<8"))
            found = answer.traces
        answer = await until(
            lambda: stub.SearchTraces(asking("{name=odd}")),
            lambda answer: sum(one.spans for one in answer.traces) == 2 * len(odd),
        )
        assert {one.trace_id for one in answer.traces} == odd
        assert {one.weight for one in answer.traces} == {1.0}
