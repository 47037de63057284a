"""
A million spans of 20 services, from requests to rows of the table, beside the service map's join.

Calls are pairs, the client's span and the server's below it, in different requests of 500 spans;
8 resource attributes, 6 of the span, times and durations of their own. Nothing is sampled away.
"""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from bench.areas.telemetry.file_sender import TRACES, send_file, write_requests
from bench.areas.telemetry.server import running


if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from bench.report import Report

SPANS = 1_000_000
SERVICES = 20
SPANS_EACH = 500
_SERVER, _CLIENT = 2, 3
_OVER_S = 300
"""Over how long the spans begin, up to now."""


def measure(report: Report) -> None:
    """Send them once; about two minutes."""
    with tempfile.TemporaryDirectory(prefix="bench-spans-") as folder:
        requests = Path(folder) / "requests"
        size = write_requests(requests, _requests(random.Random(5)))
        with running(Path(folder)) as server:
            cpu = server.cpu_s
            said = send_file(server, TRACES, requests, "traces")
            report.add("spans_per_s", SPANS / said["loaded_s"], bound=">= 150000")
            report.add("spans_acked_per_s", SPANS / said["seconds"])
            report.add("span_bytes_each", size / SPANS)
            server.wait_quiet()
            report.add("spans_per_cpu_s", SPANS / (server.cpu_s - cpu))


def _requests(chance: random.Random) -> Iterator[bytes]:
    """Yield requests of one service each, those of clients and of servers in turn."""
    now = time.time_ns()
    routes = [f"/api/flights/{n}" for n in range(50)]
    filling = {
        (service, kind): _empty(service)
        for service in range(SERVICES)
        for kind in (_CLIENT, _SERVER)
    }
    for call in range(SPANS // 2):
        caller, called = chance.sample(range(SERVICES), 2)
        route = chance.choice(routes)
        trace, client, server = chance.randbytes(16), chance.randbytes(8), chance.randbytes(8)
        start = now - _OVER_S * 10**9 + call * (_OVER_S * 10**9 // (SPANS // 2))
        took = int(chance.lognormvariate(16, 1))  # 9 ms at the median
        for service, kind, span_id, parent in (
            (caller, _CLIENT, client, b""),
            (called, _SERVER, server, client),
        ):
            request = filling[service, kind]
            spans = request.resource_spans[0].scope_spans[0].spans
            span = spans.add(
                trace_id=trace,
                span_id=span_id,
                parent_span_id=parent,
                name=f"GET {route}",
                kind=kind,
                start_time_unix_nano=start + (took // 10 if parent else 0),
                end_time_unix_nano=start + took,
            )
            _describe(span, chance, route)
            if len(spans) == SPANS_EACH:
                yield request.SerializeToString()
                filling[service, kind] = _empty(service)
    for request in filling.values():
        yield request.SerializeToString()


def _describe(span: Span, chance: random.Random, route: str) -> None:
    for key, value in (
        ("http.request.method", "GET"),
        ("http.route", route),
        ("server.address", f"gate-{chance.randrange(40)}.internal"),
        ("user.id", f"passenger-{chance.randrange(100_000)}"),
        ("network.protocol.version", "2"),
    ):
        span.attributes.append(_text(key, value))
    code = 500 if chance.random() < 0.01 else 200
    span.attributes.append(
        KeyValue(key="http.response.status_code", value=AnyValue(int_value=code))
    )
    if code == 500:
        span.status.code = Status.STATUS_CODE_ERROR


def _empty(service: int) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add()
    spans.resource.attributes.extend(
        _text(key, value)
        for key, value in {
            "service.name": f"bench-{service}",
            "service.namespace": "mesh",
            "service.instance.id": str(service),
            "service.version": "1.2.3",
            "host.name": f"host-{service}",
            "deployment.environment.name": "bench",
            "telemetry.sdk.language": "python",
            "process.pid": str(1000 + service),
        }.items()
    )
    spans.scope_spans.add().scope.name = "bench"
    return request


def _text(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))
