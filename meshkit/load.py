"""
What a server says of its load with each answer, for edges that weigh endpoints by it (ORCA).

Envoy's documentation, "Load balancers": client-side weighted round robin; gRFC A51, custom backend
metrics.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final


HEADER: Final = "endpoint-load-metrics"

SAMPLE_S: Final = 1.0
SAMPLES: Final = 10
"""Load is told as it was on average over so many samples: noise would swing the weights."""

CALLS_PER_SECOND_MIN: Final = 5.0
CPU_MIN: Final = 0.02
"""Below these nothing is told: what idles is no measure of what it could do."""

_FAULTS: Final = frozenset({"INTERNAL", "UNKNOWN", "UNAVAILABLE", "DATA_LOSS"})
"""Codes of answers that are the server's own fault."""

Metadata = tuple[tuple[str, str], ...]


class Load:
    """Counts calls, and says how many there are a second and how busy that keeps the process."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.process_time,
    ) -> None:
        """*clock* and *cpu* return seconds: of time, and of the CPU that this process had."""
        self._clock = clock
        self._cpu = cpu
        self._calls = 0
        self._errors = 0
        self._samples = deque([(clock(), cpu(), 0, 0)], maxlen=SAMPLES + 1)
        self._told: Metadata = ()

    def count(self, code: str) -> None:
        """Count a call that was answered with *code*, the name of a gRPC status."""
        self._calls += 1
        self._errors += code in _FAULTS

    def metadata(self) -> Metadata:
        """Return the trailing metadata that tells it; () if there is nothing to tell."""
        now = self._clock()
        if now - self._samples[-1][0] >= SAMPLE_S:
            self._samples.append((now, self._cpu(), self._calls, self._errors))
            self._told = self._tell()
        return self._told

    def _tell(self) -> Metadata:
        (began, cpu, calls, errors), (now, cpu_now, calls_now, errors_now) = (
            self._samples[0],
            self._samples[-1],
        )
        seconds = now - began
        rate = (calls_now - calls) / seconds
        busy = (cpu_now - cpu) / seconds
        if rate < CALLS_PER_SECOND_MIN or busy < CPU_MIN:
            return ()
        faults = (errors_now - errors) / seconds
        said = f"cpu_utilization={busy:.4f},rps_fractional={rate:.2f},eps={faults:.2f}"
        return ((HEADER, f"TEXT {said}"),)
