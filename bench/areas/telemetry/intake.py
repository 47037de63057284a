"""The way in: points a second, what they cost, how long an acknowledgement takes, bytes on disk."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from bench.areas.telemetry.server import Server, running
from bench.report import percentile


if TYPE_CHECKING:
    from bench.report import Report

METRIC = "bench_load_ratio"
SUSTAINED_S = 120
COST_S = 20
LATENCY_S = 30


def measure(report: Report) -> None:
    """Take the figures of gRPC; about four minutes."""
    _sustained(report)
    _latency(report)


def send(server: Server, **options: object) -> dict[str, Any]:
    """Run a sender against *server*; return what it says."""
    arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "bench.areas.telemetry.sender"),
            *(str(server.grpc_socket), *arguments),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as sender:
        assert sender.stdin is not None
        assert sender.stdout is not None
        assert sender.stdout.readline() == "ready\n"
        out, _ = sender.communicate("go\n")
    said: dict[str, Any] = json.loads(out)
    if said["failed"]:
        raise RuntimeError(f"a sender was refused: {said['failed']}")
    return said


def _sustained(report: Report) -> None:
    with running() as server:
        send(server, rounds=1)  # Its series are known then.
        server.wait_quiet()
        cpu_before = server.cpu_s
        said = send(server, seconds=SUSTAINED_S)
        asked = time.monotonic()
        found = 0
        while found < said["sent"] and time.monotonic() - asked < 60:
            found = server.count(METRIC, said["first"] - 1, said["last"] + 1)
        queryable_s = said["seconds"] + (time.monotonic() - asked)
        server.wait_quiet()
        cpu = server.cpu_s - cpu_before
        report.add("otlp_points_per_s", said["sent"] / said["seconds"], bound=">= 500000")
        report.add("otlp_points_sent", said["sent"])
        report.add("otlp_points_found", found, bound=f"== {said['sent']}")
        report.add("otlp_queryable_s", queryable_s)
        report.add("otlp_points_per_cpu_s", said["sent"] / cpu)
        report.add("otlp_sender_cpu_s", said["cpu_s"])
        report.add("otlp_server_cpu_s", cpu)
        report.add("otlp_rss_mb", server.rss_mb)


def _latency(report: Report) -> None:
    for key, rate, bound in (("ack_p99_ms", 17_000, 10), ("ack_p99_100k_ms", 100_000, 25)):
        with running() as server:
            send(server, rounds=1, points=500)
            server.wait_quiet()
            said = send(server, seconds=LATENCY_S, points=500, rate=rate)
            times = said["latencies_ms"]
            report.add(key, percentile(times, 0.99), bound=f"<= {bound}", samples=times)
            report.add(key.replace("p99", "p50"), percentile(times, 0.5))
