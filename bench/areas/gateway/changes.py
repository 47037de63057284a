"""How soon a change is served, cold builds, and memory."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from aerofusion.gateway.v1 import catalog_service_pb2
from bench.control_plane import METHODS, ControlPlane, EdgeClient, edge_client, route
from bench.report import percentile


if TYPE_CHECKING:
    from bench.report import Report

SERVICES = 2_000
SERVICES_LARGE = 10_000
CHANGES = 300
CHANGES_LARGE = 100
PAUSE_S = 0.02
POLL_S = 0.001
CHURN_RATE = 50
CHURN_S = 20
SERVED_WITHIN_S = 10.0
ROUTES_COLD = 10_000

DENIED = 403
"""The new configuration of a route that only others may call."""


def measure(report: Report) -> None:
    """Take all figures; about six minutes."""
    _cold_build(report)
    with ControlPlane(preflight=False) as plane:
        _memory(plane, report)
        plane.load(SERVICES)
        plane.start_edge()
        plane.settled()
        with edge_client(plane) as client:
            served = one_by_one(plane, client, SERVICES, CHANGES)
            report.add("change_to_served_p50_ms", percentile(served, 0.5), bound="<= 10")
            report.add(
                "change_to_served_p99_ms", percentile(served, 0.99), bound="<= 50", samples=served
            )
            churn = at_a_rate(plane, client, SERVICES)
            report.add("churn50_p50_ms", percentile(churn, 0.5))
            report.add("churn50_p99_ms", percentile(churn, 0.99), bound="<= 250", samples=churn)
    with ControlPlane(preflight=True) as plane:
        plane.load(SERVICES)
        plane.start_edge()
        plane.start_preflight()
        plane.settled()
        with edge_client(plane) as client:
            served = one_by_one(plane, client, SERVICES, CHANGES_LARGE)
            report.add("change_to_served_preflight_p50_ms", percentile(served, 0.5), bound="<= 30")
    with ControlPlane(preflight=False) as plane:
        report.add("load_100k_s", plane.load(SERVICES_LARGE))
        plane.start_edge()
        plane.settled()
        report.add("envoy_100k_mb", plane.memory("envoy") / 1e6)
        with edge_client(plane) as client:
            served = one_by_one(plane, client, SERVICES_LARGE, CHANGES_LARGE)
            report.add(
                "change_to_served_100k_p50_ms",
                percentile(served, 0.5),
                bound="<= 25",
                samples=served,
            )
            report.add("change_to_served_100k_p99_ms", percentile(served, 0.99))


def one_by_one(plane: ControlPlane, client: EdgeClient, services: int, changes: int) -> list[float]:
    """
    Change one route after another, each of another service; returns milliseconds.

    From the sending of the admin RPC to the first request that the new configuration answers.
    """
    taken = []
    warm = 20
    for change in range(changes + warm):
        number, method = (change * 7919) % services, change % METHODS
        closed = client.status(number, method) == DENIED
        request = update(number, method, closed=not closed)
        began = time.perf_counter()
        made = plane.catalog.UpdateRoute.future(request)
        _poll_until(client, number, method, began, closed=not closed)
        if change >= warm:
            taken.append((time.perf_counter() - began) * 1000)
        made.result()
        time.sleep(PAUSE_S)  # paces
    return taken


def at_a_rate(plane: ControlPlane, client: EdgeClient, services: int) -> list[float]:
    """
    Make `CHURN_RATE` changes a second; returns milliseconds as above.

    The oldest change under way is polled: a later one is served no sooner.
    """
    taken: list[float] = []
    under_way: deque[tuple[int, int, float, Any]] = deque()
    start = time.perf_counter()
    total = CHURN_RATE * CHURN_S
    made = 0
    while made < total or under_way:
        now = time.perf_counter()
        while made < total and start + made / CHURN_RATE <= now:
            number, method = (made * 7919 + 13) % services, (made + 3) % METHODS
            future = plane.catalog.UpdateRoute.future(update(number, method, closed=True))
            under_way.append((number, method, start + made / CHURN_RATE, future))
            made += 1
        if under_way:
            number, method, began, future = under_way[0]
            if client.status(number, method) == DENIED:
                taken.append((time.perf_counter() - began) * 1000)
                future.result()
                under_way.popleft()
                continue
            if now - began > SERVED_WITHIN_S:
                raise RuntimeError(f"not served within {SERVED_WITHIN_S:g} s")
        time.sleep(POLL_S)  # paces
    return taken


def update(number: int, method: int, *, closed: bool) -> catalog_service_pb2.UpdateRouteRequest:
    """Return the request that closes a route to our client, or opens it."""
    made = route(number, method, "nobody") if closed else route(number, method)
    return catalog_service_pb2.UpdateRouteRequest(route=made)


def _poll_until(
    client: EdgeClient, number: int, method: int, began: float, *, closed: bool
) -> None:
    tick = 1
    while (client.status(number, method) == DENIED) is not closed:
        if time.perf_counter() - began > SERVED_WITHIN_S:
            raise RuntimeError(f"not served within {SERVED_WITHIN_S:g} s")
        tick = max(tick, int((time.perf_counter() - began) / POLL_S) + 1)
        time.sleep(max(0.0, began + tick * POLL_S - time.perf_counter()))  # paces


def _memory(plane: ControlPlane, report: Report) -> None:
    """Growth of the gateway's resident memory by 10,000 routes of 1,000 services."""
    before = plane.memory("gateway")
    plane.load(ROUTES_COLD // METHODS)
    time.sleep(2)  # paces
    grown = plane.memory("gateway") - before
    report.add("cp_bytes_per_route", grown / ROUTES_COLD, bound="<= 10000")


def _cold_build(report: Report) -> None:
    """Model to bytes, each time in a process of its own, the first use of everything included."""
    taken = [
        float(
            subprocess.run(
                [sys.executable, "-c", _COLD], check=True, capture_output=True, text=True
            ).stdout
        )
        for _ in range(5)
    ]
    report.add("cold_build_10k_routes_ms", statistics.median(taken), bound="<= 400", samples=taken)


_COLD = f"""
import time
from bench.control_plane import METHODS, route, service
from gateway.compile.compiler import compile_all
from gateway.compile.inputs import Inputs
from gateway.compile.options import EdgeOptions
from gateway.model import Catalog
from gateway.services import convert
numbers = range({ROUTES_COLD} // METHODS)
objects = [convert.service_in(f"services/s{{n:05}}", service(n)) for n in numbers]
for n in numbers:
    for m in range(METHODS):
        made = route(n, m)
        objects.append(convert.route_in(made.name, made))
inputs = Inputs(catalog=Catalog.of(1, objects), jwks="{{}}")
began = time.perf_counter()
compile_all(inputs, EdgeOptions())
print((time.perf_counter() - began) * 1000)
"""
