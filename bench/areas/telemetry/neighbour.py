"""
A tenant that makes a million new series a minute, and what another one notices of it.

The other sends 17,000 points a second of series that are known, as if nothing was. Limits are
the service's own: so many new series are taken a second, others wait and are refused for now; of
the metric 200,000 are kept, then its label is folded.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from bench.areas.telemetry.intake import send
from bench.areas.telemetry.server import running
from bench.report import percentile


if TYPE_CHECKING:
    from bench.areas.telemetry.server import Server
    from bench.report import Report

RATE = 17_000
POINTS_EACH = 500
ALONE_S = 20
TOGETHER_S = 60
NEW_PER_S = 1_000_000 / 60


def measure(report: Report) -> None:
    """Twenty seconds alone, a minute together."""
    with running() as server:
        send(server, rounds=1, points=POINTS_EACH, tenant="quiet")
        server.wait_quiet()
        alone = _steady(server, ALONE_S)
        loud: dict[str, Any] = {}

        def explode() -> None:
            loud.update(
                send(
                    server,
                    seconds=TOGETHER_S,
                    points=POINTS_EACH,
                    series=POINTS_EACH,
                    rate=NEW_PER_S,
                    tenant="loud",
                    new=1,
                    forgiven=True,
                )
            )

        other = threading.Thread(target=explode)
        other.start()
        together = _steady(server, TOGETHER_S)
        other.join()
        share = together["per_s"] / alone["per_s"]
        report.add("neighbour_points_share", share, bound=">= 0.9")
        for name, one in (("alone", alone), ("together", together)):
            report.add(f"neighbour_points_per_s_{name}", one["per_s"])
            for key, part in (("p50", 0.5), ("p99", 0.99)):
                report.add(f"neighbour_ack_{key}_ms_{name}", percentile(one["latencies_ms"], part))
        report.add("neighbour_new_series_sent", loud["sent"])
        report.add("neighbour_new_series_refused_for_now", loud["refused"])


def _steady(server: Server, seconds: float) -> dict[str, Any]:
    said = send(server, seconds=seconds, points=POINTS_EACH, rate=RATE, tenant="quiet")
    said["per_s"] = said["sent"] / said["seconds"]
    return said
