"""What the head tells of itself."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from opentelemetry.metrics import Observation

from telemetry.head.recent import NEVER


if TYPE_CHECKING:
    from collections.abc import Iterable

    from opentelemetry.metrics import CallbackOptions, Meter

    from telemetry.head.head import Head


def publish(head: Head, meter: Meter) -> None:
    """Tell how much of memory is used, and how far back it reaches."""

    def span(_: CallbackOptions) -> Iterable[Observation]:
        horizon_ms = head.horizon_ms
        reach_s = 0.0 if horizon_ms == NEVER else max(0.0, time.time() - horizon_ms / 1000)
        return [Observation(reach_s)]

    meter.create_observable_gauge(
        "telemetry.head.size",
        [lambda _: [Observation(head.used_bytes)]],
        unit="By",
        description="Memory of the newest samples",
    )
    meter.create_observable_gauge(
        "telemetry.head.series",
        [lambda _: [Observation(head.series)]],
        unit="{series}",
        description="Series that have, or had, samples in memory",
    )
    meter.create_observable_gauge(
        "telemetry.head.span",
        [span],
        unit="s",
        description="How far back memory holds every sample; 0: the tables are asked for all",
    )
