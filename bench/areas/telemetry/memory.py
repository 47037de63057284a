"""
Memory with a million series that come each minute, for two hours.

The two hours are the samples' own: 120 rounds of a million points, each a minute after the one
before, the last of them now, are sent as fast as `RATE` allows. What fills memory is what was
sent (the newest samples, the series, what waits to be loaded), and the engine's merges, of which
there are more at a time than in two real hours. So it is no less than it would be then.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from bench.areas.telemetry.intake import send
from bench.areas.telemetry.server import running


if TYPE_CHECKING:
    from bench.report import Report

SERIES = 1_000_000
METRICS = 10
ROUNDS = 120
RATE = 350_000
LIMIT = "1100000"
"""Of series: a million and its own."""

_LOOK_S = 0.5


def measure(report: Report) -> None:
    """Send 120 million points; about ten minutes."""
    with running(series_max=LIMIT, tenant_series_max=LIMIT) as server:
        seen: list[float] = []
        over = threading.Event()

        def look() -> None:
            while not over.wait(_LOOK_S):
                seen.append(server.rss_mb)

        watch = threading.Thread(target=look)
        watch.start()
        try:
            shape: dict[str, Any] = {"series": SERIES, "metrics": METRICS, "every": 60}
            send(server, rounds=1, back=ROUNDS - 1, **shape)  # Not too fast: all are new.
            named_mb = server.rss_mb
            said = send(server, rounds=ROUNDS - 1, rate=RATE, **shape)
            server.wait_quiet()
        finally:
            over.set()
            watch.join()
        report.add("rss_mb_at_1m_series", max(seen), bound="<= 4000", samples=seen)
        report.add("rss_mb_at_1m_series_first_round", named_mb)
        report.add("rss_mb_at_1m_series_end", server.rss_mb)
        report.add("rss_points_sent", said["sent"])
        report.add("rss_points_per_s", said["sent"] / said["seconds"])
