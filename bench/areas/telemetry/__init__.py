"""Telemetry: a room each."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from bench.report import Report


if TYPE_CHECKING:
    from collections.abc import Sequence

ROOMS: tuple[str, ...] = (
    "intake",
    "latency",
    "logs",
    "spans",
    "memory",
    "neighbour",
    "cost",
    "disk",
    "restart",
    "crash",
    "promql",
    "rollups",
    "trends",
    "alerts",
    "dashboards",
    "map",
)
"""Modules of this package, in the order they run; each has `measure(report)`."""


def measure(only: Sequence[str] = ()) -> Report:
    """
    Take the figures of all rooms, or of those named.

    Raises:
        SystemExit: A room isn't there.

    """
    unknown = sorted(set(only) - {*ROOMS})
    if unknown:
        raise SystemExit(f"bench: no room {', '.join(unknown)}; there are {', '.join(ROOMS)}")
    report = Report("telemetry")
    for room in ROOMS:
        if room in only or not only:
            print(f"telemetry: {room}", flush=True)
            importlib.import_module(f"{__name__}.{room}").measure(report)
    return report
