"""
How soon people are told of what happens, and how many rules a core evaluates each second.

Detection: from the moment a sender exports a sample to the moment a webhook has the alert; a real
telemetry with its database, 1,000 rules, each event another rule's, at any phase of a second.
Rules: distinct selectors over 100,000 series, a third thresholds, a third `rate`, a third
`sum by`, 1 % firing; the CPU of a tick, with states and samples of `ALERTS`, without intake. Nearly
all of them are screened: the head says that nothing comes near their limits. What it is where each
expression is evaluated stands beside it.
"""

from __future__ import annotations

import asyncio
import json
import queue
import random
import shutil
import tempfile
import threading
import time
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import grpc
import numpy as np
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from aerofusion.telemetry.v1 import (
    routing_pb2,
    routing_service_pb2,
    routing_service_pb2_grpc,
    rule_service_pb2,
    rule_service_pb2_grpc,
)
from bench.areas.telemetry.sender import METHOD
from bench.areas.telemetry.server import running
from bench.report import percentile
from meshctl.parts.postgres import Cluster
from meshctl.processes import kill_session, spawn, trace
from telemetry.head.extract import Columns
from telemetry.head.head import Head
from telemetry.head.source import HeadSource
from telemetry.promql.labels import make
from telemetry.promql.limits import QueryLimits
from telemetry.rules.model import Group, Rule
from telemetry.rules.runner import Runner
from telemetry.rules.screening import quiet


if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.report import Report
    from telemetry.promql.source import Columns as Found

RULES: Final = 1_000
EVENTS: Final = 60
SERIES: Final = 100_000
EACH: Final = 10
"""Series that a rule selects."""

TRIED: Final = 9_999
TICKS: Final = 5
HISTORY_S: Final = 600
STEP_S: Final = 15


def measure(report: Report) -> None:
    """Take the figures; about two minutes."""
    _measure_rules(report)
    _measure_detection(report)


def _measure_detection(report: Report) -> None:
    hook = _Hook()
    with _database() as dsn, running(postgres_dsn=dsn) as server:
        channel = grpc.insecure_channel(f"unix:{server.grpc_socket}")
        export = channel.unary_unary(METHOD)
        export(_sample(range(RULES), 1.0))
        policy = routing_pb2.EscalationPolicy(
            id="default",
            group_by=["n"],
            steps=[routing_pb2.EscalationStep(targets=["tenants/a/topics/b"])],
            fallback_webhooks=[hook.address],
        )
        routing_service_pb2_grpc.RoutingServiceStub(channel).UpdateRouting(
            routing_service_pb2.UpdateRoutingRequest(routing=routing_pb2.Routing(policies=[policy]))
        )
        rules = [
            {"alert": f"High{n}", "expr": f'bench_queue{{n="{n}"}} > 10'} for n in range(RULES)
        ]
        content = json.dumps({"groups": [{"name": "bench", "rules": rules}]})
        rule_service_pb2_grpc.RuleServiceStub(channel).ApplyRuleFile(
            rule_service_pb2.ApplyRuleFileRequest(content=content)
        )
        chance = random.Random(4)
        taken = []
        for event in chance.sample(range(RULES), EVENTS):
            time.sleep(chance.random())  # another phase of the second each time
            began = time.monotonic()
            export(_sample([event], 50.0))
            while hook.told.get(timeout=30) != f"High{event}":
                pass
            taken.append((time.monotonic() - began) * 1000)
        channel.close()
    hook.close()
    report.add(
        "alert_detect_to_notify_p50_ms", percentile(taken, 0.5), bound="<= 1200", samples=taken
    )
    report.add("alert_detect_to_notify_p99_ms", percentile(taken, 0.99), bound="<= 3000")


def _sample(numbers: Sequence[int], value: float) -> bytes:
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="bench.queue")
    for number in numbers:
        point = metric.gauge.data_points.add(time_unix_nano=time.time_ns(), as_double=value)
        point.attributes.add(key="n").value.string_value = str(number)
    return request.SerializeToString()


class _Hook:
    """A webhook that says which alert it was told of, and nothing else."""

    def __init__(self) -> None:
        self.told: queue.Queue[str] = queue.Queue()
        told = self.told

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                for alert in body["alerts"]:
                    told.put(alert["alertname"])
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _database:  # noqa: N801 - used like a function
    """A PostgreSQL of its own, with a database for telemetry."""

    def __enter__(self) -> str:
        self._folder = Path(tempfile.mkdtemp(prefix="bench-alerts-"))
        self._folder.chmod(0o711)
        cluster = Cluster(folder=self._folder / "postgres", run=self._folder / "run", settings={})
        with (self._folder / "postgres.log").open("ab") as log:
            self._process = spawn(cluster.prepare(), log)
        process = self._process

        async def ready() -> None:
            await cluster.wait_ready(lambda: process.poll() is None, 30)
            await cluster.ensure_databases("telemetry")

        asyncio.run(ready())
        return cluster.dsn("telemetry")

    def __exit__(self, *_: object) -> None:
        leader = trace(self._process.pid)
        self._process.terminate()
        self._process.wait(10)
        if leader is not None:
            kill_session(leader)
        shutil.rmtree(self._folder)


class _Nowhere:
    """A store that must not be asked: rules run on memory alone."""

    def select(self, *_: object, **__: object) -> Found:
        raise RuntimeError("the store was asked")


def _measure_rules(report: Report) -> None:
    now_ms = int(time.time()) * 1000
    head = _filled(now_ms)
    with_screen, firing = _ticks(head, now_ms, screened=True)
    alone, _ = _ticks(head, now_ms, screened=False)
    report.add(
        "rules_per_core_at_1s", percentile(with_screen, 0.5), bound=">= 10000", samples=with_screen
    )
    report.add("rules_per_core_each_evaluated", percentile(alone, 0.5), samples=alone)
    report.add("rules_firing_share", firing)


def _ticks(head: Head, now_ms: int, *, screened: bool) -> tuple[list[float], float]:
    """Return how many rules a second of CPU evaluates, tick by tick, and what share fires."""
    source = HeadSource(head=head, store=_Nowhere(), tenant="")

    async def write(_request: bytes, _tenant: str) -> None:
        return None

    async def make_runner() -> Runner:
        return Runner(
            source=lambda _: source,
            write=write,
            changed=lambda _: None,
            limits=QueryLimits(timeout=timedelta(seconds=5)),
            screen=(lambda *asked: quiet(head, *asked)) if screened else None,
            step_ms=1_000,
        )

    runner = asyncio.run(make_runner())
    for number, group in enumerate(_groups()):
        runner.put("", group, group_id=str(number))
    work = [(one, stage) for one in runner.groups.values() for stage in one.stages]
    runner.evaluate_all(work, now_ms)  # selections are looked up, kernels loaded
    taken = []
    for tick in range(TICKS):
        began = time.process_time()
        runner.evaluate_all(work, now_ms + tick + 1)
        taken.append(TRIED / (time.process_time() - began))
    states = [state for one in runner.groups.values() for state in one.states.values()]
    return taken, sum(bool(state.alerts) for state in states) / TRIED


def _filled(now_ms: int) -> Head:
    """Return a head with ten minutes of `SERIES` counters and gauges."""
    head = Head(1 << 30)
    ids = np.arange(1, SERIES + 1, dtype=np.uint64)
    for one in range(SERIES):
        labels = {"__name__": "bench_metric", "n": str(one), "part": str(one // EACH)}
        head.name((1, one + 1), "", make(labels | {"zone": str(one % 3)}))
    head.begin(now_ms - HISTORY_S * 1000 - 1)
    for back_s in range(HISTORY_S, -1, -STEP_S):
        values = np.arange(SERIES, dtype=np.float64) + (HISTORY_S - back_s)
        ts = np.full(SERIES, now_ms - back_s * 1000, np.int64)
        head.take(Columns(ids=ids, ts_ms=ts, values=values))
    return head


def _groups() -> Iterator[Group]:
    rules = []
    for n in range(TRIED):
        selector = f'bench_metric{{part="{n}"}}'
        # One in a hundred fires: all of its series are above 0.
        above = "> 0" if n % 100 == 0 else "> 1e12"
        expr = (
            f"{selector} {above}",
            f"rate({selector}[5m]) {above}",
            f"sum by (zone) ({selector}) {above}",
        )[n % 3]
        rules.append(Rule(alert=f"Rule{n}", expr=expr))
    for first in range(0, len(rules), 500):
        yield Group(name=f"g{first}", rules=tuple(rules[first : first + 500]))
