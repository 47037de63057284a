"""How long an acknowledgement takes at two rates, from when a request was due, to durable."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.areas.telemetry.intake import send
from bench.areas.telemetry.server import running
from bench.report import percentile


if TYPE_CHECKING:
    from bench.report import Report

SECONDS = 30
POINTS_EACH = 500
_RATES = (("ack_p99_ms", 17_000, 10), ("ack_p99_100k_ms", 100_000, 25))


def measure(report: Report) -> None:
    """Send at a fixed rate, whatever comes back; about two minutes."""
    for key, rate, bound in _RATES:
        with running() as server:
            send(server, rounds=1, points=POINTS_EACH)  # Its series are known then.
            server.wait_quiet()
            said = send(server, seconds=SECONDS, points=POINTS_EACH, rate=rate)
            times = said["latencies_ms"]
            report.add(key, percentile(times, 0.99), bound=f"<= {bound}", samples=times)
            report.add(key.replace("p99", "p50"), percentile(times, 0.5))
            report.add(key.replace("p99", "max"), max(times))
