"""What the supervisor must know about a part of the mesh, and what it tells about one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from signal import Signals

from meshctl.processes import Command


Alive = Callable[[], bool]
"""Whether the process whose readiness is awaited still runs."""

Send = Callable[[Signals], None]
"""Sends the process a signal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One process of the mesh: how it is started, known to be ready, and ended."""

    name: str

    prepare: Callable[[], Awaitable[Command]]
    """Called before each start; writes what the process will read. May fail like a start."""

    needs: Sequence[str] = ()
    """Parts that must be ready before its first start. It outlives their restarts."""

    calls: Sequence[str] | None = None
    """Parts it calls to its end, which are therefore stopped after it; None is `needs`."""

    wait_ready: Callable[[Alive], Awaitable[None]] | None = None
    """Returns once it serves; None when the process says so itself (sd_notify)."""

    when_ready: Callable[[], Awaitable[None]] | None = None
    """Done at each start before others may count on it, such as making databases."""

    keep: Callable[[Send], Awaitable[None]] | None = None
    """Goes on beside the ready process until that ends, such as renewing what it reads."""

    ready_within_s: float = 60.0
    """Beyond it the start has failed."""

    stop_within_s: float = 2.0
    """How long it may take to end in good order; then it is killed."""

    ports: Mapping[str, int] = field(default_factory=dict)
    """Ports it listens on, by what speaks there; for show."""

    @property
    def stopped_before(self) -> Sequence[str]:
        """Parts that are stopped only after this one has ended."""
        return self.needs if self.calls is None else self.calls


class Phase(Enum):
    """Where a part stands."""

    WAITING = "waiting"
    """Something it needs isn't ready."""
    STARTING = "starting"
    READY = "ready"
    PAUSED = "paused"
    """It ended or failed to start, and will be started again after a wait."""
    FAILED = "failed"
    """It says that starting it again is pointless: its configuration is at fault."""
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How a part is doing."""

    name: str
    phase: Phase
    pid: int = 0
    """0 when there is no process."""
    since_s: float = 0.0
    """Seconds in this phase."""
    restarts: int = 0
    problem: str = ""
    """Why it isn't ready, or how it ended last time."""
    ready_after_s: float = 0.0
    """How long its latest start took, from the process's start; 0 before the first."""
    ports: Mapping[str, int] = field(default_factory=dict)
