"""Logs that came through the real intake: filtered, followed, sorted into patterns."""

import asyncio
import json
import re
import sys
import time

import grpc
import pytest
import pytest_asyncio
import re2
from google.protobuf.timestamp_pb2 import Timestamp
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource

from aerofusion.telemetry.v1 import log_service_pb2 as pb
from aerofusion.telemetry.v1 import log_service_pb2_grpc as pb_grpc
from aerofusion.telemetry.v1 import query_service_pb2 as query_pb
from aerofusion.telemetry.v1 import query_service_pb2_grpc as query_grpc
from gateway.compile.access_logs import _ATTRIBUTES
from meshkit.status import from_rpc_error
from telemetry.app import serve
from telemetry.logs.patterns import MASKS
from telemetry.settings import Settings
from tests.contract.telemetry_traces.sending import exporting, until
from tests.fixtures.serving import running


pytestmark = pytest.mark.asyncio(loop_scope="module")
NOW_NS = time.time_ns() // 60_000_000_000 * 60_000_000_000 - 600_000_000_000
TRACE = "0af7651916cd43dd8448eb211c80319c"
HOSTILE = [
    "'", "''", "\\'", "\\", "\\\\", "' OR 1=1 --", "'); DROP TABLE logs; --", '"', "`", "${x}", "%", "_",
    "a'||'b", "\x00", "x\x00'y", "\n", "\r\n\t", "é", "漢字", "😀", "{}", "$$", "/* */", "-- x", ";",
    "[a-z]+", "(", ".*", "^$", "a|b", "\\d+", "(?i)x", "{name:String}", "<n>", "NULL", "0x27", "\u2028",
]  # fmt: skip


def text_of(value):
    return AnyValue(string_value=value)


def request(service, *records):
    """One request; a record is (second, body, severity, attributes)."""
    made = ExportLogsServiceRequest()
    resource = made.resource_logs.add()
    resource.resource.attributes.append(KeyValue(key="service.name", value=text_of(service)))
    scope = resource.scope_logs.add()
    for second, body, severity, attributes in records:
        record = scope.log_records.add(
            time_unix_nano=NOW_NS + int(second * 10**9),
            body=text_of(body),
            severity_number=severity,
            trace_id=bytes.fromhex(TRACE) if second == 0 else b"",
        )
        record.attributes.extend(
            KeyValue(key=key, value=text_of(value)) for key, value in attributes.items()
        )
    return made


def access_log(number):
    """A record as the edge writes them (gateway/compile/access_logs.py)."""
    status = 503 if number % 10 == 7 else 200
    known = {
        "http.request.method": "POST",
        "url.path": f"/a.v1.S{number % 3}/M",
        "http.response.status_code": str(status),
        "duration_ms": str(number * 5),
        "flags": "UF" if status == 503 else "-",
        "subject": f"passengers/p{number % 4}",
    }
    assert set(known) <= set(_ATTRIBUTES)
    attributes = {key: known.get(key, "-") for key in _ATTRIBUTES}
    return number, f"POST /a.v1.S{number % 3}/M {status} 0", 0, attributes


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(ca, tmp_path_factory):
    folder = tmp_path_factory.mktemp("telemetry")
    settings = Settings(state_dir=folder / "state", unix_socket=folder / "telemetry.sock")
    async with (
        running(serve, settings, workload=ca.workload("telemetry")) as port,
        ca.workload("operator").channel(f"127.0.0.1:{port}", service="telemetry") as channel,
    ):
        stub = LogsServiceStub(channel)
        await stub.Export(request("edge", *map(access_log, range(50))))
        await stub.Export(
            request("odd", *((n, text, 9, {"v": text}) for n, text in enumerate(HOSTILE)))
        )
        await asyncio.to_thread(by_sdk, ca, port)
        queries = query_grpc.QueryServiceStub(channel)
        await until(
            lambda: queries.SearchLogs(asking("{service=~`edge|odd|board`}", page_size=1000)),
            lambda answer: len(answer.entries) == 50 + len(HOSTILE) + 3,
        )
        yield channel, settings.unix_socket, port


def by_sdk(ca, port):
    provider = LoggerProvider(resource=Resource({"service.name": "board", "host.name": "h1"}))
    provider.add_log_record_processor(
        SimpleLogRecordProcessor(OTLPLogExporter(**exporting(ca, port)))
    )
    logger = provider.get_logger("boards")
    for n, level in enumerate((SeverityNumber.INFO, SeverityNumber.WARN, SeverityNumber.ERROR)):
        logger.emit(
            LogRecord(
                timestamp=NOW_NS + n,
                severity_number=level,
                body=f"gate {n} closed after {n}.5 s by 10.0.0.{n}:80",
                attributes={
                    "n": n,
                    "ratio": n / 2,
                    "tags": ["x", str(n)],
                    "deep": {"a": [1, True]},
                },
            )
        )
    provider.shutdown()


def at(nanoseconds):
    return Timestamp(seconds=nanoseconds // 10**9, nanos=nanoseconds % 10**9)


def asking(text, **more):
    window = {"start_time": at(NOW_NS), "end_time": at(NOW_NS + 300 * 10**9)}
    return query_pb.SearchLogsRequest(filter=text, **{"page_size": 1000, **window, **more})


async def found(served, text):
    answer = await query_grpc.QueryServiceStub(served[0]).SearchLogs(asking(text))
    return [entry.body for entry in answer.entries]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("{service=edge} | http.response.status_code>=500", range(7, 50, 10)),
        ('{service="edge"} |= " 503 "', range(7, 50, 10)),
        ('{service="edge"} != "S0" != "S1" | duration_ms<30', (2, 5)),
        ('{service="edge"} |~ "S[12]/M 5" | flags="UF"', (7, 17, 37, 47)),
        ('{service="edge"} !~ "S[12]" | subject="passengers/p1" and duration_ms>100', (21, 33, 45)),
        ('{subject=~"passengers/p[03]", service=edge} | duration_ms < 20', (0, 3)),
        (f"{{service=edge}} | trace_id={TRACE}", [0]),
        (f"{{service=edge, trace_id!=''}} | trace_id!={TRACE} | duration_ms>240", [49]),
        ("{service=edge} | (duration_ms=5 or duration_ms=10) and subject!=passengers/p2", [1]),
    ],
)
async def test_access_logs_are_found_by_what_they_are(served, text, numbers):
    expected = [access_log(number)[1] for number in sorted(numbers, reverse=True)]
    assert await found(served, text.replace("''", '"x"')) == expected


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("{service=board} | severity>=warn", (1, 2)),
        ("{service=board} | severity=Error", [2]),
        ("{service=board} | n>=1 | ratio<1", [1]),
        ("{host.name=h1}", (0, 1, 2)),
        ("{resource.host.name=h1} | attributes.n=0", [0]),
        ("{attributes.host.name=h1}", []),
        ('| tags="[\\"x\\",\\"1\\"]"', [1]),
        ('{service=board} | deep="{\\"a\\":[1,true]}"', (0, 1, 2)),
        ("{scope=boards} | n!=1", (0, 2)),
    ],
)
async def test_records_of_the_sdk_are_found_by_severity_numbers_and_lists(served, text, numbers):
    bodies = await found(served, text)
    assert sorted(bodies) == [f"gate {n} closed after {n}.5 s by 10.0.0.{n}:80" for n in numbers]


async def test_lists_and_maps_are_shown_as_json(served):
    answer = await query_grpc.QueryServiceStub(served[0]).SearchLogs(
        asking("{service=board} | n=1")
    )
    attributes = dict(answer.entries[0].attributes)
    assert attributes == {"n": "1", "ratio": "0.5", "tags": '["x","1"]', "deep": '{"a":[1,true]}'}


def quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


async def test_hostile_values_are_values(served):
    for text in HOSTILE:
        same = [text]
        holding = sorted(one for one in HOSTILE if text in one)
        only = "{service=odd}"
        escaped = quoted(re2.escape(text))
        assert await found(served, f"{only} | v={quoted(text)}") == same
        assert await found(served, f"{only} | body={quoted(text)}") == same
        assert sorted(await found(served, f"{only} |= {quoted(text)}")) == holding
        assert sorted(await found(served, f"{only} |~ {escaped}")) == holding
        assert await found(served, f"{only} | v=~{escaped}") == same
        assert len(await found(served, f"{only} | v!={quoted(text)}")) == len(HOSTILE) - 1
        assert await found(served, f"{only} | {quoted(text)}=x") == []
        assert await found(served, f"{{service={quoted(text)}}}") == []


async def test_regular_expressions_match_as_re2_does(served):
    for pattern in (".*", "^$", "[a-z]+", "\\W", "(?i)NULL", "x.y", "[^a]", "a|b", "\\pL"):
        one = re2.compile(f"(?s:{pattern})")
        expected = sorted(text for text in HOSTILE if one.search(text))
        assert sorted(await found(served, f"{{service=odd}} |~ {quoted(pattern)}")) == expected
        whole = sorted(text for text in HOSTILE if one.fullmatch(text))
        assert sorted(await found(served, f"{{service=odd}} | v=~{quoted(pattern)}")) == whole


async def test_bodies_that_differ_in_details_are_of_one_pattern(served):
    stub = pb_grpc.LogServiceStub(served[0])
    window = {"start_time": at(NOW_NS), "end_time": at(NOW_NS + 300 * 10**9)}
    answer = await stub.ListLogPatterns(
        pb.ListLogPatternsRequest(filter="{service=~`edge|board`}", **window)
    )
    assert [(one.service, one.pattern, one.records) for one in answer.patterns] == [
        ("edge", "POST /a.v<n>.S<n>/M <n> <n>", 50),
        ("board", "gate <n> closed after <n> s by <ip>", 3),
    ]
    assert (answer.patterns_total, answer.records, answer.records_total) == (2, 53, 53)
    board = answer.patterns[1]
    assert (board.severity_number, board.example.body[:6]) == (17, "gate 2")
    assert (board.first_time, board.last_time) == (at(NOW_NS), at(NOW_NS + 2))
    one = await stub.ListLogPatterns(
        pb.ListLogPatternsRequest(filter="{service=~`edge|board`}", page_size=1, **window)
    )
    assert (len(one.patterns), one.patterns_total) == (1, 2)


async def test_masks_hide_details_and_nothing_else(served):
    def masked(text):
        for pattern, word in MASKS:
            text = re2.sub(pattern, word, text)
        return text

    told = "2026-01-31T06:00:00.123Z id 3f2a61c0-98fc-1c14-9afb-f4c8996fb924 0xFF at [10.0.0.1:80]"
    assert masked(told) == "<time> id <uuid> <hex> at [<ip>]"
    assert masked(f"trace {TRACE} of user12 took 1,200.5ms") == "trace <hex> of user<n> took <n>ms"
    assert masked("no details, facade") == "no details, facade"


async def read_until(stream, entries):
    """Read *stream* until as many entries have come; return them, the last token, those skipped."""
    bodies, skipped = [], 0
    async with asyncio.timeout(30):
        while len(bodies) + skipped < entries:
            answer = await stream.read()
            bodies += [entry.body for entry in answer.entries]
            skipped += answer.skipped
    return bodies, answer.resume_token, skipped


async def test_logs_are_followed_and_gone_on_with_none_twice_and_none_left_out(served):
    stub, sender = pb_grpc.LogServiceStub(served[0]), LogsServiceStub(served[0])
    stream = stub.TailLogs(pb.TailLogsRequest(filter="{service=followed} != `not`"))
    begun = await stream.read()
    assert not begun.entries
    assert begun.resume_token
    await sender.Export(request("other", (1, "of another", 9, {})))
    await sender.Export(request("followed", *((n, f"a {n}", 9, {}) for n in range(3))))
    await sender.Export(request("followed", (3, "is not", 9, {}), (4, "a 4", 9, {})))
    bodies, token, _ = await read_until(stream, 4)
    assert bodies == ["a 0", "a 1", "a 2", "a 4"]
    stream.cancel()

    await sender.Export(request("followed", (5, "a 5", 9, {})))
    await until(
        lambda: query_grpc.QueryServiceStub(served[0]).SearchLogs(asking('|= "a 5"')),
        lambda answer: len(answer.entries) == 1,
    )
    again = stub.TailLogs(
        pb.TailLogsRequest(filter="{service=followed} != `not`", resume_token=token)
    )
    assert not (await again.read()).entries
    await sender.Export(request("followed", (6, "a 6", 9, {})))
    assert (await read_until(again, 2))[0] == ["a 5", "a 6"]
    again.cancel()


async def test_a_follower_is_told_what_was_left_out(served):
    stub, sender = pb_grpc.LogServiceStub(served[0]), LogsServiceStub(served[0])
    stream = stub.TailLogs(pb.TailLogsRequest(filter="{service=flood}"))
    await stream.read()
    await sender.Export(request("flood", *((n / 100, f"f {n}", 9, {}) for n in range(2500))))
    bodies, _, skipped = await read_until(stream, 2500)
    assert (len(bodies), skipped) == (1000, 1500)
    assert bodies[-1] == "f 2499"
    stream.cancel()


async def test_what_cannot_be_followed_is_refused(served):
    stub = pb_grpc.LogServiceStub(served[0])
    for request_, reason in (
        (pb.TailLogsRequest(filter="{"), "FILTER_INVALID"),
        (pb.TailLogsRequest(resume_token="x"), "INVALID_PAGE_TOKEN"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.TailLogs(request_).read()
        assert from_rpc_error(caught.value).reason == reason
    streams = [stub.TailLogs(pb.TailLogsRequest()) for _ in range(32)]
    for stream in streams:
        await stream.read()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.TailLogs(pb.TailLogsRequest()).read()
    assert from_rpc_error(caught.value).reason == "TOO_MANY_FOLLOWERS"
    for stream in streams:
        stream.cancel()


async def meshctl(socket, *words):
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "meshctl", "--telemetry", str(socket), *words,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def test_an_operator_searches_follows_and_sorts_logs(served):
    channel, socket, _ = served
    window = (
        "--since",
        at(NOW_NS).ToJsonString(),
        "--until",
        at(NOW_NS + 300 * 10**9).ToJsonString(),
    )
    process = await meshctl(socket, "search", f"{{service=edge}} | trace_id={TRACE}", *window)
    out = (await process.communicate())[0].decode()
    assert re.fullmatch(rf"\S+ \S+ -     edge: POST /a\.v1\.S0/M 200 0  trace={TRACE}\n", out)
    process = await meshctl(socket, "patterns", "{service=~`edge|board`}", *window)
    lines = (await process.communicate())[0].decode().splitlines()
    assert lines[0].split() == ["RECORDS", "SERVICE", "WORST", "LAST", "PATTERN"]
    assert lines[1].startswith("50       edge     -      ")
    assert lines[2].endswith("gate <n> closed after <n> s by <ip>")
    process = await meshctl(socket, "tail", "{service=seen}", "--json")
    async with asyncio.timeout(30):
        first = json.loads(await process.stdout.readline())
        await LogsServiceStub(channel).Export(request("seen", (1, "hello", 17, {})))
        second = json.loads(await process.stdout.readline())
        while not second.get("entries"):
            second = json.loads(await process.stdout.readline())
    process.terminate()
    await process.wait()
    assert set(first) == {"resume_token"}
    assert second["entries"][0]["body"] == "hello"
