"""What this process takes of its machine, in OpenTelemetry's words for processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil
from opentelemetry.metrics import Observation


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from opentelemetry.metrics import CallbackOptions, Meter

    Observe = Callable[[CallbackOptions], Iterable[Observation]]


def publish(meter: Meter) -> None:
    """Have *meter* observe this process: CPU, memory, threads and open files."""
    process = psutil.Process()

    def cpu(_: CallbackOptions) -> Iterable[Observation]:
        times = process.cpu_times()
        yield Observation(times.user, {"cpu.mode": "user"})
        yield Observation(times.system, {"cpu.mode": "system"})

    def one(read: Callable[[], float]) -> Observe:
        return lambda _: [Observation(read())]

    meter.create_observable_counter(
        "process.cpu.time",
        [cpu],
        unit="s",
        description="CPU time of the process, by `cpu.mode`",
    )
    meter.create_observable_gauge(
        "process.memory.usage",
        [one(lambda: process.memory_info().rss)],
        unit="By",
        description="Memory of the process that is in RAM",
    )
    meter.create_observable_gauge(
        "process.thread.count",
        [one(process.num_threads)],
        unit="{thread}",
        description="Threads of the process",
    )
    meter.create_observable_gauge(
        "process.open_file_descriptor.count",
        [one(process.num_fds)],
        unit="{file_descriptor}",
        description="Files and sockets the process has open",
    )
