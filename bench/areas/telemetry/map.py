"""
What the service map's join takes of a core: spans of 30 services, each call's two in different
requests of 500 spans, six attributes each, with the first touch of each span's memory.

Spans are as the intake hands them over, checked already; what the intake itself takes isn't in it.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from telemetry.map.edges import Edges


if TYPE_CHECKING:
    from bench.report import Report

SERVICES, REQUESTS, SPANS = 30, 200, 500
_SERVER, _CLIENT = 2, 3
_KEYS = ("rpc.system", "rpc.service", "rpc.method", "user.id", "net.peer.name", "http.route")


def measure(report: Report) -> None:
    """Join 100,000 spans, five times."""
    requests = _requests(random.Random(1))
    Edges(spans_max=1024).warm()
    rates = []
    for _ in range(5):
        edges = Edges()
        started = time.process_time()
        for request in requests:
            edges.take(request, "", time.time_ns(), SPANS)
        rates.append(REQUESTS * SPANS / (time.process_time() - started))
        calls = sum(one.calls for one in edges.take_calls())
        if calls != REQUESTS * SPANS // 2:
            raise RuntimeError(f"{calls} calls were found of {REQUESTS * SPANS // 2}")
    report.add("map_spans_per_cpu_s", sorted(rates)[2], samples=rates)


def _requests(chance: random.Random) -> list[bytes]:
    """Requests of clients' spans and of servers', those of one call at different places."""
    clients: list[tuple[str, bytes, bytes]] = []
    servers: list[tuple[str, bytes, bytes, bytes]] = []
    for _ in range(REQUESTS * SPANS // 2):
        trace, call = chance.randbytes(16), chance.randbytes(8)
        caller, called = chance.sample(range(SERVICES), 2)
        clients.append((f"service-{caller}", trace, call))
        servers.append((f"service-{called}", trace, chance.randbytes(8), call))
    chance.shuffle(servers)
    spans = [
        *((name, trace, call, b"", _CLIENT) for name, trace, call in clients),
        *((name, trace, own, call, _SERVER) for name, trace, own, call in servers),
    ]
    made = [spans[at : at + SPANS] for at in range(0, len(spans), SPANS)]
    chance.shuffle(made)
    return [_request(sorted(part)) for part in made]


def _request(spans: list[tuple[str, bytes, bytes, bytes, int]]) -> bytes:
    now = time.time_ns()
    request = ExportTraceServiceRequest()
    last = ""
    for name, trace, own, parent, kind in spans:
        if name != last:
            resource = request.resource_spans.add()
            resource.resource.attributes.append(_text("service.name", name))
            scope = resource.scope_spans.add()
            last = name
        span = scope.spans.add(
            trace_id=trace,
            span_id=own,
            parent_span_id=parent,
            name="call",
            kind=kind,
            start_time_unix_nano=now,
            end_time_unix_nano=now + 1_000_000,
        )
        span.attributes.extend(_text(key, "value") for key in _KEYS)
    return request.SerializeToString()


def _text(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))
