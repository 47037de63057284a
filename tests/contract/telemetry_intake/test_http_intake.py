"""
OTLP over HTTP and remote write, as clients send them: real requests to the real service.

There is one for all; each test posts as a tenant of its own.
"""

import gzip
import io
import json
import time

import aiohttp
import pyarrow as pa
import pytest
import pytest_asyncio
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)

from telemetry.settings import Settings
from tests.contract.telemetry_intake import otlp_requests
from tests.contract.telemetry_intake.remote_writes import histogram, snappy, write_1, write_2
from tests.contract.telemetry_intake.running import series_of, served
from tests.fixtures.edge import free_port


pytestmark = pytest.mark.asyncio(loop_scope="module")
PROTOBUF = {"Content-Type": "application/x-protobuf"}
JSON = {"Content-Type": "application/json"}
RW1 = PROTOBUF | {"Content-Encoding": "snappy", "X-Prometheus-Remote-Write-Version": "0.1.0"}
RW2 = {
    "Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "2.0.0",
}
WRITTEN = "X-Prometheus-Remote-Write-{}-Written"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(ca, tmp_path_factory):
    """The service, its HTTP socket and its HTTP port."""
    folder, port = tmp_path_factory.mktemp("telemetry"), free_port()
    settings = Settings(
        state_dir=folder / "state",
        http_unix_socket=folder / "h",
        http_listen=f"127.0.0.1:{port}",
    )
    async with served(settings, ca) as service:
        yield service, settings.http_unix_socket, port


@pytest.fixture
def posting(service, tenant):
    """Post what is given in turn; returns (status, headers, body) each."""

    async def posting(*posts):
        answers = []
        async with aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(str(service[1]))
        ) as session:
            for path, headers, body in posts:
                async with session.post(
                    f"http://t{path}",
                    headers={"X-Scope-OrgID": tenant} | headers,
                    data=io.BytesIO(body),
                ) as answer:
                    answers.append((answer.status, answer.headers, await answer.read()))
        return answers

    return posting


@pytest.fixture
def stored(service, tenant):
    """Samples of a name, of the test's tenant or another."""

    async def stored(name, whose=tenant):
        return await service[0].samples(name, whose)

    return stored


@pytest.mark.parametrize("encoding", ["", "gzip", "zstd"])
async def test_otlp_in_protobuf_is_taken_however_it_is_packed(posting, stored, encoding):
    request = otlp_requests.gauges("g", [1.5], time.time_ns())
    packed = {
        "": request,
        "gzip": gzip.compress(request),
        "zstd": pa.compress(request, codec="zstd", asbytes=True),
    }[encoding]
    headers = PROTOBUF | ({"Content-Encoding": encoding} if encoding else {})

    ((status, told, body),) = await posting(("/v1/metrics", headers, packed))

    assert (status, body) == (200, b"")
    assert told["Content-Type"] == "application/x-protobuf"
    assert list((await stored("g")).values()) == [[1.5]]


async def test_otlp_in_json_is_taken_with_hexadecimal_ids(service, tenant, posting):
    now = time.time_ns()
    span = {
        "traceId": "5B8EFFF798038103D269B633813FC60C",
        "spanId": "EEE19B7EC3C1B174",
        "name": "n",
        "startTimeUnixNano": str(now),
        "endTimeUnixNano": now + 5,
        "kind": 2,
        "attributes": [{"key": "k", "value": {"intValue": "7"}}],
        "unknownField": {"a": 1},
    }
    traces = {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}

    ((status, told, body),) = await posting(("/v1/traces", JSON, json.dumps(traces).encode()))

    assert (status, body) == (200, b"{}")
    assert told["Content-Type"].startswith("application/json")
    reader = await service[0].reader()
    (found,) = await reader.trace(bytes.fromhex(span["traceId"]), tenant=tenant)
    assert (found.span_id.hex(), found.kind, found.attributes) == (
        "eee19b7ec3c1b174",
        2,
        {"k": "7"},
    )


async def test_what_is_refused_in_part_is_told_in_a_success(posting):
    request = otlp_requests.metrics(time.time_ns())

    protobuf, as_json = await posting(
        ("/v1/metrics", PROTOBUF, request),
        (
            "/v1/metrics",
            JSON,
            b'{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"g","gauge":'
            b'{"dataPoints":[{"timeUnixNano":"5","asDouble":1}]}}]}]}]}',
        ),
    )

    told = ExportMetricsServiceResponse.FromString(protobuf[2]).partial_success
    assert (protobuf[0], told.rejected_data_points) == (200, 6)
    assert as_json[0] == 200
    partial = json.loads(as_json[2])["partialSuccess"]
    assert (partial["rejectedDataPoints"], partial["errorMessage"]) == ("1", "1 TIME")


async def test_bad_requests_are_refused_for_good_each_with_its_status(posting):
    big = bytes(65 * 1024 * 1024)
    answers = await posting(
        ("/v1/metrics", PROTOBUF, b"\x0a\xff"),
        ("/v1/metrics", JSON, b"{"),
        ("/v1/metrics", {"Content-Type": "text/plain"}, b""),
        ("/v1/metrics", PROTOBUF | {"Content-Encoding": "br"}, b""),
        ("/v1/metrics", PROTOBUF | {"Content-Encoding": "gzip"}, b"no gzip"),
        ("/v1/metrics", PROTOBUF | {"Content-Encoding": "gzip"}, gzip.compress(big, 1)),
        ("/v1/metrics", PROTOBUF | {"X-Scope-OrgID": "a b"}, b""),
        ("/v1/nothing", PROTOBUF, b""),
    )

    assert [status for status, _, _ in answers] == [400, 400, 415, 415, 400, 413, 400, 404]
    assert Status.FromString(answers[0][2]).code == 3
    assert json.loads(answers[1][2])["code"] == 3


async def test_remote_writes_of_both_versions_are_one_series(posting, stored):
    now = time.time_ns() // 1_000_000
    labels = {"__name__": "up", "job": "board", "instance": "7"}

    first, second = await posting(
        ("/api/v1/write", RW1, snappy(write_1((labels, [(1.0, now), (0.0, now + 5)])))),
        ("/api/v1/write", RW2, snappy(write_2((labels, [(0.5, now + 9, now)]), kind=2))),
    )

    assert (first[0], second[0]) == (204, 204)
    assert second[1][WRITTEN.format("Samples")] == "1"
    found = await stored("up")
    assert found == {tuple(sorted(labels.items())): [1.0, 0.0, 0.5]}


@pytest.mark.parametrize(("headers", "write"), [(RW1, write_1), (RW2, write_2)])
async def test_remote_writes_bring_native_histograms(service, tenant, posting, headers, write):
    now = time.time_ns() // 1_000_000
    body = snappy(write(({"__name__": "h"}, [], [histogram(now)])))

    ((status, _, _),) = await posting(("/api/v1/write", headers, body))

    assert status == 204
    reader = await service[0].reader()
    series = await series_of(reader, "h", tenant)
    found = await reader.read_histograms(series, start_ms=0, end_ms=2**50)
    assert series[0].kind == "exponential"
    one = found.histograms
    assert (one.schema[0], one.counts[0], one.sums[0], one.zero_count[0]) == (1, 11, 2.5, 1)
    assert (one.pos_index.tolist(), one.pos.tolist()) == ([0, 1, 5], [1, 2, 4])
    assert (one.neg_index.tolist(), one.neg.tolist()) == ([-1], [3])


async def test_a_remote_write_refused_in_part_is_a_400_and_says_what_was_written(posting):
    now = time.time_ns() // 1_000_000
    body = snappy(write_2(({"__name__": "g"}, [(1.0, now), (2.0, 5), (3.0, now + 10**7)])))

    ((status, headers, text),) = await posting(("/api/v1/write", RW2, body))

    assert status == 400
    assert headers[WRITTEN.format("Samples")] == "1"
    assert b"2 TIME" in text


async def test_remote_writes_that_cant_be_read_are_refused_for_good(posting):
    now = time.time_ns() // 1_000_000
    twice = write_2(({"__name__": "g"}, [(1.0, now)])).replace(b"\x08__name__", b"\x08__name_x")
    unnamed = write_1(({"job": "a"}, [(1.0, now)]))
    answers = await posting(
        ("/api/v1/write", RW1, snappy(b"\x0a\xff")),
        ("/api/v1/write", RW1, b"no snappy"),
        ("/api/v1/write", PROTOBUF | {"Content-Type": "text/plain"}, b""),
        ("/api/v1/write", {"Content-Type": f"{PROTOBUF['Content-Type']};proto=x.Y"}, b""),
        ("/api/v1/write", RW2, snappy(twice)),
        ("/api/v1/write", RW1, snappy(unnamed)),
    )

    assert [status for status, _, _ in answers] == [400, 400, 415, 415, 400, 400]
    assert b"NO_NAME" in answers[5][2]


async def test_tenants_dont_see_each_others_series(posting, stored):
    request = otlp_requests.gauges("g", [1.0], time.time_ns())

    await posting(("/v1/metrics", PROTOBUF | {"X-Scope-OrgID": "lounge"}, request))

    assert await stored("g") == await stored("g", "") == {}
    assert len(await stored("g", "lounge")) == 1


async def test_services_of_the_mesh_may_send_over_tls_and_strangers_may_not(service, ca):
    found = {}
    async with aiohttp.ClientSession() as session:
        for name in ("notifier", "stranger"):
            tls = ca.workload(name).client_ssl_context("telemetry")
            async with session.post(
                f"https://127.0.0.1:{service[2]}/v1/metrics",
                headers=PROTOBUF,
                data=b"",
                ssl=tls,
                server_hostname="telemetry.aerofusion",
            ) as answer:
                found[name] = answer.status

    assert found == {"notifier": 200, "stranger": 403}
