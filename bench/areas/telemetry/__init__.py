"""Telemetry: a room each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import rooms


if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.report import Report

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
    """Take the figures of all rooms, or of those named."""
    return rooms.measure("telemetry", ROOMS, only)
