"""The machine telemetry runs on, in OpenTelemetry's words for systems."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import psutil
from opentelemetry.metrics import Observation


if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from opentelemetry.metrics import CallbackOptions, Meter

CPU_MODES = ("user", "system", "iowait", "idle", "steal")


class Machine:
    """Reads one machine; *folder* lies on the file system whose room counts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._host = {"host.name": socket.gethostname()}

    def cpu(self, _: CallbackOptions) -> Iterable[Observation]:
        """CPU time of all cores by mode."""
        times = psutil.cpu_times()
        for mode in CPU_MODES:
            if (spent := getattr(times, mode, None)) is not None:
                yield Observation(spent, self._host | {"cpu.mode": mode})

    def cores(self, _: CallbackOptions) -> Iterable[Observation]:
        """Logical cores."""
        yield Observation(psutil.cpu_count() or 1, self._host)

    def load(self, _: CallbackOptions) -> Iterable[Observation]:
        """Processes that run or wait to, over a minute."""
        yield Observation(psutil.getloadavg()[0], self._host)

    def memory(self, _: CallbackOptions) -> Iterable[Observation]:
        """Memory by state; the states sum to the whole."""
        found = psutil.virtual_memory()
        yield Observation(found.available, self._host | {"system.memory.state": "available"})
        yield Observation(
            found.total - found.available, self._host | {"system.memory.state": "used"}
        )

    def disk(self, _: CallbackOptions) -> Iterable[Observation]:
        """Room of the file system with telemetry's state."""
        found = psutil.disk_usage(str(self._folder))
        yield Observation(found.used, self._host | {"system.filesystem.state": "used"})
        yield Observation(found.free, self._host | {"system.filesystem.state": "free"})

    def network(self, _: CallbackOptions) -> Iterable[Observation]:
        """Bytes of all interfaces by direction."""
        found = psutil.net_io_counters()
        yield Observation(found.bytes_recv, self._host | {"network.io.direction": "receive"})
        yield Observation(found.bytes_sent, self._host | {"network.io.direction": "transmit"})


def publish(meter: Meter, folder: Path) -> None:
    """Have *meter* observe this machine."""
    machine = Machine(folder)
    meter.create_observable_counter(
        "system.cpu.time", [machine.cpu], unit="s", description="CPU time by `cpu.mode`"
    )
    meter.create_observable_gauge(
        "system.cpu.logical.count", [machine.cores], unit="{cpu}", description="Logical cores"
    )
    meter.create_observable_gauge(
        "system.cpu.load_average.1m",
        [machine.load],
        unit="{process}",
        description="Processes that run or wait to, over a minute",
    )
    meter.create_observable_gauge(
        "system.memory.usage",
        [machine.memory],
        unit="By",
        description="Memory by `system.memory.state`: used, available",
    )
    meter.create_observable_gauge(
        "system.filesystem.usage",
        [machine.disk],
        unit="By",
        description="Room where telemetry's state is, by `system.filesystem.state`: used, free",
    )
    meter.create_observable_counter(
        "system.network.io",
        [machine.network],
        unit="By",
        description="Bytes of all interfaces, by `network.io.direction`",
    )
