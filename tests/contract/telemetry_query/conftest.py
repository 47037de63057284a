"""
A store with known metrics, logs and spans, and the query side in front of it.

Per module, not longer: a process can have only one store open at a time.
"""

# ruff: noqa: S608 - the SQL is made of constants

import contextlib
import json
from dataclasses import dataclass
from datetime import timedelta

import aiohttp
import pytest_asyncio

from aerofusion.telemetry.v1 import query_service_pb2_grpc
from meshkit.http import listening
from meshkit.serving import GrpcServer
from telemetry.http import make_app
from telemetry.query.queries import Queries, QueriesLimits
from telemetry.query.service import POLICY, serve_queries
from telemetry.store.engine import quote
from telemetry.store.reader import Reader
from telemetry.store.sessions import Sessions
from tests.contract.telemetry_query.known import BASE_MS, SAMPLES, TRACE


@dataclass(frozen=True)
class Asking:
    """How to reach the query side."""

    http: aiohttp.ClientSession
    """Over the Unix socket, as the operator."""

    port: int
    """Of the HTTP API over TLS."""

    grpc_port: int

    async def get(self, path, **params):
        async with self.http.get(f"http://local/api/v1/{path}", params=params) as response:
            return response.status, json.loads(await response.text())

    async def post(self, path, **form):
        async with self.http.post(f"http://local/api/v1/{path}", data=form) as response:
            return response.status, json.loads(await response.text())


def _series(rows):
    values = []
    for number, (labels, kind) in enumerate(rows):
        pairs = ",".join(f"{quote(k)},{quote(v)}" for k, v in sorted(labels.items()))
        values.append(
            f"('', {quote(labels['__name__'])}, 1, {number}, map({pairs}), '{kind}', 's',"
            f" 'what it is', {quote(labels['__name__'])}, now())"
        )
    return (
        "INSERT INTO series (tenant, name, metric, series_id, labels, kind, unit, description,"
        f" otlp_name, first_seen) VALUES {','.join(values)}"
    )


async def _fill(sessions):
    rows = [
        ({"__name__": "calls_total", "job": "edge", "method": "GET"}, "counter"),
        ({"__name__": "calls_total", "job": "edge", "method": "PUT"}, "counter"),
        ({"__name__": "calls_total", "job": "syncd", "method": "GET"}, "counter"),
        ({"__name__": "temperature", "job": "edge", "gate": "B 12"}, "gauge"),
        *(
            ({"__name__": "took_bucket", "job": "edge", "le": le}, "histogram")
            for le in ("0.1", "1", "+Inf")
        ),
    ]
    await sessions.insert(_series(rows))
    slopes = {0: 15, 1: 30, 2: 45, 4: 5, 5: 10, 6: 10}
    values = []
    for i in range(SAMPLES):
        ts = BASE_MS + 15_000 * i
        values += [f"(1, {number}, {ts}, {slope * i}, 1)" for number, slope in slopes.items()]
        values.append(f"(1, 3, {ts}, {'nan' if i == 1 else 20 + i / 4}, 1)")
    await sessions.insert(
        f"INSERT INTO samples (metric, series_id, ts_ms, value, segment) VALUES {','.join(values)}"
    )
    await sessions.insert(
        "INSERT INTO logs (time, service, severity, body, trace_id, attributes, resource, segment)"
        f" SELECT fromUnixTimestamp64Milli({BASE_MS} + intDiv(number, 2) * 1000, 'UTC'), 'edge',"
        f" if(number % 10 = 0, 17, 9), concat('Call ', toString(number)), unhex('{TRACE}'),"
        " map('n', toString(number)), map('host.name', 'h'), 1 FROM numbers(50)"
    )
    spans = [
        ("b7ad6b7169203331", "0000000000000000", "edge", "ingress", 2, 0, 5_000),
        ("b7ad6b7169203332", "b7ad6b7169203331", "notifier", "Create", 2, 1_000, 3_000),
        ("b7ad6b7169203333", "b7ad6b7169203332", "notifier", "send", 3, 2_000, 1_500),
    ]
    for span_id, parent, service, name, kind, start_us, length_us in spans:
        await sessions.insert(
            "INSERT INTO spans (trace_id, span_id, parent_span_id, service, name, kind, start,"
            " duration_ns, status, attributes, segment) VALUES"
            f" (unhex('{TRACE}'), unhex('{span_id}'), unhex('{parent}'), '{service}', '{name}',"
            f" {kind}, fromUnixTimestamp64Micro({BASE_MS}000 + {start_us}, 'UTC'),"
            f" {length_us}000, 2, map('k', 'v'), 1)"
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def asking(ca, tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("asking")
    async with contextlib.AsyncExitStack() as stack:
        sessions = await stack.enter_async_context(Sessions.open(tmp_path / "store"))
        await _fill(sessions)
        queries = Queries(Reader(sessions), QueriesLimits())
        stack.callback(queries.close)
        workload = ca.workload("telemetry")
        server = GrpcServer(workload=workload, listen="127.0.0.1:0", policy=POLICY)
        serve_queries(server, queries)
        grpc_port = await server.start()
        stack.push_async_callback(server.drain, timedelta(seconds=1))
        socket = tmp_path / "http.sock"
        port = await stack.enter_async_context(
            listening(
                make_app(queries),
                address="127.0.0.1:0",
                tls=workload.server_ssl_context(),
                unix_socket=socket,
                grace=timedelta(seconds=1),
            )
        )
        connector = aiohttp.UnixConnector(path=str(socket))
        http = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        yield Asking(http=http, port=port, grpc_port=grpc_port)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def operator(asking, ca):
    """A stub of the operator's."""
    async with ca.workload("operator").channel(
        f"127.0.0.1:{asking.grpc_port}", service="telemetry"
    ) as channel:
        yield query_service_pb2_grpc.QueryServiceStub(channel)
