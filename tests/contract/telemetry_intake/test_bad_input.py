"""
Requests that are hostile, senseless or only strange, beside good ones: an exact ledger, and no crash.

All of them come to one way in, which no test may harm: each has a tenant of its own.
"""

# ruff: noqa: S608 - names of our tables and numbers

import asyncio
import contextlib
import math
import struct
import time

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from meshkit import observability
from meshkit.errors import InvalidInput
from telemetry.intake.own import in_process
from telemetry.load.statements import TABLES
from telemetry.scan.shapes import Signal
from telemetry.store.model import LogQuery, Matcher, MatchOp
from telemetry.store.reader import Reader
from tests.contract.telemetry_intake import otlp_requests
from tests.contract.telemetry_intake.remote_writes import of_bytes, varint
from tests.contract.telemetry_intake.running import bits, samples_of


pytestmark = pytest.mark.asyncio(loop_scope="module")
REQUESTS = {
    Signal.METRICS: ExportMetricsServiceRequest,
    Signal.LOGS: ExportLogsServiceRequest,
    Signal.TRACES: ExportTraceServiceRequest,
}
DAY_NS = 86_400 * 10**9
# Google's own parser takes these at the end of any request; ClickHouse refuses a file with one in it.
STRANGE = {
    "a group nobody knows": b"\x93\x01\x94\x01",
    "a group within a group": b"\x93\x01\x9b\x01\x9c\x01\x94\x01",
    "a known field as a number": b"\x08\x01",
    "a known field as 8 bytes": b"\x09" + b"\0" * 8,
    "a known field as 4 bytes": b"\x0d" + b"\0" * 4,
    "a field of the log's own": b"\xca\xa9\x07\x00",
}
NASTY = (
    "'", "''", "\\", "\\'", "'; DROP TABLE samples; --", "') OR 1=1 --", '"', "`", "%", "_", "$$",
    "\0", "\n", "\t", "{}", "{{x}}", "\u202e", "\U0001f6eb", "a" * 10_000, " ", "ÿ",
)  # fmt: skip


async def rows_of(sessions, signal):
    return sum(
        [
            int(await sessions.query(f"SELECT count() FROM {table}", "TSV"))
            for table in TABLES[signal]
        ]
    )


def exact(ledger):
    return ledger.rows_loaded == ledger.rows_logged and all(
        one.received == one.stored + sum(one.refused.values()) for one in ledger.accounts.values()
    )


@pytest.mark.parametrize("signal", REQUESTS)
async def test_what_only_the_engine_would_refuse_is_refused_and_spoils_no_other(
    way_in, tenant, signal
):
    now = time.time_ns()
    good = otlp_requests.REQUESTS[signal](now)
    sessions, pipeline = way_in
    ledger, stored = pipeline.ledger, 0
    malformed = ledger.malformed[signal]
    for more in STRANGE.values():
        REQUESTS[signal].FromString(good + more)
        stored += await _stored(pipeline, signal, good, tenant)
        with pytest.raises(InvalidInput) as refused:
            await pipeline.intake.accept(signal, good + more, tenant)
        assert refused.value.reason == "MALFORMED_OTLP"
    await pipeline.loader.flush()

    assert ledger.malformed[signal] - malformed == len(STRANGE)
    assert ledger.of(signal, tenant).stored == stored > 0
    assert exact(ledger)
    assert await rows_of(sessions, signal) == ledger.rows_loaded[signal]
    assert ledger.quarantined_bytes == 0


async def _stored(pipeline, signal, request, tenant):
    before = pipeline.ledger.of(signal, tenant).stored
    await pipeline.intake.accept(signal, request, tenant)
    return pipeline.ledger.of(signal, tenant).stored - before


@pytest.mark.parametrize("signal", REQUESTS)
async def test_a_request_that_is_cut_off_anywhere_is_refused_or_loads_whole(way_in, tenant, signal):
    request = otlp_requests.REQUESTS[signal](time.time_ns())
    refused = 0
    sessions, pipeline = way_in
    for end in range(0, len(request), 7):
        try:
            await pipeline.intake.accept(signal, request[:end], tenant)
        except InvalidInput:
            refused += 1
    await pipeline.loader.flush()

    assert refused > 10
    assert exact(pipeline.ledger)
    assert await rows_of(sessions, signal) == pipeline.ledger.rows_loaded[signal]


def nested(depth):
    """An attribute `deep`, a list in a list in a list."""
    value = b"\x18\x07"
    for _ in range(depth):
        value = of_bytes(5, of_bytes(1, value))
    return of_bytes(1, b"deep") + of_bytes(2, value)


def logged(attribute, now):
    """A request of one log record that has an attribute."""
    record = b"\x09" + struct.pack("<Q", now) + of_bytes(6, attribute)
    return of_bytes(1, of_bytes(2, of_bytes(2, record)))


def measured(attribute, now):
    """A request of one gauge point that has an attribute."""
    point = b"\x19" + struct.pack("<Q", now) + b"\x21" + b"\0" * 8 + of_bytes(7, attribute)
    metric = of_bytes(1, b"deep") + of_bytes(5, of_bytes(1, point))
    return of_bytes(1, of_bytes(2, of_bytes(2, metric)))


@pytest.mark.parametrize("depth", [1, 30, 99, 101, 5_000, 20_000])
@pytest.mark.parametrize(("signal", "make"), [(Signal.LOGS, logged), (Signal.METRICS, measured)])
async def test_however_deep_values_are_nested_nothing_breaks(way_in, tenant, signal, make, depth):
    now = time.time_ns()
    request = make(nested(depth), now)
    sessions, pipeline = way_in
    before = pipeline.ledger.rows_loaded[signal]
    with contextlib.suppress(InvalidInput):
        await pipeline.intake.accept(signal, request, tenant)
    await pipeline.intake.accept(signal, make(nested(1), now), tenant)
    await pipeline.loader.flush()

    assert exact(pipeline.ledger)
    assert await rows_of(sessions, signal) == pipeline.ledger.rows_loaded[signal]
    loaded = pipeline.ledger.rows_loaded[signal] - before
    assert loaded >= 1
    query = LogQuery(start_ns=now - 1, end_ns=now + 1, tenant=tenant)
    assert len(await Reader(sessions).search_logs(query)) == (loaded if make is logged else 0)


async def test_huge_names_values_and_counts_are_taken_or_refused_to_the_item(way_in, tenant):
    now = time.time_ns()
    request = ExportMetricsServiceRequest()
    add = request.resource_metrics.add().scope_metrics.add().metrics.add
    add(name="n" * 1_000_000).gauge.data_points.add(time_unix_nano=now, as_double=1)
    point = add(name="many").gauge.data_points.add(time_unix_nano=now, as_double=2)
    for n in range(20_000):
        point.attributes.add(key=f"k{n}").value.string_value = "v"
    add(name="long").gauge.data_points.add(time_unix_nano=now, as_double=3).attributes.add(
        key="k"
    ).value.string_value = "x" * 5_000_000
    sessions, pipeline = way_in
    await pipeline.intake.accept(Signal.METRICS, request.SerializeToString(), tenant)
    await pipeline.loader.flush()

    assert exact(pipeline.ledger)
    assert await rows_of(sessions, Signal.METRICS) == pipeline.ledger.rows_loaded[Signal.METRICS]


async def test_a_length_that_is_a_lie_allocates_nothing(way_in, tenant):
    _, pipeline = way_in
    malformed = pipeline.ledger.malformed[Signal.METRICS]
    for length in (2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1):
        with pytest.raises(InvalidInput):
            await pipeline.intake.accept(Signal.METRICS, b"\x0a" + varint(length) + b"abc", tenant)
    assert pipeline.ledger.malformed[Signal.METRICS] - malformed == 4


async def test_numbers_that_are_none_and_the_outermost_come_back_to_the_bit(way_in, tenant):
    values = [math.nan, math.inf, -math.inf, -0.0, 5e-324, 1.7976931348623157e308, -1e-300]
    values.append(struct.unpack("<d", struct.pack("<Q", 0xFFF8_0000_0000_BEEF))[0])
    sessions, pipeline = way_in
    await pipeline.intake.accept(
        Signal.METRICS, otlp_requests.gauges("g", values, time.time_ns()), tenant
    )
    await pipeline.loader.flush()
    found = await samples_of(sessions, "g", tenant)

    by_number = {dict(labels)["n"]: bits(one) for labels, (one,) in found.items()}
    assert by_number == {str(n): bits(value) for n, value in enumerate(values)}


@pytest.mark.parametrize(
    "at",
    [
        pytest.param(lambda _: 1, id="1970"),
        pytest.param(lambda now: now - 91 * DAY_NS, id="91 days old"),
        pytest.param(lambda now: now + 11 * 60 * 10**9, id="11 minutes ahead"),
        pytest.param(lambda _: 2**63 - 1, id="2262"),
        pytest.param(lambda _: 2**63, id="after 2262"),
        pytest.param(lambda _: 2**64 - 1, id="2554"),
    ],
)
async def test_times_that_cant_be_are_refused_and_those_beside_them_stored(way_in, tenant, at):
    now = time.time_ns()
    metrics = otlp_requests.gauges("g", [1.0], at(now))
    logs, traces = ExportLogsServiceRequest(), ExportTraceServiceRequest()
    records = logs.resource_logs.add().scope_logs.add().log_records
    spans = traces.resource_spans.add().scope_spans.add().spans
    for when in (at(now), now):
        records.add(time_unix_nano=when)
        spans.add(
            trace_id=b"t" * 16,
            span_id=b"s" * 8,
            start_time_unix_nano=when,
            end_time_unix_nano=when,
        )
    sessions, pipeline = way_in
    before = {signal: await rows_of(sessions, signal) for signal in REQUESTS}
    for signal, request in (
        (Signal.METRICS, metrics + otlp_requests.gauges("g", [1.0], now)),
        (Signal.LOGS, logs.SerializeToString()),
        (Signal.TRACES, traces.SerializeToString()),
    ):
        accepted = await pipeline.intake.accept(signal, request, tenant)
        assert (accepted.refused, accepted.message) == (1, "1 TIME")
    await pipeline.loader.flush()

    assert exact(pipeline.ledger)
    for signal in REQUESTS:
        assert await rows_of(sessions, signal) - before[signal] == 1


async def test_a_span_may_end_and_have_events_when_nothing_can(way_in, tenant):
    now = time.time_ns()
    request = ExportTraceServiceRequest()
    add = request.resource_spans.add().scope_spans.add().spans.add
    for n, end in enumerate((0, 1, now, 2**63, 2**64 - 1)):
        span = add(
            trace_id=b"t" * 16,
            span_id=bytes([n + 1]) * 8,
            start_time_unix_nano=now,
            end_time_unix_nano=end,
        )
        for at in (0, 2**63 - 1, 2**64 - 1):
            span.events.add(time_unix_nano=at, name="e")
    sessions, pipeline = way_in
    await pipeline.intake.accept(Signal.TRACES, request.SerializeToString(), tenant)
    await pipeline.loader.flush()
    found = await Reader(sessions).trace(b"t" * 16, tenant=tenant)

    by_id = {one.span_id[0]: one.duration_ns for one in found}
    assert by_id == {1: 0, 2: 0, 3: 0, 4: 2**63 - now, 5: 2**64 - 1 - now}
    assert all(len(one.events) == 3 for one in found)


@pytest.mark.parametrize("value", NASTY)
async def test_texts_that_mean_something_to_somebody_are_only_texts(way_in, tenant, value):
    now = time.time_ns()
    logs = ExportLogsServiceRequest()
    record = logs.resource_logs.add().scope_logs.add().log_records.add(time_unix_nano=now)
    record.body.string_value = value
    record.attributes.add(key="k").value.string_value = value
    sessions, pipeline = way_in
    await pipeline.intake.accept(
        Signal.METRICS, otlp_requests.gauges("g", [1.0, 2.0], now, k=value), tenant
    )
    await pipeline.intake.accept(Signal.LOGS, logs.SerializeToString(), tenant)
    await pipeline.loader.flush()
    reader = Reader(sessions)
    name = Matcher(label="__name__", op=MatchOp.EQUAL, value="g")
    matching = Matcher(label="k", op=MatchOp.EQUAL, value=value)
    other = Matcher(label="k", op=MatchOp.NOT_EQUAL, value=value)
    found = await reader.select_series([name, matching], tenant=tenant)
    rest = await reader.select_series([name, other], tenant=tenant)
    (seen,) = await reader.search_logs(
        LogQuery(start_ns=now - 1, end_ns=now + 1, attributes={"k": value}, tenant=tenant)
    )

    assert {dict(one.labels)["k"] for one in found} == {value}
    assert (len(found), len(rest)) == (2, 0)
    assert (seen.body, seen.attributes) == (value, {"k": value})


async def test_a_clock_that_is_set_back_or_ahead_costs_what_it_refuses_and_nothing_else(
    way_in, tenant, monkeypatch
):
    real = time.time_ns()
    now = [real]
    sessions, pipeline = way_in
    before = await rows_of(sessions, Signal.METRICS)
    monkeypatch.setattr(pipeline.intake, "_clock", lambda: now[0])
    told = []
    for step, value in ((0, 1.0), (-3600, 2.0), (100 * 86_400, 3.0), (0, 4.0)):
        now[0] = real + step * 10**9
        accepted = await pipeline.intake.accept(
            Signal.METRICS, otlp_requests.gauges("g", [value], real), tenant
        )
        told.append(accepted.message)
    await pipeline.loader.flush()

    assert told == ["", "1 TIME", "1 TIME", ""]
    assert exact(pipeline.ledger)
    # Of one series and time the later value stays.
    assert list((await samples_of(sessions, "g", tenant)).values()) == [[4.0]]
    assert await rows_of(sessions, Signal.METRICS) - before == 2


async def test_telemetry_about_telemetry_does_not_feed_itself(way_in):
    _, pipeline = way_in
    own = observability.setup_with("telemetry", "0", in_process(pipeline.intake))
    pipeline.ledger.publish(
        own.metrics.get_meter("telemetry"),
        series=lambda: pipeline.scanner.series,
        log_bytes=lambda: pipeline.writer.log_bytes,
        folded_metrics=lambda: 0,
    )
    sizes = []
    for _ in range(6):
        before = {one: pipeline.ledger.of(one, "").received for one in REQUESTS}
        await asyncio.to_thread(own.metrics.force_flush)
        await asyncio.to_thread(own.traces.force_flush)
        sizes.append({one: pipeline.ledger.of(one, "").received - before[one] for one in REQUESTS})
    await asyncio.to_thread(own.shutdown)

    assert sizes[-1][Signal.METRICS] > 0
    # Every time as much as the time before, and no span about the sending.
    assert sizes[-3:] == [sizes[-1]] * 3
    assert sizes[-1][Signal.TRACES] == 0
