"""
Strict limits: decisions a second beside an empty handler of grpc.aio, and how long they take.

Both are servers in processes of their own, with the mesh's mutual TLS, called in turn by the same
client. The ratio is of calls in a second of the server's CPU time, so what else runs on the
machine matters little.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import uvloop

from aerofusion.gateway.v1 import limit_pb2, object_pb2, service_pb2
from bench.control_plane import ControlPlane, until
from bench.report import percentile
from gateway.compile.envoy_api import make
from gateway.limits.rls import METHOD
from meshkit.identity import Workload
from meshkit.settings import MeshSettings


if TYPE_CHECKING:
    from bench.report import Report

ROUNDS = 5
SLICE_S = 4.0
AT_ONCE = 64
KEYS = 1_000
PACED_S = 10.0
LIMIT = "limits/bench"


def measure(report: Report) -> None:
    """Take the figures; about a minute."""
    with ControlPlane(preflight=False) as plane:
        service = service_pb2.Service(name="services/gateway", identity="gateway")
        service.endpoints.add(address="127.0.0.1", port=plane.gateway_port)
        limit = limit_pb2.Limit(
            name=LIMIT,
            strength=limit_pb2.Limit.STRENGTH_STRICT,
            requests=1_000_000_000,
            keys=[limit_pb2.LimitKey(subject=True)],
        )
        plane.apply([object_pb2.Object(service=service), object_pb2.Object(limit=limit)])
        settings = plane.client_settings("edge")
        port, ready = plane.folder / "port", plane.folder / "empty"
        words = [sys.executable, "-m", "bench.areas.gateway.strict", "--port", port]
        words += ["--gateway", settings.gateway_address]
        words += ["--identity", ready, "--join", plane.ticket("gateway", "empty")]
        plane.start("empty", words)
        until(port.exists, "the empty server")
        addresses = {"gateway": settings.gateway_address, "empty": f"127.0.0.1:{port.read_text()}"}
        uvloop.run(_measure(report, plane, settings, addresses))


async def _measure(
    report: Report, plane: ControlPlane, settings: Any, addresses: dict[str, str]
) -> None:
    workload = await Workload.open(settings, "edge")
    per_cpu: dict[str, list[float]] = {name: [] for name in addresses}
    rates: dict[str, list[float]] = {name: [] for name in addresses}
    for round_number in range(ROUNDS + 1):
        for name, address in addresses.items():
            before = _cpu_s(plane, name)
            calls, elapsed = await _flood(workload, address, SLICE_S)
            if round_number:  # The first warms.
                per_cpu[name].append(calls / (_cpu_s(plane, name) - before))
                rates[name].append(calls / elapsed)
    ratios = [ours / bare for ours, bare in zip(per_cpu["gateway"], per_cpu["empty"], strict=True)]
    report.add(
        "rls_ratio_to_empty_handler", percentile(ratios, 0.5), bound=">= 0.75", samples=ratios
    )
    for name, found in rates.items():
        report.add(f"rls_{name}_per_s", percentile(found, 0.5), samples=found)
    half = percentile(rates["gateway"], 0.5) / 2
    taken = await _paced(workload, addresses["gateway"], half)
    report.add("rls_p50_ms", percentile(taken, 0.5))
    report.add("rls_p99_ms", percentile(taken, 0.99), bound="<= 5", samples=taken)


def _cpu_s(plane: ControlPlane, name: str) -> float:
    """Return the CPU time of a process until now, user and kernel."""
    fields = Path(f"/proc/{plane.processes[name].pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def _questions() -> list[bytes]:
    """Return requests as an edge makes them, of many subjects."""
    return [
        make(
            "envoy.service.ratelimit.v3.RateLimitRequest",
            domain="aerofusion",
            descriptors=[
                {
                    "entries": [
                        {"key": "limit", "value": LIMIT},
                        {"key": "subject", "value": f"passengers/p{number}"},
                    ]
                }
            ],
        ).SerializeToString()
        for number in range(KEYS)
    ]


async def _flood(workload: Workload, address: str, seconds: float) -> tuple[int, float]:
    questions, calls = _questions(), 0
    async with workload.channel(address) as channel:
        ask = channel.unary_unary(METHOD)
        began = time.monotonic()

        async def caller(first: int) -> None:
            nonlocal calls
            number = first
            while time.monotonic() - began < seconds:
                await ask(questions[number % KEYS])
                number += AT_ONCE
                calls += 1

        await asyncio.gather(*(caller(first) for first in range(AT_ONCE)))
        return calls, time.monotonic() - began


async def _paced(workload: Workload, address: str, rate: float) -> list[float]:
    """Ask so often a second, whatever the answers take; returns milliseconds."""
    questions, taken = _questions(), list[float]()
    async with workload.channel(address) as channel:
        ask = channel.unary_unary(METHOD)
        await ask(questions[0])

        async def one(number: int, due: float) -> None:
            await ask(questions[number % KEYS])
            taken.append((time.monotonic() - due) * 1000)

        began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for number in range(int(rate * PACED_S)):
                due = began + number / rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                tasks.create_task(one(number, max(due, time.monotonic())))
    return taken


async def serve_empty(workload: Workload, told: Path) -> None:
    """Serve a handler that does nothing, until ended; its port is written to *told*."""

    async def nothing(_: bytes, __: Any) -> bytes:
        return b""

    server = grpc.aio.server()
    service, _, name = METHOD.removeprefix("/").rpartition("/")
    handler: Any = grpc.unary_unary_rpc_method_handler(nothing)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {name: handler}),)
    )
    port = server.add_secure_port("127.0.0.1:0", workload.server_credentials())
    await server.start()
    told.with_suffix(".new").write_text(str(port))
    told.with_suffix(".new").rename(told)
    await server.wait_for_termination()


async def _main(args: argparse.Namespace) -> None:
    settings = MeshSettings(
        gateway_address=args.gateway,
        identity_dir=args.identity,
        join_file=args.join,
        replica="empty",
    )
    await serve_empty(await Workload.open(settings, "gateway"), args.port)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.areas.gateway.strict")
    parser.add_argument("--gateway", required=True)
    for option in ("--port", "--identity", "--join"):
        parser.add_argument(option, required=True, type=Path)
    uvloop.run(_main(parser.parse_args()))
