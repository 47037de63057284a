"""Starting: to the first acknowledgement, and through a log that an earlier run has left."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from bench.areas.telemetry.points import requests
from bench.areas.telemetry.sender import METHOD
from bench.areas.telemetry.server import running
from telemetry.log.records import seal


if TYPE_CHECKING:
    from bench.report import Report

SERIES = 20_000
POINTS_EACH = 4_000
ROUNDS = 100
SEGMENT_BYTES = 64 << 20


def measure(report: Report) -> None:
    """Take the figures; about a minute. What is compiled is on disk before."""
    with tempfile.TemporaryDirectory(prefix="bench-restart-") as folder:
        with running(Path(folder)) as server:
            _acknowledged(server.grpc_socket)
        began = time.monotonic()
        with running(Path(folder)) as server:
            _acknowledged(server.grpc_socket)
            cold_s = time.monotonic() - began
        report.add("cold_start_s", cold_s, bound="<= 2")
    with tempfile.TemporaryDirectory(prefix="bench-replay-") as folder:
        log = Path(folder) / "state" / "log" / "metrics"
        log.mkdir(parents=True)
        points = _leave(log)
        began = time.monotonic()
        with running(Path(folder)) as server:
            while any(log.glob("*.pb")):
                time.sleep(0.02)
            replay_s = max(0.001, time.monotonic() - began - cold_s)
            found = server.count("bench_load_ratio", time.time() - 400, time.time() + 5, 60)
        report.add("replay_points_per_s", points / replay_s, bound=">= 1000000")
        report.add("replay_points", points)
        report.add("replay_points_found", found, bound=f"== {points}")


def _acknowledged(socket: Path) -> None:
    with grpc.insecure_channel(f"unix:{socket}") as channel:
        channel.unary_unary(METHOD)(b"", timeout=60, wait_for_ready=True)


def _leave(folder: Path) -> int:
    """Write segments as a writer leaves them that dies before they are loaded."""
    made = requests(SERIES, POINTS_EACH)
    begin = time.time_ns() - 300 * 10**9
    points, number, records, size = 0, 1, [], 0
    for round_number in range(ROUNDS):
        at = begin + round_number * 10**9
        for request in made:
            records.append(seal(request.at(at), "", at))
            size += len(records[-1])
            points += request.points
        if size >= SEGMENT_BYTES or round_number == ROUNDS - 1:
            (folder / f"{number:010d}.pb").write_bytes(b"".join(records))
            number, records, size = number + 1, [], 0
    (folder.parent / "next").write_text(str(number + 1000))
    return points
