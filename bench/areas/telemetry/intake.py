"""The way in: points a second, and what they cost."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from bench.areas.telemetry.server import Server, running


if TYPE_CHECKING:
    from bench.report import Report

METRIC = "bench_load_ratio"
SUSTAINED_S = 120


def send(server: Server, *, forgiven: bool = False, **options: object) -> dict[str, Any]:
    """Run a sender against *server*; return what it says. Raises if it was refused, and not *forgiven*."""
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
    if said["failed"] and not forgiven:
        raise RuntimeError(f"a sender was refused: {said['failed']}")
    return said


def measure(report: Report) -> None:
    """Take the figures of gRPC; about three minutes."""
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
        report.add("otlp_points_queryable_per_s", said["sent"] / queryable_s)
        report.add("otlp_points_per_cpu_s", said["sent"] / cpu)
        report.add("otlp_sender_cpu_s", said["cpu_s"])
        report.add("otlp_server_cpu_s", cpu)
        report.add("otlp_rss_mb", server.rss_mb)
