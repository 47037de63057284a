"""
`python -m bench.areas.telemetry.file_sender SOCKET METHOD FILE`: send a file's requests over gRPC.

The file holds length (4 bytes, little endian) and bytes of each request. A process of its own, so
that its CPU time is not the service's; it encodes nothing.
"""

from __future__ import annotations

import argparse
import json
import mmap
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc


if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.areas.telemetry.server import Server

LOGS = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_IN_FLIGHT = 6
_LENGTH = struct.Struct("<I")


def write_requests(path: Path, requests: Iterable[bytes]) -> int:
    """Write *requests* to *path*; return how many bytes they have in all."""
    total = 0
    with path.open("wb") as file:
        for one in requests:
            file.write(_LENGTH.pack(len(one)) + one)
            total += len(one)
    return total


def send_file(server: Server, method: str, path: Path, signal: str) -> dict[str, Any]:
    """
    Send the requests of *path* to *server*, and wait until they are in its tables.

    Returns what the sender says, and `loaded_s`: from the first request to the last row.
    """
    folder = server.state / "log" / signal
    run = subprocess.run(
        [
            *(sys.executable, "-m", "bench.areas.telemetry.file_sender"),
            *(str(server.grpc_socket), method, str(path)),
        ],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    said: dict[str, Any] = json.loads(run.stdout)
    if said["failed"]:
        raise RuntimeError(f"a sender was refused: {said['failed']}")
    # Its own records make segments, too: those that are there now are waited for.
    left = set(folder.glob("*.pb"))
    while any(one.exists() for one in left):
        time.sleep(0.02)
    said["loaded_s"] = time.monotonic() - said["began_s"]
    return said


def main() -> int:
    parser = argparse.ArgumentParser()
    for name in ("socket", "method", "file"):
        parser.add_argument(name)
    given = parser.parse_args()
    room = threading.Semaphore(_IN_FLIGHT)
    failed: list[str] = []
    latencies: list[float] = []

    def done(call: grpc.Future, begun: float) -> None:
        latencies.append((time.perf_counter() - begun) * 1000)
        if call.exception() is not None or call.result():
            failed.append(str(call.exception() or call.result()))
        room.release()

    with Path(given.file).open("rb") as file, grpc.insecure_channel(f"unix:{given.socket}") as to:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        export = to.unary_unary(given.method)
        grpc.channel_ready_future(to).result(60)
        began = time.monotonic()
        number = at = 0
        while at < len(data):
            (size,) = _LENGTH.unpack_from(data, at)
            room.acquire()
            begun = time.perf_counter()
            call = export.future(data[at + 4 : at + 4 + size], timeout=60)
            call.add_done_callback(lambda call, begun=begun: done(call, begun))
            at += 4 + size
            number += 1
        while len(latencies) < number:
            time.sleep(0.001)
        took = time.monotonic() - began
    said = {
        "requests": number,
        "seconds": took,
        "began_s": began,
        "failed": failed[:3],
        "latencies_ms": latencies,
        "cpu_s": time.process_time(),
    }
    print(json.dumps(said))
    return 0


if __name__ == "__main__":
    sys.exit(main())
