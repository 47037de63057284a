"""
The peers that metrics are compared with: Debian's prometheus and victoria-metrics.

`make debian` unpacks them into `build/debian`; installed ones are used as they are. They get
samples by remote write (protobuf in snappy's block format, here without compression).
"""

# ruff: noqa: S310 - only loopback is asked

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import struct
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

UNPACKED = Path(__file__).parent.parent / "build" / "debian"
START_WITHIN_S = 60.0
_LITERAL_MAX = 60_000

Samples = "Iterable[tuple[Mapping[str, str], Sequence[tuple[int, float]]]]"
"""Labels of each series, and its samples: milliseconds and value."""


class PeerMissing(Exception):
    """A peer isn't there; the message says how to get it."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A running peer."""

    name: str
    url: str
    pid: int

    def write(self, samples: Any) -> None:
        """Send samples by remote write; the peer has them when this returns."""
        self.write_raw(snappy(write_request(samples)))

    def write_raw(self, body: bytes) -> None:
        """Send a request of remote write, compressed already."""
        headers = {
            "Content-Type": "application/x-protobuf",
            "Content-Encoding": "snappy",
            "X-Prometheus-Remote-Write-Version": "0.1.0",
        }
        request = urllib.request.Request(f"{self.url}/api/v1/write", body, headers)
        with urllib.request.urlopen(request, timeout=60):
            pass

    def get(self, path: str, **params: str | Sequence[str]) -> tuple[int, Any]:
        """Return status and JSON of `/api/v1/<path>`."""
        query = urllib.parse.urlencode(params, doseq=True)
        return self._read(urllib.request.Request(f"{self.url}/api/v1/{path}?{query}"))

    def post(self, path: str, **form: str | Sequence[str]) -> tuple[int, Any]:
        """Return status and JSON of `/api/v1/<path>`, asked by a form."""
        body = urllib.parse.urlencode(form, doseq=True).encode()
        return self._read(urllib.request.Request(f"{self.url}/api/v1/{path}", body))

    def _read(self, request: urllib.request.Request) -> tuple[int, Any]:
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, json.loads(response.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"null")


@contextlib.contextmanager
def prometheus(folder: Path) -> Iterator[Peer]:
    """Run Prometheus over *folder*, scraping nothing."""
    config = folder / "prometheus.yml"
    config.write_text("global: {scrape_interval: 15s}\n")
    port = _free_port()
    words = [
        *(f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}"),
        *(f"--web.listen-address=127.0.0.1:{port}", "--web.enable-remote-write-receiver"),
        "--log.level=warn",
    ]
    with _running("prometheus", words, folder, port, "/-/ready") as peer:
        yield peer


@contextlib.contextmanager
def victoria_metrics(folder: Path) -> Iterator[Peer]:
    """Run VictoriaMetrics over *folder*."""
    port = _free_port()
    words = [
        *(f"-storageDataPath={folder / 'victoria'}", f"-httpListenAddr=127.0.0.1:{port}"),
        *("-retentionPeriod=12", "-search.latencyOffset=0s", "-search.disableCache"),
    ]
    with _running("victoria-metrics", words, folder, port, "/health") as peer:
        yield peer


@contextlib.contextmanager
def _running(
    name: str, words: Sequence[str], folder: Path, port: int, ready: str
) -> Iterator[Peer]:
    program = shutil.which(name) or UNPACKED / name / "usr" / "bin" / name
    if not Path(program).exists():
        raise PeerMissing(f"{name} isn't there. Try: make debian")
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen([str(program), *words], stdout=log, stderr=log)
        try:
            url = f"http://127.0.0.1:{port}"
            _await(f"{url}{ready}", process)
            yield Peer(name, url, process.pid)
        finally:
            process.terminate()
            process.wait(timeout=30)


def _await(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=1):
            return
        time.sleep(0.05)  # asks again
    raise PeerMissing(f"{url} doesn't answer")


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def write_request(samples: Any) -> bytes:
    """Return a `prometheus.WriteRequest` of *samples* (`Samples`)."""
    out = bytearray()
    for labels, points in samples:
        series = bytearray()
        for name, value in sorted(labels.items()):
            series += _field(1, _field(1, name.encode()) + _field(2, value.encode()))
        for ms, number in points:
            series += _field(2, b"\x09" + struct.pack("<d", number) + b"\x10" + _varint(ms))
        out += _field(1, bytes(series))
    return bytes(out)


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def snappy(data: bytes) -> bytes:
    """Return *data* in snappy's block format, as literals only."""
    out = bytearray(_varint(len(data)))
    for start in range(0, len(data), _LITERAL_MAX):
        part = data[start : start + _LITERAL_MAX]
        out += bytes([61 << 2]) + struct.pack("<H", len(part) - 1) + part
    return bytes(out)
