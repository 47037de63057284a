"""What a sample costs, by Prometheus's remote write: ours beside Debian's Prometheus and VM."""

from __future__ import annotations

import tempfile
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np
import psutil
import pyarrow as pa

from bench.areas.telemetry.server import UnixConnection, running
from bench.peers import prometheus, victoria_metrics, write_request


if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.report import Report

_MARK_MS = 1_234_567_890_123
SERIES = 20_000
SERIES_EACH = 2_000
ROUNDS = 50
STEP_MS = 1_000
HEADERS = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}
_QUIET_S = 5
_QUIET_WITHIN_S = 20


def measure(report: Report) -> None:
    """Take the figures; about two minutes."""
    with running() as server:
        cost = _cost(UnixConnection(server.http_socket), server.process.pid)
        report.add("points_per_cpu_s", cost)
    for name, start in (("prometheus", prometheus), ("victoriametrics", victoria_metrics)):
        with (
            tempfile.TemporaryDirectory(prefix="bench-peer-") as folder,
            start(Path(folder)) as peer,
        ):
            address = urlsplit(peer.url)
            connection = HTTPConnection(str(address.hostname), address.port, timeout=120)
            peers = _cost(connection, peer.pid)
            report.add(f"{name}_points_per_cpu_s", peers, bound=f"< {cost:.0f}")


def _encoded() -> list[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    """Return remote writes that hold a sample of each series together, and where its time is."""
    made = []
    mark = _varint(_MARK_MS)
    for first in range(0, SERIES, SERIES_EACH):
        series = [
            (
                {
                    "__name__": "bench_requests_total",
                    "job": f"mesh/bench-{n % 20}",
                    "instance": str(n // 500),
                    "http_request_method": "GET",
                    "http_response_status_code": "200",
                    "http_route": f"/api/flights/{n % 50}",
                    "network_protocol_name": "http",
                    "server_address": f"gate-{n // 50 % 100}",
                    "flight": str(n),
                },
                [(_MARK_MS, float(n))],
            )
            for n in range(first, first + SERIES_EACH)
        ]
        data = write_request(series)
        places, at = [], data.find(mark)
        while at >= 0:
            places.append(at)
            at = data.find(mark, at + len(mark))
        if len(places) != SERIES_EACH:
            raise RuntimeError("a time's bytes stand elsewhere, too")
        made.append((np.frombuffer(bytearray(data), np.uint8), np.array(places)))
    return made


def _varint(number: int) -> bytes:
    return bytes(number >> 7 * i & 0x7F | (0x80 if i < 5 else 0) for i in range(6))


def _cost(connection: HTTPConnection, pid: int) -> float:
    """Return how many samples a second of CPU takes, once its series are known."""
    start_ms = int(time.time() * 1000) - (ROUNDS + 2) * STEP_MS
    made = _encoded()
    _post(connection, made, start_ms)
    _wait_quiet(pid)
    before = _cpu_s(pid)
    for number in range(1, ROUNDS + 1):
        _post(connection, made, start_ms + number * STEP_MS)
    _wait_quiet(pid)
    return ROUNDS * SERIES / (_cpu_s(pid) - before)


def _post(
    connection: HTTPConnection,
    made: list[tuple[NDArray[np.uint8], NDArray[np.int64]]],
    time_ms: int,
) -> None:
    digits = np.frombuffer(_varint(time_ms), np.uint8)
    for data, places in made:
        data[places[:, None] + np.arange(len(digits))] = digits
        body = pa.compress(data.tobytes(), codec="snappy", asbytes=True)
        connection.request("POST", "/api/v1/write", body, HEADERS)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{answer.status}: {text[:200]!r}")


def _cpu_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def _wait_quiet(pid: int) -> None:
    """Return once the process has merged what it wanted to."""
    deadline = time.monotonic() + _QUIET_WITHIN_S
    while time.monotonic() < deadline:
        before = _cpu_s(pid)
        time.sleep(_QUIET_S)
        if _cpu_s(pid) - before < 0.04 * _QUIET_S:
            return
