"""
How long until a token that is revoked is refused at all edges: three real ones, and 200 clients.

Every edge's listener has the same address, so each Envoy stands in a network namespace of its
own, with a prober beside it; their relays reach the gateway from outside.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import subprocess
import sys
import time
from pathlib import Path
from string import Template
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from aerofusion.gateway.v1 import key_service_pb2
from bench.control_plane import HEAP_BYTES_MAX, ROOT, ControlPlane, EdgeClient, until
from bench.report import percentile
from meshctl.parts.edge import packaged_binary


if TYPE_CHECKING:
    from bench.report import Report

SERVICES: Final = 200
EDGES: Final = 3
CLIENTS: Final = 200
TOKENS: Final = 60
WARM: Final = 5
PAUSE_S: Final = 0.3
GIVE_UP_S: Final = 10.0
REFUSED: Final = (401, 403)


def measure(report: Report) -> None:
    """Take the figures; about a minute."""
    with ControlPlane(preflight=False, ads_streams_max=CLIENTS + 10) as plane:
        plane.load(SERVICES)
        probers = [_start_edge(plane, number) for number in range(EDGES)]
        _start_clients(plane)
        tokens = [plane.token() for _ in range(TOKENS + WARM)]
        served = [_ask(prober, f"serves {tokens[0]}") for prober in probers]
        if any(status in REFUSED for status in map(int, served)):
            raise RuntimeError(f"a good token got {served}")
        taken = []
        for token in tokens:
            _tell_all(probers, f"until {token}")
            began = time.monotonic()
            plane.keys.RevokeToken(key_service_pb2.RevokeTokenRequest(token_id=_id(token)))
            ends = [float(_hear(prober)) for prober in probers]
            taken.append((max(ends) - began) * 1000)
            time.sleep(PAUSE_S)  # paces
        for prober in probers:
            prober.stdin.close()
            prober.wait(10)
        taken = taken[WARM:]
        report.add("revocation_p50_ms", percentile(taken, 0.5))
        report.add("revocation_p99_ms", percentile(taken, 0.99), bound="<= 250", samples=taken)
        report.add("revocation_edges", EDGES)
        report.add("revocation_clients", CLIENTS)


def _start_edge(plane: ControlPlane, number: int) -> Any:
    """Start relay and Envoy number so-and-so, and what asks it; returns the last."""
    folder = plane.folder / f"edge-{number}"
    folder.mkdir(mode=0o700)
    relay = folder / "relay" / "relay.sock"
    plane.start(
        f"relay-{number}",
        [sys.executable, "-m", "gateway", "relay", "serve"],
        RELAY_GATEWAY_ADDRESS=f"127.0.0.1:{plane.gateway_port}",
        RELAY_IDENTITY_DIR=str(folder / "identity"),
        RELAY_JOIN_FILE=str(plane.ticket("edge", str(number), "localhost", "127.0.0.1")),
        RELAY_REPLICA=str(number),
        RELAY_SOCKET=str(relay),
        RELAY_SHELF_DIR=str(folder / "shelf"),
        RELAY_LOG_LEVEL="warning",
    )
    until(relay.exists, f"relay {number}")
    template = Template((ROOT / "envoy" / "bootstrap.yaml").read_text())
    config = folder / "envoy.yaml"
    config.write_text(
        template.substitute(
            node_id=f"edge-real-{number}",
            admin_socket=folder / "admin.sock",
            relay_socket=relay,
            heap_bytes_max=HEAP_BYTES_MAX,
            connections_max=1000,
        )
    )
    envoy = f"{packaged_binary()} -c {config} --use-dynamic-base-id --concurrency 1 -l warning"
    script = f"ip link set lo up && exec {envoy}"
    pid = plane.start(f"envoy-{number}", ["unshare", "--net", "sh", "-c", script])
    # Before that the process is still where we are.
    until(lambda: _network(str(pid)) != _network("self"), f"the network of edge {number}")
    roots = folder / "roots.pem"
    roots.write_bytes(plane.bundle_pem)
    words = ["nsenter", f"--net=/proc/{pid}/ns/net", sys.executable]
    words += ["-m", "bench.areas.gateway.revocation", "--port", str(plane.edge_port)]
    prober = subprocess.Popen(
        [*words, "--roots", str(roots)],
        env=plane.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    if _hear(prober) != "ready":
        raise RuntimeError((plane.folder / f"envoy-{number}.log").read_text()[-3000:])
    return prober


def _network(pid: str) -> str:
    return str(Path(f"/proc/{pid}/ns/net").readlink())


def _start_clients(plane: ControlPlane) -> None:
    settings = plane.client_settings("edge")
    ready = plane.folder / "ready"
    words = [sys.executable, "-m", "bench.areas.gateway.fanout", "--streams", CLIENTS]
    words += ["--gateway", settings.gateway_address, "--identity", settings.identity_dir]
    words += ["--join", settings.join_file, "--ready", ready, "--times", plane.folder / "times"]
    plane.start("clients", words)
    until(ready.exists, "the clients", within_s=120)


def _id(token: str) -> str:
    payload = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return str(claims["jti"])


def _tell_all(probers: list[Any], line: str) -> None:
    for prober in probers:
        prober.stdin.write(line + "\n")
        prober.stdin.flush()
    for prober in probers:
        if _hear(prober) != "asking":
            raise RuntimeError("a prober doesn't ask")


def _ask(prober: Any, line: str) -> str:
    prober.stdin.write(line + "\n")
    prober.stdin.flush()
    return _hear(prober)


def _hear(prober: Any) -> str:
    return str(prober.stdout.readline()).strip()


async def _connected(port: int) -> None:
    async with asyncio.timeout(180):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)  # polls
            else:
                writer.close()
                return


def main() -> None:
    """Ask one edge, as the lines of the standard input say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--roots", type=Path, required=True)
    given = parser.parse_args()
    asyncio.run(_connected(given.port))
    like: Any = SimpleNamespace(
        bundle_pem=given.roots.read_bytes(), edge_port=given.port, token=lambda: ""
    )
    client = EdgeClient(like)
    print("ready", flush=True)
    for line in sys.stdin:
        what, _, client.bearer = line.strip().partition(" ")
        if what == "serves":
            print(client.status(0, 0), flush=True)
            continue
        print("asking", flush=True)
        deadline = time.monotonic() + GIVE_UP_S
        while client.status(0, 0) not in REFUSED:
            if time.monotonic() > deadline:
                raise RuntimeError("never refused")
            time.sleep(0.001)  # paces
        print(time.monotonic(), flush=True)


if __name__ == "__main__":
    main()
