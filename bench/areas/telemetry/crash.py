"""
Crashes at any moment: nothing that was acknowledged is lost, and nothing is doubled.

Half of the runs end by SIGKILL, half by a power cut: the state stands on an ext4 image of its own
that is shut down without flushing its journal. The control runs the same service with `fsync`
and `fdatasync` made to do nothing: it must lose something, or the harness proves nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from bench.areas.telemetry import server as servers
from bench.areas.telemetry.sender import METHOD
from tests.contract.telemetry_intake.otlp_requests import gauges


if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.report import Report

RUNS = 50
CONTROLS = 3
POINTS_EACH = 200
IMAGE_BYTES = 2 << 30
_SHUTDOWN = 0x8004587D
"""FS_IOC_SHUTDOWN."""

_WITHOUT_FLUSH = 2
_UNSAFE = """
import os, runpy, sys
os.fsync = os.fdatasync = lambda descriptor: None
sys.argv = ["telemetry", "serve"]
runpy.run_module("telemetry", run_name="__main__", alter_sys=True)
"""


def measure(report: Report) -> None:
    """Crash it; about a quarter of an hour. Power cuts need root, for the image is mounted."""
    lost, doubled, acknowledged = _runs(RUNS, safe=True)
    report.add("crash_runs", RUNS, bound=">= 50")
    report.add("crash_points_acked", acknowledged)
    report.add("acked_points_lost", lost, bound="0")
    report.add("points_doubled", doubled, bound="0")
    control_lost = sum(_runs(1, safe=False)[0] for _ in range(CONTROLS))
    report.add("control_points_lost", control_lost, bound="> 0")


def _runs(count: int, *, safe: bool) -> tuple[int, int, int]:
    """Return (points lost, points doubled, points acknowledged) over *count* crashes."""
    chance = random.Random(11)
    lost = doubled = total = 0
    with tempfile.TemporaryDirectory(prefix="bench-crash-") as folder:
        image = Path(folder) / "image"
        with image.open("wb") as file:
            file.truncate(IMAGE_BYTES)
        subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
        place = Path(folder) / "state"
        place.mkdir()
        sent = 0
        acknowledged: set[int] = set()
        for run in range(count):
            cut = run % 2 == 1 or not safe
            with _mounted(image, place):
                sent = _crash(
                    place, chance.uniform(0.3, 2.5), sent, acknowledged, cut=cut, safe=safe
                )
            print(f"crash {run + 1}: {len(acknowledged)} acknowledged", flush=True)
            if (run + 1) % 10 == 0 or run + 1 == count or not safe:
                found = {}
                # What the control leaves may be nothing that can be started.
                forgiven = contextlib.nullcontext() if safe else contextlib.suppress(OSError)
                with forgiven, _mounted(image, place):
                    found = _found(place)
                lost += sum(n not in found for n in acknowledged)
                doubled += sum(times > 1 for times in found.values())
                total += len(acknowledged)
                acknowledged = set()
                print(f"of {total} acknowledged: {lost} lost, {doubled} doubled", flush=True)
    return lost, doubled, total


def _crash(
    place: Path, seconds: float, sent: int, acknowledged: set[int], *, cut: bool, safe: bool
) -> int:
    """Send until a crash some time later; return the highest number sent."""
    server = _start(place, safe=safe)
    descriptor = os.open(place, os.O_RDONLY)

    def crash() -> None:
        if cut:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _WITHOUT_FLUSH))
        server.process.send_signal(signal.SIGKILL)

    timer = threading.Timer(seconds, crash)
    with grpc.insecure_channel(f"unix:{server.grpc_socket}") as channel:
        export = channel.unary_unary(METHOD)
        timer.start()
        with contextlib.suppress(grpc.RpcError):
            while True:
                numbers = range(sent + 1, sent + POINTS_EACH + 1)
                sent += POINTS_EACH
                export(gauges("crash", map(float, numbers), time.time_ns()), timeout=10)
                acknowledged.update(numbers)
    timer.join()
    server.process.wait(30)
    os.close(descriptor)
    return sent


def _found(place: Path) -> dict[int, int]:
    """Return how often each number is in the tables, of those that were sent in the last hour."""
    server = _start(place, safe=True)
    try:
        server.wait_quiet()
        code = (
            "import asyncio, pathlib, sys\n"
            "from telemetry.store.sessions import Sessions\n"
            "async def main():\n"
            "    async with Sessions.open(pathlib.Path(sys.argv[1])) as sessions:\n"
            "        print((await sessions.execute('SELECT toUInt64(number), count() FROM samples'\n"
            "            ' WHERE series_id IN (SELECT series_id FROM series WHERE name = \\'crash\\')'\n"
            "            ' GROUP BY 1')).decode())\n"
            "asyncio.run(main())\n"
        )
    finally:
        server.stop()
    out = subprocess.run(
        [sys.executable, "-c", code, str(server.state / "store")],
        check=True,
        capture_output=True,
        text=True,
    )
    rows = [line.split("\t") for line in out.stdout.splitlines() if "\t" in line]
    return {int(number): int(times) for number, times in rows}


def _start(place: Path, *, safe: bool) -> servers.Server:
    command = None if safe else [sys.executable, "-c", _UNSAFE]
    return servers.start(place / "s", command=command, segment_age="0.3")


@contextlib.contextmanager
def _mounted(image: Path, place: Path) -> Iterator[None]:
    subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=True)
    try:
        (place / "s").mkdir(exist_ok=True)
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)
