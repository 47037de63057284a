"""The gRPC service, through a real server with mutual TLS, over a real store."""

import math

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from aerofusion.telemetry.v1 import query_service_pb2 as pb
from aerofusion.telemetry.v1 import query_service_pb2_grpc as pb_grpc
from meshkit.errors import InvalidInput, NotFound
from meshkit.status import from_rpc_error
from tests.contract.telemetry_query.known import BASE_MS, SAMPLES, TRACE


pytestmark = pytest.mark.asyncio(loop_scope="module")
END_MS = BASE_MS + 15_000 * (SAMPLES - 1)


def at(ms):
    return Timestamp(seconds=ms // 1000, nanos=ms % 1000 * 1_000_000)


async def refused(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


async def test_an_instant_query_returns_columns(operator):
    answer = await operator.QueryInstant(
        pb.QueryInstantRequest(query="sum by (job) (calls_total)", time=at(END_MS))
    )
    assert answer.result_type == pb.RESULT_TYPE_VECTOR
    found = {one.labels["job"]: list(one.values) for one in answer.series}
    assert found == {"edge": [1800.0], "syncd": [1800.0]}
    assert answer.notes.samples_touched > 0


async def test_a_range_query_returns_columns_of_equal_length(operator):
    answer = await operator.QueryRange(
        pb.QueryRangeRequest(
            query="temperature",
            start_time=at(BASE_MS),
            end_time=at(BASE_MS + 30_000),
            step=Duration(seconds=15),
        )
    )
    (one,) = answer.series
    assert list(one.timestamps_ms) == [BASE_MS, BASE_MS + 15_000, BASE_MS + 30_000]
    assert one.values[0] == 20.0
    assert math.isnan(one.values[1])
    assert one.values[2] == 20.5


async def test_a_text_is_returned_as_one(operator):
    answer = await operator.QueryInstant(pb.QueryInstantRequest(query='"hello"'))
    assert (answer.result_type, answer.text) == (pb.RESULT_TYPE_STRING, "hello")


async def test_a_query_that_can_never_succeed_is_the_callers_fault(operator):
    error = await refused(operator.QueryInstant(pb.QueryInstantRequest(query="sum(")))
    assert isinstance(error, InvalidInput)
    assert error.reason == "QUERY_INVALID"
    error = await refused(operator.QueryInstant(pb.QueryInstantRequest()))
    assert error.reason == "INVALID_FIELD"
    error = await refused(
        operator.QueryRange(
            pb.QueryRangeRequest(
                query="up", start_time=at(0), end_time=at(11_000_000), step=Duration(seconds=1)
            )
        )
    )
    assert error.reason == "QUERY_TOO_LARGE"


async def test_series_come_in_pages(operator):
    first = await operator.ListSeries(pb.ListSeriesRequest(selectors=["calls_total"], page_size=2))
    second = await operator.ListSeries(
        pb.ListSeriesRequest(
            selectors=["calls_total"], page_size=2, page_token=first.next_page_token
        )
    )
    methods = [(s.labels["job"], s.labels["method"]) for s in [*first.series, *second.series]]
    assert methods == [("edge", "GET"), ("edge", "PUT"), ("syncd", "GET")]
    assert second.next_page_token == ""


async def test_labels_and_their_values_are_listed(operator):
    labels = await operator.ListLabels(pb.ListLabelsRequest(selectors=["temperature"]))
    assert list(labels.labels) == ["__name__", "gate", "job"]
    values = await operator.ListLabelValues(pb.ListLabelValuesRequest(label="job"))
    assert list(values.values) == ["edge", "syncd"]


async def test_a_page_token_of_another_question_is_refused(operator):
    page = await operator.ListLabels(pb.ListLabelsRequest(page_size=1))
    error = await refused(
        operator.ListLabels(
            pb.ListLabelsRequest(selectors=["up"], page_size=1, page_token=page.next_page_token)
        )
    )
    assert error.reason == "INVALID_PAGE_TOKEN"


def logs(**more):
    return pb.SearchLogsRequest(start_time=at(BASE_MS), end_time=at(BASE_MS + 60_000), **more)


async def test_logs_are_found_newest_first_page_by_page_none_twice(operator):
    bodies, token = [], ""
    while True:
        page = await operator.SearchLogs(logs(page_size=7, page_token=token))
        bodies += [entry.body for entry in page.entries]
        token = page.next_page_token
        if not token:
            break
    assert len(bodies) == 50
    assert set(bodies) == {f"Call {i}" for i in range(50)}
    seconds = [int(body.split()[1]) // 2 for body in bodies]
    assert seconds == sorted(seconds, reverse=True)


async def test_logs_are_found_by_text_severity_attribute_and_trace(operator):
    async def found(**more):
        page = await operator.SearchLogs(logs(**more))
        return [entry.body for entry in page.entries]

    assert await found(text="call 4", attributes={"n": "4"}) == ["Call 4"]
    assert len(await found(severity_at_least=pb.LOG_SEVERITY_ERROR)) == 5
    assert len(await found(trace_id=TRACE, attributes={"host.name": "h"})) == 50
    assert await found(service="nobody") == []
    assert await found(text="' OR 1=1 --") == []


def counting(**more):
    return pb.CountLogsRequest(
        start_time=at(BASE_MS), end_time=at(BASE_MS + 60_000), service="edge", **more
    )


async def test_logs_are_counted_by_attributes_the_largest_groups_first(operator):
    tens = pb.LogCondition(attribute="n", prefixes=["1", "4"], values=["0"])
    answer = await operator.CountLogs(counting(conditions=[tens], group_by=["n"], page_size=2))
    assert [(list(one.values), one.records) for one in answer.counts] == [(["0"], 1), (["1"], 1)]
    assert answer.groups == 1 + 11 + 11
    others = pb.LogCondition(attribute="n", prefixes=["1", "4"], values=["0"], negated=True)
    (all_others,) = (await operator.CountLogs(counting(conditions=[others]))).counts
    assert all_others.records == 50 - 23
    few = pb.LogCondition(attribute="n", prefixes=["1"])
    (one,) = (await operator.CountLogs(counting(apart=few))).counts
    assert (one.records, one.apart) == (50, 11)
    (lacking,) = (await operator.CountLogs(counting(group_by=["lacking"]))).counts
    assert (list(lacking.values), lacking.records) == ([""], 50)
    assert lacking.first_time == at(BASE_MS)
    assert lacking.last_time == at(BASE_MS + 24_000)


async def test_logs_are_counted_in_intervals(operator):
    answer = await operator.CountLogs(counting(interval=Duration(seconds=10)))
    found = {one.interval_start_time.ToMilliseconds(): one.records for one in answer.counts}
    assert sum(found.values()) == 50
    assert all(start % 10_000 == 0 for start in found)
    assert 20 in found.values()


async def test_logs_that_nobody_can_count_are_refused(operator):
    for field, request in {
        "interval": counting(interval=Duration(nanos=1)),
        "group_by": counting(group_by=["n"] * 17),
        "conditions": counting(conditions=[pb.LogCondition(attribute="n", values=["x"] * 1001)]),
        "conditions[0].attribute": counting(conditions=[pb.LogCondition(values=["x"])]),
        "apart.attribute": counting(apart=pb.LogCondition()),
    }.items():
        error = await refused(operator.CountLogs(request))
        assert (error.reason, list(error.field_violations)) == ("INVALID_FIELD", [field])
    nothing = pb.LogCondition(attribute="n", values=["' OR 1=1 --"])
    assert not (await operator.CountLogs(counting(conditions=[nothing]))).counts
    unmet = pb.LogCondition(attribute="n")
    assert (await operator.CountLogs(counting(conditions=[unmet]))).groups == 0


async def test_a_trace_is_a_tree_of_its_spans(operator):
    trace = await operator.GetTrace(pb.GetTraceRequest(trace_id=TRACE))
    assert [(s.depth, s.service, s.name) for s in trace.spans] == [
        (0, "edge", "ingress"),
        (1, "notifier", "Create"),
        (2, "notifier", "send"),
    ]
    assert list(trace.services) == ["edge", "notifier"]
    assert trace.duration.ToMilliseconds() == 5
    assert trace.spans[2].kind == pb.SPAN_KIND_CLIENT
    assert trace.spans[0].status == pb.SPAN_STATUS_ERROR
    assert trace.spans[1].parent_span_id == trace.spans[0].span_id


async def test_an_unknown_or_malformed_trace_id_is_told_apart(operator):
    error = await refused(operator.GetTrace(pb.GetTraceRequest(trace_id="f" * 32)))
    assert isinstance(error, NotFound)
    assert error.reason == "TRACE_NOT_FOUND"
    error = await refused(operator.GetTrace(pb.GetTraceRequest(trace_id="x")))
    assert error.reason == "INVALID_FIELD"


async def test_another_service_may_not_ask(asking, ca):
    async with ca.workload("notifier").channel(
        f"127.0.0.1:{asking.grpc_port}", service="telemetry"
    ) as channel:
        stub = pb_grpc.QueryServiceStub(channel)
        error = await refused(stub.GetTrace(pb.GetTraceRequest(trace_id=TRACE)))
    assert error.reason == "CALLER_NOT_ALLOWED"
