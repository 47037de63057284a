"""With a budget of spans, odd traces stay and ordinary ones stand for others."""

import asyncio
import contextlib
import itertools
from datetime import timedelta

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from opentelemetry.trace import SpanKind

from aerofusion.telemetry.v1 import trace_service_pb2 as pb
from aerofusion.telemetry.v1 import trace_service_pb2_grpc as pb_grpc
from telemetry.app import serve
from telemetry.settings import Settings
from tests.contract.telemetry_traces.sending import NOW_NS, services, until
from tests.fixtures.serving import running


WITHIN_S = 100
ODD = 8
FIRST = 40
"""A batch that is decided on by a share that follows what came before."""

WINDOWS = 20

pytestmark = pytest.mark.timeout(150)


def send(busy, batch):
    """20 ordinary traces, and at first one that went wrong in a child; returns the odd one's id."""
    for n in range(20):
        busy.span("ordinary", n, 1, kind=SpanKind.SERVER, batch=batch)
    odd = None
    if batch < ODD:
        root = busy.begin("odd", 30, kind=SpanKind.SERVER)
        busy.span("child", 30, 1, root, error=True)
        busy.end(root, 31)
        odd = root.trace_id
    busy.send()
    return odd


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
        trace_spans_per_second=10.0,
        segment_age=timedelta(milliseconds=50),
    )
    odd, found, batches = set(), [], itertools.count()
    async with (
        contextlib.AsyncExitStack() as stack,
        running(serve, settings, workload=ca.workload("telemetry")) as port,
        ca.workload("operator").channel(f"127.0.0.1:{port}", service="telemetry") as channel,
        asyncio.timeout(WITHIN_S),
    ):
        stub = pb_grpc.TraceServiceStub(channel)
        (busy,) = stack.enter_context(services(ca, port, "busy", together=True))
        # Eight batches are 160 traces, and fit into one page.
        while len(found) in (0, 160) or all(one.weight == 1 for one in found):
            batch = next(batches)
            odd.add(await asyncio.to_thread(send, busy, batch))
            first = FIRST + 8 * (batch % WINDOWS)
            if first + 8 < batch:
                text = f"{{name=ordinary}} | batch>={first} | batch<{first + 8}"
                found = (await stub.SearchTraces(asking(text))).traces
        odd.discard(None)
        answer = await until(
            lambda: stub.SearchTraces(asking("{name=odd}")),
            lambda answer: sum(one.spans for one in answer.traces) == 2 * len(odd),
        )
        assert {one.trace_id for one in answer.traces} == odd
        assert {one.weight for one in answer.traces} == {1.0}
