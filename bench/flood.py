"""
HTTP/2 load with a token of its own in each request, from one process of little Python.

`h2load` sends the same headers always, so a proxy's token cache would always hit. Here the frames
of each token are made beforehand, and a request costs the patching of its stream's number.

    python -m bench.flood --port 8443 --roots ca.pem --path /a.B/C --tokens tokens.txt --seconds 5
"""

from __future__ import annotations

import argparse
import json
import select
import socket
import ssl
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path

from bench.report import percentile


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MESSAGE = b"\x00\x00\x00\x00\x00"
"""An empty gRPC message."""

UNDER_WAY_MAX = 200
"""Requests on one connection; the edge allows 256 streams."""

_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY = 0, 1, 3, 4, 6, 7
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4
_OK = 0x88
""":status 200 in HPACK's static table; nothing we load encodes it otherwise (RFC 7541, A)."""

_WINDOW = (1 << 31) - 1
_SETTINGS_BODY = b"\x00\x02\x00\x00\x00\x00" + b"\x00\x04" + _WINDOW.to_bytes(4, "big")
"""No pushes, and windows that never close."""


def frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    """Return one frame (RFC 9113, 4.1)."""
    return len(body).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + body


def _number(value: int) -> bytes:
    """Return *value* with a prefix of 7 bits (RFC 7541, 5.1)."""
    if value < 127:
        return bytes((value,))
    rest, out = value - 127, bytearray((127,))
    while rest >= 128:
        out.append(rest % 128 | 128)
        rest //= 128
    out.append(rest)
    return bytes(out)


def header(name: str, value: str) -> bytes:
    """Return a header that neither side remembers (RFC 7541, 6.2.2)."""
    return b"\x00" + b"".join(_number(len(one)) + one.encode() for one in (name, value))


class Requests:
    """The frames of requests, in turn."""

    def __init__(self, path: str, tokens: Sequence[str], authority: str = "localhost") -> None:
        """Without *tokens* requests have none."""
        common = b"".join(
            header(name, value)
            for name, value in (
                (":method", "POST"),
                (":scheme", "https"),
                (":authority", authority),
                (":path", path),
                ("content-type", "application/grpc"),
                ("te", "trailers"),
            )
        )
        blocks = [common + header("authorization", f"Bearer {one}") for one in tokens] or [common]
        self._heads: Iterator[tuple[bytes, bytes]] = cycle(
            [(len(one).to_bytes(3, "big") + bytes((_HEADERS, _END_HEADERS)), one) for one in blocks]
        )
        self._data = len(MESSAGE).to_bytes(3, "big") + bytes((_DATA, _END_STREAM))

    def next(self, stream: int) -> bytes:
        """Return the frames of the next request."""
        head, block = next(self._heads)
        number = stream.to_bytes(4, "big")
        return b"".join((head, number, block, self._data, number, MESSAGE))


class Connection:
    """One connection with a number of requests under way."""

    def __init__(self, port: int, context: ssl.SSLContext, requests: Requests) -> None:
        plain = socket.create_connection(("127.0.0.1", port))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = context.wrap_socket(plain, server_hostname="localhost")
        if self.socket.selected_alpn_protocol() != "h2":
            raise RuntimeError("the server speaks no HTTP/2")
        self._requests = requests
        self._stream = 1
        self._buffer = b""
        self._answered: set[int] = set()
        self.under_way = 0
        self.outcomes: Counter[str] = Counter()
        self.sent_at: dict[int, float] = {}
        self.latencies: list[float] = []
        update = (_WINDOW - 65_535).to_bytes(4, "big")
        self.socket.sendall(
            PREFACE + frame(_SETTINGS, 0, 0, _SETTINGS_BODY) + frame(8, 0, 0, update)
        )

    def send(self, count: int, *, timed: bool = False) -> None:
        """Send *count* requests."""
        out = []
        for _ in range(count):
            out.append(self._requests.next(self._stream))
            if timed:
                self.sent_at[self._stream] = time.perf_counter()
            self._stream += 2
        self.under_way += count
        self.socket.sendall(b"".join(out))

    def receive(self) -> int:
        """Read what has come; returns how many requests have ended."""
        ended = 0
        while True:
            data = self.socket.recv(1 << 16)
            if not data:
                raise ConnectionError("the server hung up")
            ended += self._parse(self._buffer + data)
            if not self.socket.pending():
                return ended

    def _parse(self, data: bytes) -> int:
        at, ended, size = 0, 0, len(data)
        while size - at >= 9:
            after = at + 9 + int.from_bytes(data[at : at + 3], "big")
            if after > size:
                break
            kind, flags = data[at + 3], data[at + 4]
            if kind <= _RST_STREAM:
                stream = int.from_bytes(data[at + 5 : at + 9], "big")
                if self._on_stream(kind, flags, stream, data[at + 9 : at + 10]):
                    ended += 1
            elif kind in {_SETTINGS, _PING} and not flags & _ACK:
                body = data[at + 9 : after] if kind == _PING else b""
                self.socket.sendall(frame(kind, _ACK, 0, body))
            elif kind == _GOAWAY:
                raise ConnectionError("the server says good-bye")
            at = after
        self._buffer = data[at:]
        self.under_way -= ended
        return ended

    def _on_stream(self, kind: int, flags: int, stream: int, first: bytes) -> bool:
        """Note a frame; returns whether the stream has ended with it."""
        over = bool(flags & _END_STREAM) or kind == _RST_STREAM
        if kind == _HEADERS and not over and first[0] == _OK:
            self._answered.add(stream)
        if over:
            # Denied calls are 200 too, but have headers only.
            good = kind != _RST_STREAM and stream in self._answered
            self._answered.discard(stream)
            self.outcomes["ok" if good else "failed"] += 1
            if stream in self.sent_at:
                self.latencies.append((time.perf_counter() - self.sent_at.pop(stream)) * 1000)
        return over


def closed_loop(connections: Sequence[Connection], streams: int, seconds: float) -> float:
    """Keep *streams* requests under way on each connection; returns the seconds it took."""
    by_socket = {one.socket: one for one in connections}
    began = time.perf_counter()
    for one in connections:
        one.send(streams)
    while time.perf_counter() - began < seconds:
        for ready in select.select(list(by_socket), [], [], 5)[0]:
            connection = by_socket[ready]
            if ended := connection.receive():
                connection.send(ended)
    return time.perf_counter() - began


def paced(connection: Connection, rate: float, seconds: float) -> float:
    """Send *rate* requests a second, whatever the answers take; returns the seconds it took."""
    began = time.perf_counter()
    sent = 0
    while (now := time.perf_counter() - began) < seconds or connection.under_way:
        if now < seconds and sent <= now * rate and connection.under_way < UNDER_WAY_MAX:
            connection.send(1, timed=True)
            sent += 1
            continue
        late = now >= seconds or connection.under_way >= UNDER_WAY_MAX
        wait = 5.0 if late else max(0.0, sent / rate - now)
        if select.select([connection.socket], [], [], wait)[0]:
            connection.receive()
    return time.perf_counter() - began


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench.flood", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--roots", type=Path, required=True)
    parser.add_argument("--certificate", type=Path, nargs=2, metavar=("CHAIN", "KEY"))
    parser.add_argument("--path", required=True)
    parser.add_argument("--tokens", type=Path)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument(
        "--rate", type=float, default=0, help="requests a second; 0: as many as can be"
    )
    parser.add_argument("--seconds", type=float, default=5)
    given = parser.parse_args(argv)
    context = ssl.create_default_context(cafile=str(given.roots))
    context.check_hostname = False  # A service's certificate names the service.
    context.set_alpn_protocols(["h2"])
    if given.certificate:
        context.load_cert_chain(*given.certificate)
    tokens = given.tokens.read_text().split() if given.tokens else []
    requests = Requests(given.path, tokens)
    count = 1 if given.rate else given.connections
    connections = [Connection(given.port, context, requests) for _ in range(count)]
    if given.rate:
        seconds = paced(connections[0], given.rate, given.seconds)
    else:
        seconds = closed_loop(connections, given.streams, given.seconds)
    outcomes = sum((one.outcomes for one in connections), Counter())
    told: dict[str, float] = {
        "seconds": seconds,
        "ok": outcomes["ok"],
        "failed": outcomes["failed"],
    }
    if latencies := connections[0].latencies:
        told |= {"p50_ms": percentile(latencies, 0.5), "p99_ms": percentile(latencies, 0.99)}
    print(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
