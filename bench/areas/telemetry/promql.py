"""
PromQL: Prometheus's own scripts, and the query that dashboards ask most, beside the peers.

Ten thousand counters, a sample each 15 s +- 5 ms, come to all three by remote write, the same
bytes; then each is asked in turn for the rate of all, summed by job, over an hour. Nobody
remembers answers: Prometheus has no such cache, VictoriaMetrics' is off. Ours has the hour in
memory, as after an hour of running.
"""

from __future__ import annotations

import math
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.areas.telemetry.server import UnixConnection, running
from bench.peers import prometheus, snappy, victoria_metrics, write_request
from tests.scenarios.telemetry_query.promqltest import SCRIPTS, run


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.report import Report

SERIES = 10_000
EVERY_MS = 15_000
JITTER_MS = 5
SPAN_S = 3_600
WINDOW_S = 300
QUERY = "sum by (job) (rate(bench_requests_total[5m]))"
TIMES = 15
WARM = 3
OFF_EDGE_MS = 7_000
"""Samples lie off the edges of windows, where version 3 of Prometheus differs from 2.42."""

_SAMPLES_AT_ONCE = 20
_SERIES_AT_ONCE = 1_000
_HEADERS = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}


def measure(report: Report) -> None:
    """Take the figures; about two minutes."""
    _scripts(report)
    with tempfile.TemporaryDirectory(prefix="bench-promql-") as folder:
        _beside(report, Path(folder))


def _scripts(report: Report) -> None:
    verdicts = [v for path in sorted(SCRIPTS.glob("*.test")) for v in run(path)]
    floats = [v for v in verdicts if not v.native]
    natives = [v for v in verdicts if v.native]
    passed = sum(not v.complaint for v in floats)
    report.add("promql_pass", passed, bound="all of at least 900")
    report.add("promql_total", len(floats), bound=">= 900")
    report.add("promql_skipped", 0)
    report.add("promql_native_pass", sum(not v.complaint for v in natives))
    report.add("promql_native_total", len(natives))
    for verdict in verdicts:
        if verdict.complaint:
            print(f"  line {verdict.line}: {verdict.query}: {verdict.complaint}")


def _beside(report: Report, folder: Path) -> None:
    end_s = int(time.time()) // 60 * 60
    with (
        running(head_span="7200") as ours,
        prometheus(folder) as prom,
        victoria_metrics(folder) as victoria,
    ):
        for body in _requests(end_s):
            for send in (_sender(ours.http_socket), prom.write_raw, victoria.write_raw):
                send(body)
        ours.wait_quiet()
        asks: dict[str, Any] = {
            "rate_sum_10k_series_1h": lambda step: ours.get("query_range", **_grid(end_s, step)),
            "prometheus_rate_sum": lambda step: _data(
                prom.get("query_range", **_grid(end_s, step))
            ),
            "victoriametrics_rate_sum": lambda step: _data(
                victoria.get("query_range", **_grid(end_s, step))
            ),
        }
        for step, suffix in ((15, ""), (60, "_step_60s")):
            _same(asks["rate_sum_10k_series_1h"](step), asks["prometheus_rate_sum"](step), step)
            taken: dict[str, list[float]] = {name: [] for name in asks}
            for turn in range(TIMES + WARM):
                for name, ask in asks.items():
                    began = time.perf_counter()
                    ask(step)
                    if turn >= WARM:
                        taken[name].append((time.perf_counter() - began) * 1_000)
            for name, samples in taken.items():
                asked_for = "<= 50, ahead of both" if name.startswith("rate") and not suffix else ""
                report.add(
                    f"{name}{suffix}_ms",
                    statistics.median(samples),
                    bound=asked_for,
                    samples=samples,
                )


def _grid(end_s: int, step_s: int) -> dict[str, str]:
    start = str(end_s - SPAN_S)
    return {"query": QUERY, "start": start, "end": str(end_s), "step": str(step_s)}


def _data(answer: tuple[int, Any]) -> Any:
    status, body = answer
    if status != 200 or body["status"] != "success":
        raise RuntimeError(body)
    return body["data"]


def _same(ours: Any, theirs: Any, step_s: int) -> None:
    """Raise unless both answers are the same, so that the same work was done."""
    key = {"key": lambda row: sorted(row["metric"].items())}
    pairs = zip(sorted(ours["result"], **key), sorted(theirs["result"], **key), strict=True)
    for mine, other in pairs:
        if len(mine["values"]) != SPAN_S // step_s + 1:
            raise RuntimeError(f"{len(mine['values'])} points")
        for (at, value), (their_at, their_value) in zip(
            mine["values"], other["values"], strict=True
        ):
            if at != their_at or not math.isclose(float(value), float(their_value), rel_tol=1e-9):
                raise RuntimeError(f"at {at}: {value} and {their_value}")


def _sender(socket: Path) -> Callable[[bytes], None]:
    def send(body: bytes) -> None:
        connection = UnixConnection(socket)
        connection.request("POST", "/api/v1/write", body, _HEADERS)
        response = connection.getresponse()
        if response.status >= 300:
            raise RuntimeError(f"{response.status}: {response.read()[:500]!r}")
        response.read()
        connection.close()

    return send


def _requests(end_s: int) -> Iterator[bytes]:
    """Yield requests of remote write, times rising over all series as Prometheus demands."""
    chance = random.Random(1)
    count = (SPAN_S + WINDOW_S) * 1000 // EVERY_MS + 1
    first_ms = end_s * 1000 - (count - 1) * EVERY_MS - EVERY_MS + OFF_EDGE_MS
    values = [float(chance.randrange(1_000_000)) for _ in range(SERIES)]
    labels = [
        {
            "__name__": "bench_requests_total",
            "job": f"job-{i % 10}",
            "instance": f"host-{i // 100}:9100",
            "path": f"/api/v1/resource/{i % 100}",
        }
        for i in range(SERIES)
    ]
    for begin in range(0, count, _SAMPLES_AT_ONCE):
        numbers = range(begin, min(begin + _SAMPLES_AT_ONCE, count))
        for first in range(0, SERIES, _SERIES_AT_ONCE):
            batch = []
            for i in range(first, first + _SERIES_AT_ONCE):
                points = []
                for number in numbers:
                    values[i] += chance.randrange(100)
                    at = first_ms + number * EVERY_MS + chance.randint(-JITTER_MS, JITTER_MS)
                    points.append((at, values[i]))
                batch.append((labels[i], points))
            yield snappy(write_request(batch))
