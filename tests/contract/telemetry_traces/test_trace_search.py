"""Traces sent by the SDK are found by what their spans are, and explained."""

import asyncio

import grpc
import pytest
import pytest_asyncio
from google.protobuf.timestamp_pb2 import Timestamp
from opentelemetry.trace import SpanKind

from aerofusion.telemetry.v1 import query_service_pb2 as query_pb
from aerofusion.telemetry.v1 import query_service_pb2_grpc as query_grpc
from aerofusion.telemetry.v1 import trace_service_pb2 as pb
from aerofusion.telemetry.v1 import trace_service_pb2_grpc as pb_grpc
from meshkit.status import from_rpc_error
from tests.contract.telemetry_traces.sending import NOW_NS, services, until


pytestmark = pytest.mark.asyncio(loop_scope="module")


def at(nanoseconds):
    seconds, nanos = divmod(nanoseconds, 1_000_000_000)
    return Timestamp(seconds=seconds, nanos=nanos)


def send(ca, port):
    """25 traces, a second apart, of two services; returns their ids, the oldest first."""
    ids = []
    with services(ca, port, "edge", "shop") as (edge, shop):
        for i in range(25):
            start = i * 1000
            root = edge.begin(
                "GET /cart", start, kind=SpanKind.SERVER, http__response__status_code=200 + i,
                user=f"u{i % 3}", tags=["a", str(i)],
            )  # fmt: skip
            call = edge.begin("shop.Cart/Get", start + 5, root, kind=SpanKind.CLIENT)
            shop.span(
                "shop.Cart/Get",
                start + 10,
                20 + 10 * i,
                call,
                kind=SpanKind.SERVER,
                error=i % 5 == 0,
            )
            edge.end(call, start + 40 + 10 * i)
            edge.end(root, start + 50 + 10 * i)
            ids.append(root.trace_id)
    return ids


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sent(ca, port, channel):
    ids = await asyncio.to_thread(send, ca, port)
    stub = pb_grpc.TraceServiceStub(channel)
    await until(
        lambda: stub.SearchTraces(asking('{name="GET /cart"}')),
        lambda answer: len(answer.traces) == 25,
    )
    return ids


@pytest.fixture
def traces(channel):
    return pb_grpc.TraceServiceStub(channel)


def asking(text, **more):
    asked = {"start_time": at(NOW_NS), "end_time": at(NOW_NS + 60_000_000_000), "page_size": 200}
    return pb.SearchTracesRequest(filter=text, **{**asked, **more})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", range(25)),
        ('{service="shop", status="error"}', range(0, 25, 5)),
        ('{service="shop"} | status=error', range(0, 25, 5)),
        ("{service=edge} | kind=client and duration >= 245ms", range(21, 25)),
        ("| http.response.status_code >= 220", range(20, 25)),
        ('| http.response.status_code = "203" or http.response.status_code < 202', (0, 1, 3)),
        ("| user=u1", range(1, 25, 3)),
        ("{service=edge,kind=server} | user != u1", [i for i in range(25) if i % 3 != 1]),
        ('| user =~ "u[12]", duration > 200ms', [i for i in range(16, 25) if i % 3]),
        ('| tags = "[\\"a\\",\\"7\\"]"', [7]),
        ("| resource.service.name = shop and status = ok", []),
        ('{name=~"shop.*"} | (status=error or duration<45ms) and service=shop', (0, 1, 2, 5, 10, 15, 20)),
    ],
)  # fmt: skip
async def test_traces_are_found_by_what_one_of_their_spans_is(traces, sent, text, found):
    answer = await traces.SearchTraces(asking(text))
    numbers = [sent.index(one.trace_id) for one in answer.traces]
    assert numbers == sorted(found, reverse=True)
    assert answer.next_page_token == ""


async def test_a_found_trace_is_told_in_short(traces, sent):
    (one,) = (await traces.SearchTraces(asking("{service=shop} | duration = 260ms"))).traces
    assert (one.trace_id, one.root_service, one.root_name) == (sent[24], "edge", "GET /cart")
    assert one.start_time == at(NOW_NS + 24_000_000_000)
    assert one.duration.ToMilliseconds() == 290
    assert (one.spans, one.errors, list(one.services)) == (3, 0, ["edge", "shop"])
    assert (one.matched_spans, one.matched_duration.ToMilliseconds()) == (1, 260)
    (bad, *_) = (await traces.SearchTraces(asking("| status=error"))).traces
    assert (bad.errors, bad.matched_status) == (1, query_pb.SPAN_STATUS_ERROR)


async def test_pages_hold_each_trace_once(traces, sent):
    found, token = [], ""
    while True:
        page = await traces.SearchTraces(asking("", page_size=7, page_token=token))
        found += [one.trace_id for one in page.traces]
        token = page.next_page_token
        if not token:
            break
    assert found == sent[::-1]


async def test_a_window_has_only_spans_that_began_in_it(traces, sent):
    window = {"start_time": at(NOW_NS + 3_000_000_000), "end_time": at(NOW_NS + 5_000_000_000)}
    answer = await traces.SearchTraces(asking("{kind=server,service=edge}", **window))
    assert [one.trace_id for one in answer.traces] == [sent[4], sent[3]]
    assert [one.spans for one in answer.traces] == [3, 3]


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("{service=", 9),
        ('|= "text"', 0),
        ("| duration > 5", 13),
        ("| status = broken", 11),
        ('| name =~ "("', 10),
        ('| user > "x"', 9),
        ('| user = "x', 9),
        ("| ((((((((((((((((( user = x", 20),
    ],
)
async def test_what_cannot_be_read_is_refused_with_its_position(traces, text, position):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await traces.SearchTraces(asking(text))
    error = from_rpc_error(caught.value)
    assert error.reason == "FILTER_INVALID"
    assert error.metadata["position"] == str(position)


async def test_a_page_token_of_another_question_is_refused(traces, sent):
    page = await traces.SearchTraces(asking("", page_size=1))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await traces.SearchTraces(asking("{service=edge}", page_token=page.next_page_token))
    assert from_rpc_error(caught.value).reason == "INVALID_PAGE_TOKEN"


async def test_a_trace_says_what_its_time_went_into(channel, sent):
    stub = query_grpc.QueryServiceStub(channel)
    trace = await stub.GetTrace(query_pb.GetTraceRequest(trace_id=sent[2]))
    names = {one.span_id: (one.service, one.name) for one in trace.spans}
    assert [(names[one.span_id], one.duration.ToMilliseconds()) for one in trace.critical_path] == [
        (("edge", "GET /cart"), 5),
        (("edge", "shop.Cart/Get"), 5),
        (("shop", "shop.Cart/Get"), 40),
        (("edge", "shop.Cart/Get"), 10),
        (("edge", "GET /cart"), 10),
    ]
    assert [one.self_time.ToMilliseconds() for one in trace.spans] == [15, 15, 40]
    assert [one.critical_time.ToMilliseconds() for one in trace.spans] == [15, 15, 40]
    assert trace.spans[0].attributes["tags"] == '["a","2"]'
