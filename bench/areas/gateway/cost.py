"""
What the edge costs: its policies over a bare route, and the edge beside other proxies.

Each figure of throughput is requests a second of the proxy's own CPU time, user and kernel, with
everything that its process does besides: so it is what one core carries, and what else runs on
the machine matters little. Slices of those compared follow one another in turn.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aerofusion.gateway.v1 import identity_service_pb2
from bench.areas.gateway import proxies
from bench.areas.gateway.policies import put_policies
from bench.areas.gateway.proxies import PATH, TELEMETRY, UPSTREAM, Files, Proxy
from bench.control_plane import ControlPlane


if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.report import Report

TOKENS = 10_000
TOKENS_NEW = 20_000
"""More than the edge remembers, in turn: none of them is remembered when it comes again."""

ROUNDS = 5
SLICE_S = 4.0
WARM_S = 3.0
PACED_RATE = 500
PACED_S = 10.0
PACED_ROUNDS = 3


@dataclass(slots=True)
class Slices:
    """What came of one proxy's slices."""

    per_cpu_s: list[float]
    per_s: list[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What is measured, running."""

    plane: ControlPlane
    files: Files
    to: Proxy
    """The upstream."""

    edge: Proxy
    bare: Proxy
    known: Path
    """Tokens that the edge remembers once it has seen them."""


def measure(report: Report) -> None:
    """Take all figures; about five minutes."""
    if lacking := proxies.missing():
        raise SystemExit(
            f"bench: needs {', '.join(lacking)}; apt-get install nghttp2-client nghttp2-server"
            " nginx-light haproxy"
        )
    with ControlPlane(preflight=False) as plane:
        stage = _stage(plane, report)
        _throughput(stage, report)
        _latency(stage, report)
        _beside(stage, report)


def _stage(plane: ControlPlane, report: Report) -> Stage:
    files = proxies.identity(plane, UPSTREAM)
    to = proxies.upstream(plane, UPSTREAM, files)
    proxies.upstream(plane, TELEMETRY, proxies.identity(plane, TELEMETRY))
    policies = put_policies(plane)
    print(f"policies: {', '.join(policies)}", flush=True)
    report.add("edge_policies", len(policies))
    plane.start_edge()
    plane.settled()
    edge = Proxy("edge", plane.processes["envoy"].pid, plane.edge_port)
    proxies.pin_proxy(edge)
    return Stage(
        plane=plane,
        files=files,
        to=to,
        edge=edge,
        bare=proxies.bare_envoy(plane, files, to),
        known=_tokens(plane, "known", TOKENS),
    )


def _throughput(stage: Stage, report: Report) -> None:
    new = _tokens(stage.plane, "new", TOKENS_NEW)
    for key, bound, tokens in (("", 0.70, stage.known), ("_uncached", 0.30, new)):
        for proxy in (stage.edge, stage.bare):
            _flood(proxy, stage.files, tokens, seconds=WARM_S)
        ours, theirs = _in_turn(stage, tokens)
        ratios = [a / b for a, b in zip(ours.per_cpu_s, theirs.per_cpu_s, strict=True)]
        report.add(
            f"policy_throughput_ratio{key}",
            statistics.median(ratios),
            bound=f">= {bound:.2f}",
            samples=ratios,
        )
        report.add(
            f"policy_throughput_ratio{key}_wall",
            statistics.median(ours.per_s) / statistics.median(theirs.per_s),
        )
        report.add(f"edge_us_per_request{key}", 1e6 / statistics.median(ours.per_cpu_s))
        report.add(f"bare_us_per_request{key}", 1e6 / statistics.median(theirs.per_cpu_s))
    report.add("edge_memory_mb", stage.plane.memory("envoy") / 1e6)


def _latency(stage: Stage, report: Report) -> None:
    """The edge's latency less that of calling the upstream itself, with the same client."""
    added: dict[str, list[float]] = {"p50_ms": [], "p99_ms": []}
    for _ in range(PACED_ROUNDS):
        direct, through = (
            _flood(proxy, stage.files, stage.known, seconds=PACED_S, rate=PACED_RATE)
            for proxy in (stage.to, stage.edge)
        )
        for key, values in added.items():
            values.append(through[key] - direct[key])
    for key, bound in (("p50_ms", "<= 0.6"), ("p99_ms", "<= 2.5")):
        report.add(
            f"edge_added_{key}", statistics.median(added[key]), bound=bound, samples=added[key]
        )


def _beside(stage: Stage, report: Report) -> None:
    """The same load of h2load, with one token, on each proxy."""
    token = stage.known.read_text().split()[0]
    others = [
        start(stage.plane, stage.files, stage.to) for start in (proxies.nginx, proxies.haproxy)
    ]
    every = {one.name: one for one in (stage.edge, stage.bare, *others)}
    for proxy in every.values():
        _h2load(stage.plane, proxy, token, WARM_S)
    found: dict[str, list[float]] = {name: [] for name in every}
    for _ in range(ROUNDS):
        for name, proxy in every.items():
            before = proxy.cpu_s()
            answered = _h2load(stage.plane, proxy, token, SLICE_S)
            found[name].append(answered / (proxy.cpu_s() - before))
    for name, values in found.items():
        key = name.replace("-", "_")
        report.add(f"{key}_rps_per_core", statistics.median(values), samples=values)


def _in_turn(stage: Stage, tokens: Path) -> tuple[Slices, Slices]:
    """Load the edge and the bare Envoy in turn."""
    taken = []
    for _ in range(ROUNDS):
        for proxy in (stage.edge, stage.bare):
            before = proxy.cpu_s()
            told = _flood(proxy, stage.files, tokens, seconds=SLICE_S)
            spent = proxy.cpu_s() - before
            taken.append((told["ok"] / spent, told["ok"] / told["seconds"]))
    return (
        Slices([a for a, _ in taken[::2]], [b for _, b in taken[::2]]),
        Slices([a for a, _ in taken[1::2]], [b for _, b in taken[1::2]]),
    )


def _flood(
    proxy: Proxy, files: Files, tokens: Path, *, seconds: float, rate: float = 0
) -> dict[str, Any]:
    """
    Load a proxy; returns what `bench.flood` tells.

    Raises:
        RuntimeError: More than one in 1,000 requests failed.

    """
    words = [*proxies.other_core(), sys.executable, "-m", "bench.flood"]
    words += ["--port", str(proxy.port), "--roots", str(files.bundle), "--path", PATH]
    words += ["--certificate", str(files.chain), str(files.key), "--tokens", str(tokens)]
    words += ["--seconds", str(seconds), "--rate", str(rate)]
    told = dict(json.loads(_run(words)))
    if told["failed"] > told["ok"] / 1_000:
        raise RuntimeError(f"{proxy.name}: {told['failed']} requests failed, {told['ok']} didn't")
    return told


def _h2load(plane: ControlPlane, proxy: Proxy, token: str, seconds: float) -> int:
    """Load a proxy; returns how many requests were answered with 200."""
    body = plane.folder / "message"
    body.write_bytes(bytes(5))
    words = [*proxies.other_core(), "h2load", "-c8", "-m16", "-D", f"{seconds:g}", "-d", str(body)]
    for name, value in (
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("authorization", f"Bearer {token}"),
    ):
        words += ["-H", f"{name}: {value}"]
    said = _run([*words, f"https://127.0.0.1:{proxy.port}{PATH}"])
    found = re.search(r"status codes: (\d+) 2xx", said)
    if found is None:
        raise RuntimeError(said)
    return int(found[1])


def _tokens(plane: ControlPlane, name: str, count: int) -> Path:
    """Write *count* tokens to a file."""
    path = plane.folder / f"{name}.tokens"
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda number: _token(plane, f"{name}{number}"), range(count)))
    path.write_text("\n".join(made))
    return path


def _token(plane: ControlPlane, subject: str) -> str:
    request = identity_service_pb2.CreateTokenRequest(
        subject=f"passengers/{subject}", tenant="nyc", roles=["passenger"]
    )
    return str(plane.identity.CreateToken(request).token)


def _run(words: Sequence[str]) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{words[:4]}: {done.stderr[-2000:]}")
    return done.stdout
