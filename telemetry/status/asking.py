"""The queries behind the status table."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from telemetry.promql.labels import get
from telemetry.rules.model import duration_text
from telemetry.status.table import Presence, Row, grid_of, presence


if TYPE_CHECKING:
    from collections.abc import Iterable

    from telemetry.promql.engine import Answer
    from telemetry.promql.labels import Labels
    from telemetry.query.queries import Queries

SERVICES_MAX = 5_000
_NAMES = "process_memory_usage_bytes|relay_stats_series|edge_service_requests_total"
"""What every process tells of itself, or the edge's relay of it."""

HEARD = (
    'count by (job) (count by (job, instance) (present_over_time({__name__=~"' + _NAMES + '"}'
    "[{slot}])))"
)
_FAILED = "UNKNOWN|DEADLINE_EXCEEDED|UNIMPLEMENTED|INTERNAL|UNAVAILABLE|DATA_LOSS"
_CALLS = "rpc_server_call_duration_seconds"
CALLS = f"sum by (job) (rate({_CALLS}_count[{{window}}]))"
FAILED = (
    f'sum by (job) (rate({_CALLS}_count{{{{rpc_response_status_code=~"{_FAILED}"}}}}[{{window}}]))'
)
P99 = f"histogram_quantile(0.99, sum by (job, le) (rate({_CALLS}_bucket[{{window}}])))"
EDGE_REQUESTS = "sum by (job) (rate(edge_service_requests_total[{window}]))"
EDGE_FAILED = 'sum by (job) (rate(edge_service_requests_total{{code="5xx"}}[{window}]))'
EDGE_P99 = (
    "histogram_quantile(0.99, sum by (job, le) (rate(edge_service_duration_seconds_bucket"
    "[{window}])))"
)
CPU = "sum by (job) (rate(process_cpu_time_seconds_total[{window}]))"
MEMORY = "sum by (job) (process_memory_usage_bytes)"
BUDGETS = "min by (service, job) (objective:budget_remaining)"


async def ask(
    queries: Queries, window_ms: int, now_ms: int, *, tenant: str, firing: Iterable[Labels]
) -> list[Row]:
    """
    Return a row for each service that was heard of within *window_ms*, by name.

    Args:
        firing: Labels of the alerts that fire.

    Raises:
        Unavailable: QUERY_TIMED_OUT, STORE_FAILED.
        Overloaded: QUERY_QUEUE_FULL.

    """
    grid = grid_of(window_ms, now_ms)
    heard = await queries.range(
        HEARD.replace("{slot}", duration_text(grid[2])), grid, tenant=tenant
    )
    present = {
        service_of(get(one.labels, "job")): presence(one.ts, one.values, grid)
        for one in heard.series[:SERVICES_MAX]
    }

    async def by_job(query: str) -> dict[str, float]:
        text = query.format(window=duration_text(window_ms))
        return values(await queries.instant(text, now_ms, tenant=tenant))

    calls = {**await by_job(CALLS), **await by_job(EDGE_REQUESTS)}
    failed = {**await by_job(FAILED), **await by_job(EDGE_FAILED)}
    p99 = {**await by_job(P99), **await by_job(EDGE_P99)}
    cpu, memory = await by_job(CPU), await by_job(MEMORY)
    budgets = least(await queries.instant(BUDGETS, now_ms, tenant=tenant))
    alerts = list(firing)
    return [
        _row(
            service,
            there,
            alerts,
            calls=calls.get(service, 0.0),
            failed=failed.get(service, 0.0),
            p99_s=p99.get(service),
            cpu=cpu.get(service, 0.0),
            memory=memory.get(service, 0.0),
            budget=budgets.get(service),
        )
        for service, there in sorted(present.items())
    ]


def service_of(job: str) -> str:
    """Return a service's name of its `job`, which is its namespace and that."""
    return job.rpartition("/")[2]


def values(answer: Answer) -> dict[str, float]:
    """Return the newest values by service; those of one in several namespaces are added."""
    found: dict[str, float] = {}
    for one in answer.series:
        value = float(one.values[-1])
        if math.isfinite(value):
            service = service_of(get(one.labels, "job"))
            found[service] = found.get(service, 0.0) + value
    return found


def least(answer: Answer) -> dict[str, float]:
    """Return the smallest value by the service that labels name."""
    found: dict[str, float] = {}
    for one in answer.series:
        service = named(one.labels)
        if service:
            found[service] = min(found.get(service, math.inf), float(one.values[-1]))
    return found


def named(labels: Labels) -> str:
    """Return the service that labels name; empty: none."""
    return service_of(get(labels, "service") or get(labels, "job"))


def _row(
    service: str,
    there: Presence,
    alerts: Iterable[Labels],
    *,
    calls: float,
    failed: float,
    p99_s: float | None,
    cpu: float,
    memory: float,
    budget: float | None,
) -> Row:
    own = [labels for labels in alerts if named(labels) == service]
    return Row(
        service=service,
        presence=there,
        requests_per_minute=calls * 60,
        error_share=min(1.0, failed / calls) if calls > 0 else 0.0,
        p99_s=p99_s if calls > 0 else None,
        cpu_cores=cpu,
        memory_bytes=int(memory),
        firing=len(own),
        paging=any(get(labels, "severity") == "page" for labels in own),
        budget_remaining=budget,
    )
