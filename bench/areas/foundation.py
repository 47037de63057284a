"""The foundation: starting, memory, the edge's share of a call, changes under load."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import grpc
import uvloop
from google.protobuf import duration_pb2

from aerofusion.gateway.v1 import catalog_service_pb2, route_pb2, service_pb2
from bench.backend import ECHO, SERVICE, STREAM
from bench.load import Sample, open_loop
from bench.mesh import (
    Mesh,
    backend,
    bench_service,
    edge_channel,
    own_meshctl,
    state_folder,
    wait_for,
)
from bench.report import Report, percentile
from meshctl.admin import Admin


ROOT = Path(__file__).parent.parent.parent
EDGE_RATE = 500
EDGE_SECONDS = 40
WARM_SECONDS = 5
CHANGE_RATE = 200
CHANGES = 100
CHANGE_EVERY_S = 0.05
STREAMS = 20
SETTLE_S = 20
BODY = b"x" * 256
PACKAGES = ".venv/.packages"
"""Touched when the last package is installed."""


def measure() -> Report:
    """Take all figures; about five minutes."""
    report = Report("foundation")
    _start_from_a_clean_clone(report)
    with state_folder() as state:
        mesh = Mesh(state, own_meshctl())
        mesh.run("up", "--detach", "--no-demo")
        try:
            time.sleep(SETTLE_S)
            memory = mesh.status()["memory_bytes"] / 1e6
            report.add("rss_total_mb", memory, bound="<= 1500")
            uvloop.run(_through_the_edge(mesh, report))
        finally:
            mesh.run("down")
    return report


def _start_from_a_clean_clone(report: Report) -> None:
    """`git clone`, `make up`, and the day runs; then once more."""
    with tempfile.TemporaryDirectory(prefix="mesh-clone-") as scratch, state_folder() as state:
        clone = Path(scratch) / "clone"
        began = time.monotonic()
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        subprocess.run(["make", "env"], cwd=clone, check=True, capture_output=True)
        # Whatever `make env` does after the last package is part of the start.
        installed = time.monotonic() - (time.time() - (clone / PACKAGES).stat().st_mtime)
        mesh = Mesh(state, (str(clone / ".venv/bin/meshctl"),))
        mesh.run("up", "--detach")
        wait_for(lambda: mesh.counted("mailsink", "mails"), "the first mail", within_s=120)
        delivered = time.monotonic()
        report.add("clone_to_day_s", delivered - began, bound="<= 300")
        report.add("startup_first_s", delivered - installed, bound="<= 40")
        time.sleep(SETTLE_S)
        report.add("rss_with_day_mb", mesh.status()["memory_bytes"] / 1e6)
        began = time.monotonic()
        mesh.run("down")
        report.add("shutdown_s", time.monotonic() - began, bound="<= 5")
        began = time.monotonic()
        mesh.run("up", "--detach")
        report.add("startup_second_s", time.monotonic() - began, bound="<= 10")
        mesh.run("down")


async def _through_the_edge(mesh: Mesh, report: Report) -> None:
    token = mesh.token("services/bench", "service", "bench")
    metadata = (("authorization", f"Bearer {token}"),)
    async with (
        backend(mesh) as (address, workload),
        workload.channel(address, service="bench") as direct,
        edge_channel(mesh) as edge,
    ):
        straight, through = direct.unary_unary(ECHO), edge.unary_unary(ECHO)
        calls = [
            lambda: straight(BODY, timeout=10),
            lambda: through(BODY, metadata=metadata, timeout=10),
        ]
        await _until_routed(calls[1])
        await open_loop(calls, rate=EDGE_RATE, seconds=WARM_SECONDS)
        samples = await open_loop(calls, rate=EDGE_RATE, seconds=EDGE_SECONDS)
        _add_edge_share(report, samples)
        await _change_under_load(mesh, report, edge, metadata)


async def _until_routed(call: Any) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            await call()
        except grpc.aio.AioRpcError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)
        else:
            return


def _add_edge_share(report: Report, samples: list[Sample]) -> None:
    failed = [s.code for s in samples if s.code != "OK"]
    if failed:
        raise RuntimeError(f"{len(failed)} calls failed: {set(failed)}")
    direct = [s.latency_ms for s in samples if s.target == 0]
    edge = [s.latency_ms for s in samples if s.target == 1]
    for share, bound in ((0.5, "<= 1"), (0.99, "")):
        name = f"p{share * 100:g}_ms"
        report.add(f"edge_direct_{name}", percentile(direct, share))
        report.add(f"edge_through_{name}", percentile(edge, share))
        added = percentile(edge, share) - percentile(direct, share)
        report.add(f"edge_added_{name}", added, bound=bound)
    report.samples["direct_ms"] = direct
    report.samples["edge_ms"] = edge


async def _change_under_load(
    mesh: Mesh, report: Report, edge: grpc.aio.Channel, metadata: Any
) -> None:
    """Make `CHANGES` changes while calls and streams go on; count what failed."""
    done = asyncio.Event()
    through = edge.unary_unary(ECHO)
    streams = [await _open_stream(edge, metadata) for _ in range(STREAMS)]
    load = asyncio.create_task(
        open_loop(
            [lambda: through(BODY, metadata=metadata, timeout=10)],
            rate=CHANGE_RATE,
            seconds=600,
            stop=done,
        )
    )
    made = await _make_changes(mesh)
    done.set()
    samples = await load
    cut = 0
    for call in streams:
        try:
            await call.write(b"still there")
            if await asyncio.wait_for(call.read(), 10) != b"still there":
                cut += 1
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, TimeoutError):
            cut += 1
        call.cancel()
    failed = [s for s in samples if s.code != "OK"]
    report.add("config_changes", made, bound=f">= {CHANGES}")
    report.add("config_change_requests", len(samples))
    report.add("config_change_failed_requests", len(failed), bound="0")
    report.add("streams_cut", cut, bound="0")
    report.samples["config_change_ms"] = [s.latency_ms for s in samples]


async def _open_stream(edge: grpc.aio.Channel, metadata: Any) -> Any:
    call = edge.stream_stream(STREAM)(metadata=metadata)
    await call.write(b"hello")
    assert await call.read() == b"hello"
    return call


async def _make_changes(mesh: Mesh) -> int:
    """Change endpoints, limits, timeouts and routes in turn; return how many were made."""
    async with Admin(mesh.admin_socket) as admin:
        current = await admin.catalog.GetService(
            catalog_service_pb2.GetServiceRequest(name="services/bench")
        )
        port = current.service.endpoints[0].port
        kinds = itertools.cycle(
            (_swap_backend, _change_timeout, _change_limit, _add_route, _remove_route)
        )
        for number in range(CHANGES):
            await next(kinds)(admin, port, number)
            await asyncio.sleep(CHANGE_EVERY_S)
    return CHANGES


async def _update(admin: Admin, service: service_pb2.Service) -> None:
    await admin.catalog.UpdateService(
        catalog_service_pb2.UpdateServiceRequest(service=service, allow_missing=True)
    )


async def _swap_backend(admin: Admin, port: int, number: int) -> None:
    service = bench_service(port)
    service.endpoints[0].weight = 1 + number % 50
    await _update(admin, service)


async def _change_timeout(admin: Admin, port: int, number: int) -> None:
    service = bench_service(port)
    service.unary_timeout.CopyFrom(duration_pb2.Duration(seconds=20 + number % 10))
    await _update(admin, service)


async def _change_limit(admin: Admin, port: int, number: int) -> None:
    service = bench_service(port)
    service.rate_limit.burst = 10_000 + number
    service.rate_limit.per_second = 10_000
    await _update(admin, service)


async def _add_route(admin: Admin, _port: int, _number: int) -> None:
    route = route_pb2.Route(name="services/bench/routes/canary")
    route.match.grpc_service = SERVICE
    route.match.grpc_method = "Echo"
    route.destinations.add(service="services/bench", weight=1)
    await admin.catalog.UpdateRoute(
        catalog_service_pb2.UpdateRouteRequest(route=route, allow_missing=True)
    )


async def _remove_route(admin: Admin, _port: int, _number: int) -> None:
    await admin.catalog.DeleteRoute(
        catalog_service_pb2.DeleteRouteRequest(name="services/bench/routes/canary")
    )
