"""
A panel of 90 days over 10,000 counters, answered from roll-ups.

What is measured: the HTTP call, from the question to the whole answer, of the rate of all, summed by
job, every three hours (720 points: what Grafana asks for a panel of 600 to 1,000 pixels), and every
six; each over windows as long as the step. Memory has nothing of it.

The roll-ups are put straight into their table, as the rows that a counter with a sample each 15 s
comes to: five billion samples would take a day to send. Rolling up itself, and that both ways give
the same answer, are tested; here the answer is compared with what was put in.
"""

# ruff: noqa: S608 - the SQL is made of numbers

from __future__ import annotations

import asyncio
import math
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.areas.telemetry.server import running
from telemetry.store.rollups import COARSE_MS, FORMAT
from telemetry.store.sessions import Sessions


if TYPE_CHECKING:
    from bench.areas.telemetry.server import Server
    from bench.report import Report

SERIES, JOBS, DAYS = 10_000, 10, 90
HOURS_AT_ONCE = 24 * 10
STEPS_H = (3, 6)
TIMES, WARM = 7, 1
METRIC = 4_242_424_242


def measure(report: Report) -> None:
    """Take the figures; about two minutes."""
    with tempfile.TemporaryDirectory(prefix="bench-rollups-") as name:
        folder = Path(name)
        end_ms = int(time.time() * 1000) // (6 * COARSE_MS) * (6 * COARSE_MS)
        asyncio.run(_fill(folder / "state" / "store", end_ms))
        with running(folder) as server:
            for hours in STEPS_H:
                taken = _ask(server, end_ms, hours)
                first = hours == STEPS_H[0]
                report.add(
                    "range_90d_rollup_ms" if first else f"range_90d_rollup_step_{hours}h_ms",
                    statistics.median(taken),
                    bound="<= 2000" if first else "",
                    samples=taken,
                )


async def _fill(store: Path, end_ms: int) -> None:
    store.parent.mkdir(parents=True)
    async with Sessions.open(store) as sessions:
        await sessions.insert(
            "INSERT INTO series (tenant, name, metric, series_id, labels, kind, otlp_name)"
            f" SELECT '', 'bench_requests_total', {METRIC}, cityHash64(number),"
            " map('__name__', 'bench_requests_total', 'instance',"
            " concat('host-', toString(intDiv(number, 100)), ':9100'), 'job',"
            f" concat('job-', toString(number % {JOBS})), 'path',"
            " concat('/api/v1/resource/', toString(number % 100))), 'counter', 'bench.requests'"
            f" FROM numbers({SERIES})"
        )
        for first in range(0, DAYS * 24, HOURS_AT_ONCE):
            await sessions.insert(_rows(end_ms - DAYS * 24 * COARSE_MS, first))
        await sessions.insert(
            f"INSERT INTO rolled (one, until_ms, segment) VALUES ({FORMAT}, {end_ms}, 0)"
        )
        await sessions.execute("OPTIMIZE TABLE roll_1h FINAL")


def _rows(start_ms: int, first: int) -> str:
    """Return the statement that puts in some hours: a sample each 15 s, growth by chance."""
    # From one hour to the next by 10 less what chance takes: a counter that fell would begin anew.
    grown = "(100 + s % 900) * h + cityHash64(s, h) % 10"
    return (
        "INSERT INTO roll_1h (metric, series_id, end_ms, count, sum, min, max, first, last,"
        " first_ms, last_ms, increase, resets)"
        f" SELECT {METRIC}, cityHash64(s), {start_ms} + (h + 1) * {COARSE_MS}, 240,"
        " 240 * (low + high) / 2, low, high, low, high,"
        f" {start_ms} + h * {COARSE_MS} + 7000 + cityHash64(h, s, 1) % 10,"
        f" {start_ms} + (h + 1) * {COARSE_MS} - 8000 + cityHash64(h, s, 2) % 10,"
        " high - low, 0 FROM ("
        f" SELECT intDiv(number, {HOURS_AT_ONCE}) AS s, {first} + number % {HOURS_AT_ONCE} AS h,"
        f" toFloat64({grown}) AS low, low + 90 + s % 900 AS high"
        f" FROM numbers({SERIES * HOURS_AT_ONCE}))"
    )


def _ask(server: Server, end_ms: int, hours: int) -> list[float]:
    step_ms = hours * COARSE_MS
    asked = {
        "query": f"sum by (job) (rate(bench_requests_total[{hours}h]))",
        "start": str((end_ms - DAYS * 24 * COARSE_MS + step_ms) // 1000),
        "end": str(end_ms // 1000),
        "step": str(step_ms // 1000),
    }
    taken = []
    for turn in range(TIMES + WARM):
        began = time.perf_counter()
        found = server.get("query_range", **asked)["result"]
        if turn >= WARM:
            taken.append((time.perf_counter() - began) * 1_000)
        _check(found, hours)
    return taken


def _check(found: list[dict[str, object]], hours: int) -> None:
    """Raise unless every point is there, and about as high as the counters grew."""
    for row in found:
        values = row["values"]
        assert isinstance(values, list)
        job = int(str(row["metric"]["job"]).removeprefix("job-"))  # type: ignore[index]
        hourly = sum(100 + s % 900 for s in range(job, SERIES, JOBS))
        if len(values) != DAYS * 24 // hours:
            raise RuntimeError(f"{len(values)} points")
        for at, value in values:
            if not math.isclose(float(value), hourly / 3600, rel_tol=0.05):
                raise RuntimeError(f"at {at}: {value} instead of {hourly / 3600}")
    if len(found) != JOBS:
        raise RuntimeError(f"{len(found)} series")
