"""
Four weeks of known metrics, and the trends side in front of them.

Per module, not longer: a process can have only one store open at a time.
"""

# ruff: noqa: S608 - the SQL is made of constants

import contextlib
import time
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pytest_asyncio

from aerofusion.telemetry.v1.forecast_service_pb2_grpc import ForecastServiceStub
from externalscaler.externalscaler_pb2_grpc import ExternalScalerStub
from meshkit.serving import GrpcServer
from telemetry.policy import POLICY
from telemetry.query.queries import Queries
from telemetry.scaler.service import serve_scaler
from telemetry.store.engine import quote
from telemetry.store.reader import Reader
from telemetry.store.sessions import Sessions
from telemetry.trends.asking import Trends
from telemetry.trends.service import serve_trends


HOUR_MS = 3_600_000
HOURS = 24 * 28
END_MS = time.time_ns() // 1_000_000 // HOUR_MS * HOUR_MS
START_MS = END_MS - (HOURS - 1) * HOUR_MS


@dataclass(frozen=True)
class Asking:
    """Stubs of the operator's."""

    trends: ForecastServiceStub
    scaler: ExternalScalerStub


def load(hours):
    """Requests a second: a day, and a quieter weekend."""
    day = 100 + 60 * np.sin(2 * np.pi * hours / 24)
    return np.where(hours // 24 % 7 >= 5, 0.6, 1.0) * day


SERIES = {
    "load": ({"job": "aerofusion/notifier"}, load),
    "disk_used": ({"host": "a"}, lambda h: 1000.0 + h),
    "new_thing": ({}, lambda h: np.where(h >= HOURS - 5, 1.0, np.nan)),
    "process_memory_usage_bytes": (
        {"job": "aerofusion/notifier", "instance": "0"},
        lambda h: 2e8 + 1e5 * h,
    ),
    "process_cpu_time_seconds_total": (
        {"job": "aerofusion/notifier", "instance": "0"},
        lambda h: np.cumsum(3600 * load(h) / 200),
    ),
}


async def _fill(sessions):
    hours = np.arange(HOURS)
    for number, (name, (labels, of)) in enumerate(SERIES.items()):
        pairs = ",".join(
            f"{quote(k)},{quote(v)}" for k, v in sorted({"__name__": name, **labels}.items())
        )
        kind = "counter" if name.endswith("_total") else "gauge"
        await sessions.insert(
            "INSERT INTO series (tenant, name, metric, series_id, labels, kind, unit, description,"
            f" otlp_name, first_seen) VALUES ('', {quote(name)}, 1, {number}, map({pairs}),"
            f" '{kind}', '1', 'known', {quote(name)}, now())"
        )
        values = of(hours)
        rows = ",".join(
            f"(1, {number}, {START_MS + int(h) * HOUR_MS + sub * 300_000}, {value!r}, 1)"
            for h, value in zip(hours, values.tolist(), strict=True)
            if value == value  # noqa: PLR0124 - a gap
            for sub in range(12)
            if h < HOURS - 1 or sub == 0
        )
        await sessions.insert(
            f"INSERT INTO samples (metric, series_id, ts_ms, value, segment) VALUES {rows}"
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def asking(ca, tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("trends")
    async with contextlib.AsyncExitStack() as stack:
        sessions = await stack.enter_async_context(Sessions.open(tmp_path / "store"))
        await _fill(sessions)
        queries = Queries(Reader(sessions))
        stack.callback(queries.close)
        trends = Trends(queries)
        stack.callback(trends.close)
        server = GrpcServer(workload=ca.workload("telemetry"), listen="127.0.0.1:0", policy=POLICY)
        serve_trends(server, trends)
        serve_scaler(server, queries, trends)
        port = await server.start()
        stack.push_async_callback(server.drain, timedelta(seconds=1))
        channel = await stack.enter_async_context(
            ca.workload("operator").channel(f"127.0.0.1:{port}", service="telemetry")
        )
        yield Asking(trends=ForecastServiceStub(channel), scaler=ExternalScalerStub(channel))
