"""One mesh on one machine: the parts, their supervisor, and the door to it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from meshctl import control, logfiles
from meshctl.demo.counts import read_counts
from meshctl.figures import Figures
from meshctl.measure import pss_bytes
from meshctl.parts.part import Part, Phase, Status
from meshctl.parts.table import parts
from meshctl.site import Options, Site
from meshctl.state import State
from meshctl.supervisor import Supervisor, Tell


COUNTED = ("flightinfo", "devices", "mailsink")
"""Parts that keep a file of what they have done."""


class Mesh:
    """A mesh that runs as long as `run` does. Create it with the state folder's lock held."""

    def __init__(
        self,
        site: Site,
        tell: Tell,
        *,
        table: Callable[[Site], Sequence[Part]] = parts,
    ) -> None:
        self.site = site
        self._began = time.monotonic()
        self._supervisor = Supervisor(table(site), site.state, tell=tell)
        self._figures = Figures(site.telemetry_socket)
        self.ready_after_s = 0.0
        """How long it took until everything was ready; 0 until then."""

    async def run(self) -> None:
        """Run everything until `stop`."""
        door = control.served(self.site.state.control, self._handlers())
        async with door, asyncio.TaskGroup() as tasks:
            beside = [
                tasks.create_task(logfiles.keep_small(self.site.state.logs), name="logs"),
                tasks.create_task(self._figures.run(), name="figures"),
                tasks.create_task(self._note_ready(), name="ready"),
            ]
            await self._supervisor.run()
            for task in beside:
                task.cancel()

    def stop(self) -> None:
        self._supervisor.stop()

    async def wait_ready(self) -> None:
        """Return once every part is ready."""
        await self._supervisor.wait_until(all_ready)

    def snapshot(self, *, memory: bool = True) -> dict[str, Any]:
        """How the mesh is doing, as `meshctl status --json` shows it."""
        site = self.site
        statuses = self._supervisor.statuses()
        own = os.getpid()
        pids = {own, *(status.pid for status in statuses if status.pid)}
        costs = pss_bytes(pids) if memory else {}
        rows = [_row(status, costs.get(status.pid, 0)) for status in statuses]
        return {
            "state": str(site.state.folder),
            "pid": os.getpid(),
            "ready": all_ready(statuses),
            "ready_after_s": round(self.ready_after_s, 2),
            "up_s": round(time.monotonic() - self._began, 1),
            "edge": {"url": f"https://{site.edge_address}", "ca_file": str(site.ca_file)},
            "memory_bytes": sum(costs.values()),
            "meshctl_memory_bytes": costs.get(own, 0),
            "parts": rows,
            "figures": dict(self._figures.known),
            "counts": counts(site.state.folder),
        }

    async def _note_ready(self) -> None:
        await self.wait_ready()
        self.ready_after_s = time.monotonic() - self._began

    def _handlers(self) -> Mapping[str, control.Handler]:
        async def status(request: Mapping[str, Any]) -> control.Answer:
            return await asyncio.to_thread(self.snapshot, memory=request.get("memory") != "no")

        async def down(_request: Mapping[str, Any]) -> control.Answer:
            began = time.monotonic()
            self.stop()
            await self._supervisor.wait_until(all_stopped)
            return {"stopped_after_s": round(time.monotonic() - began, 2)}

        async def restart(request: Mapping[str, Any]) -> control.Answer:
            self._supervisor.restart(str(request.get("part", "")))
            return {}

        return {"status": status, "down": down, "restart": restart}


def all_ready(statuses: Sequence[Status]) -> bool:
    return all(status.phase is Phase.READY for status in statuses)


def all_stopped(statuses: Sequence[Status]) -> bool:
    return all(status.phase is Phase.STOPPED for status in statuses)


def counts(folder: Path) -> dict[str, Any]:
    """What the demo's parts say they have done."""
    found = ((name, read_counts(folder / name)) for name in COUNTED)
    return {name: said for name, said in found if said is not None}


@contextlib.asynccontextmanager
async def opened(state: State, options: Options, tell: Tell) -> AsyncIterator[Mesh]:
    """Hold *state* and make a mesh on it, not yet running. Raises MeshctlError."""
    with state.hold():
        yield Mesh(Site(state, options), tell)


def _row(status: Status, memory_bytes: int) -> dict[str, Any]:
    return {
        "name": status.name,
        "phase": status.phase.value,
        "pid": status.pid,
        "since_s": round(status.since_s, 1),
        "ready_after_s": round(status.ready_after_s, 2),
        "restarts": status.restarts,
        "problem": status.problem,
        "ports": dict(status.ports),
        "memory_bytes": memory_bytes,
    }
