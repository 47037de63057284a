"""
Keeps the parts of a mesh running: starts by readiness, restarts, stops in reverse.

    WAITING ──needs ready──▶ STARTING ──ready──▶ READY
                              ▲   │               │
                     wait over│   └──ended────────┤
                            PAUSED ◀──────────────┤──exit 78──▶ FAILED
    any ──stop, and nobody running calls it──▶ STOPPING ──▶ STOPPED

What a part needs counts for its first start only. After that parts come and go,
and each copes with the absence of the others, as it would between machines.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from meshctl import exits, order
from meshctl.announce import Announcements
from meshctl.backoff import Backoff
from meshctl.faults import MeshctlError
from meshctl.parts.part import Part, Phase, Status
from meshctl.processes import Command, Trace, end_sessions, kill_session, spawn, trace
from meshctl.race import first_of
from meshctl.state import State


GUARD = Path(__file__).parent / "guard.py"
LEFTOVERS_END_WITHIN_S = 1.5
KEEP_AGAIN_S = 10.0
"""After a fault in what goes on beside a part."""

Tell = Callable[[str, str], None]
"""Takes a part's name and what happened to it."""


class EndedError(Exception):
    """The process ended; the text says how."""

    def __init__(self, code: int) -> None:
        if code >= 0:
            super().__init__(f"ended with exit code {code}")
        else:
            super().__init__(f"was killed by {signal.Signals(-code).name}")
        self.code = code


class _Life:
    """What the supervisor knows about one part."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.phase = Phase.WAITING
        self.since = time.monotonic()
        self.process: subprocess.Popen[bytes] | None = None
        self.leader: Trace | None = None
        self.stop_signal = signal.SIGTERM
        self.ended: asyncio.Future[int] | None = None
        self.restarts = 0
        self.problem = ""
        self.ready_after_s = 0.0
        self.stop_asked = asyncio.Event()
        self.restart_asked = asyncio.Event()


class Supervisor:
    """
    Runs *parts* until asked to stop. Create and run it on the main thread.

    The kernel takes the end of the thread that forked for the end of the parent.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        state: State,
        *,
        tell: Tell = lambda _part, _what: None,
        backoff: Backoff | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._needs = {part.name: part.needs for part in parts}
        self._stopped_before = {part.name: part.stopped_before for part in parts}
        order.check(self._needs)
        order.check(self._stopped_before)
        self._lives = {part.name: _Life(part) for part in parts}
        self._state = state
        self._tell = tell
        self._backoff = backoff or Backoff()
        self._chance = chance
        self._stopping = asyncio.Event()
        self._changed = asyncio.Condition()

    def statuses(self) -> list[Status]:
        """How each part is doing, in the order of the table."""
        now = time.monotonic()
        return [
            Status(
                name=life.part.name,
                phase=life.phase,
                pid=life.process.pid if life.process else 0,
                since_s=now - life.since,
                restarts=life.restarts,
                problem=life.problem,
                ready_after_s=life.ready_after_s,
                ports=life.part.ports,
            )
            for life in self._lives.values()
        ]

    def stop(self) -> None:
        """Have everything stop; `run` returns when it has."""
        self._stopping.set()

    def restart(self, name: str) -> None:
        """
        End *name* in good order and start it again at once.

        Raises:
            MeshctlError: There is no such part.

        """
        life = self._lives.get(name)
        if life is None:
            raise MeshctlError(f"There is no part {name}.", f"one of: {', '.join(self._lives)}")
        life.restart_asked.set()

    async def wait_until(self, true: Callable[[list[Status]], bool]) -> list[Status]:
        """Return the statuses as soon as *true* of them."""
        async with self._changed:
            while not true(found := self.statuses()):
                await self._changed.wait()
            return found

    async def run(self) -> None:
        """Start everything, keep it running until `stop`, return when all has ended."""
        await self._end_leftovers()
        with self._guarded():
            await self._run()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for life in self._lives.values():
                tasks.create_task(self._keep(life), name=f"keep-{life.part.name}")
            tasks.create_task(self._stop_in_order(), name="stop")

    async def _keep(self, life: _Life) -> None:
        """One part, from its first start until everything stops."""
        failures = 0
        ready = asyncio.ensure_future(self.wait_until(lambda _: self._startable(life)))
        await first_of(ready, life.stop_asked.wait())
        while not life.stop_asked.is_set():
            began = time.monotonic()
            life.restart_asked.clear()
            code = await self._live_watched(life)
            if life.stop_asked.is_set():
                break
            life.restarts += 1
            if life.restart_asked.is_set():
                failures = 0
                continue
            if code == exits.CONFIG:
                await self._enter(life, Phase.FAILED)
                await first_of(life.restart_asked.wait(), life.stop_asked.wait())
                continue
            failures = self._backoff.failures_after(failures, time.monotonic() - began)
            wait_s = self._backoff.wait_s(failures, self._chance())
            await self._enter(life, Phase.PAUSED, f"starts again in {wait_s:.1f} s")
            asked = (life.restart_asked.wait(), life.stop_asked.wait())
            await first_of(asyncio.sleep(wait_s), *asked)
        await self._enter(life, Phase.STOPPED)

    def _startable(self, life: _Life) -> bool:
        ready = {name for name, other in self._lives.items() if other.phase is Phase.READY}
        return life.part.name in order.startable(self._needs, ready)

    async def _live_watched(self, life: _Life) -> int:
        """Live once; end it in good order when asked to. Returns the exit code, or -1."""
        living = asyncio.ensure_future(self._live(life))
        asked = (life.stop_asked.wait(), life.restart_asked.wait())
        await first_of(asyncio.shield(living), *asked)
        if not living.done() and life.process is None:
            living.cancel()  # It was still preparing.
        elif not living.done():
            await self._end(life)
        try:
            await living
        except asyncio.CancelledError:
            if not living.cancelled():
                raise
        except EndedError as error:
            life.problem = str(error)
            if not (life.stop_asked.is_set() or life.restart_asked.is_set()):
                self._tell(life.part.name, life.problem)
            return error.code
        except Exception as error:  # noqa: BLE001 - one part's trouble must not end the others
            life.problem = str(error) or type(error).__name__
            self._tell(life.part.name, life.problem)
        return -1

    async def _live(self, life: _Life) -> None:
        """
        Start the part and stay until it has ended, of which nothing is left then.

        Raises:
            EndedError: It ended, how does not matter.
            MeshctlError: It couldn't be started or wasn't ready in time.

        """
        await self._enter(life, Phase.STARTING)
        command = await life.part.prepare()
        with ExitStack() as stack:
            announced = stack.enter_context(
                Announcements(self._state.run / f"{life.part.name}.notify")
            )
            began = time.monotonic()
            try:
                ended = self._start(life, command, announced)
                await self._become_ready(life, announced, ended)
                life.ready_after_s = time.monotonic() - began
                life.problem = ""
                await self._enter(life, Phase.READY, f"ready after {life.ready_after_s:.1f} s")
                await self._keep_ready(life, ended)
                raise EndedError(await ended)
            finally:
                self._finish(life)

    def _start(
        self, life: _Life, command: Command, announced: Announcements
    ) -> asyncio.Future[int]:
        name = life.part.name
        if life.part.wait_ready is None:
            heard = {**command.environment, "NOTIFY_SOCKET": str(announced.path)}
            command = replace(command, environment=heard)
        with self._state.log_file(name).open("ab") as log:
            process = spawn(command, log)
        life.process = process
        life.leader = trace(process.pid)
        life.stop_signal = command.stop_signal
        if life.leader is not None:
            self._state.remember(name, life.leader)
        life.ended = _end_of(process)
        return life.ended

    async def _become_ready(
        self, life: _Life, announced: Announcements, ended: asyncio.Future[int]
    ) -> None:
        part = life.part

        async def ready() -> None:
            if part.wait_ready is None:
                await announced.wait_ready()
            else:
                await part.wait_ready(lambda: not ended.done())
            if part.when_ready is not None:
                await part.when_ready()

        getting_ready = asyncio.ensure_future(ready())
        try:
            async with asyncio.timeout(part.ready_within_s):
                await first_of(getting_ready, asyncio.shield(ended))
        except TimeoutError:
            raise MeshctlError(f"was not ready within {part.ready_within_s:g} s") from None
        if ended.done():
            raise EndedError(ended.result())
        await getting_ready

    async def _keep_ready(self, life: _Life, ended: asyncio.Future[int]) -> None:
        """Do what goes on beside the process, until that has ended."""
        process, keep = life.process, life.part.keep
        if keep is None or process is None:
            return
        while not ended.done():
            keeping = asyncio.ensure_future(keep(process.send_signal))
            await first_of(asyncio.shield(ended), keeping)
            if not ended.done() and (error := keeping.exception()) is not None:
                self._tell(life.part.name, f"is not kept up to date: {error}")
                await first_of(asyncio.shield(ended), asyncio.sleep(KEEP_AGAIN_S))

    async def _end(self, life: _Life) -> None:
        """Ask the process to end, and kill it when it takes too long."""
        process, ended = life.process, life.ended
        assert process is not None
        assert ended is not None
        await self._enter(life, Phase.STOPPING)
        process.send_signal(life.stop_signal)
        try:
            async with asyncio.timeout(life.part.stop_within_s):
                await asyncio.shield(ended)
        except TimeoutError:
            if ended.done():  # At that very moment.
                return
            self._tell(life.part.name, "took too long to end and was killed")
            process.kill()
            await ended

    def _finish(self, life: _Life) -> None:
        """Leave nothing of the process behind: not itself, no child, no record."""
        if life.process is None:
            return  # It couldn't even be started.
        life.process.kill()  # Does nothing when it has ended and been waited for.
        if life.leader is not None:
            kill_session(life.leader)
        life.process.wait()
        life.process = None
        self._state.forget(life.part.name)

    async def _stop_in_order(self) -> None:
        await self._stopping.wait()
        stopped = 0
        while stopped < len(self._lives):
            running = {n for n, life in self._lives.items() if life.phase is not Phase.STOPPED}
            for name in order.stoppable(self._stopped_before, running):
                self._lives[name].stop_asked.set()
            # Each end may free others to end, so look again after every one.
            stopped = _stopped(await self.wait_until(partial(_more_stopped, stopped)))

    async def _end_leftovers(self) -> None:
        """End what an earlier supervisor has left, when its guard was killed too."""
        left = self._state.remembered()
        killed = await asyncio.to_thread(end_sessions, left.values(), LEFTOVERS_END_WITHIN_S)
        if killed:
            self._tell("meshctl", f"killed {killed} processes left by an earlier run")
        for name in left:
            self._state.forget(name)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Have `guard.py` watch over this process."""
        words = [str(self._state.processes), str(os.getpid())]
        with subprocess.Popen(
            [sys.executable, "-I", "-S", str(GUARD), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ):
            yield  # Leaving closes its input, at which it looks around and ends.

    async def _enter(self, life: _Life, phase: Phase, what: str = "") -> None:
        async with self._changed:
            life.phase = phase
            life.since = time.monotonic()
            self._changed.notify_all()
        self._tell(life.part.name, what or phase.value)


def _stopped(statuses: list[Status]) -> int:
    return sum(status.phase is Phase.STOPPED for status in statuses)


def _more_stopped(before: int, statuses: list[Status]) -> bool:
    return _stopped(statuses) > before


def _end_of(process: subprocess.Popen[bytes]) -> asyncio.Future[int]:
    """A future of the exit code, as `Popen.returncode` has it."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()
    descriptor = os.pidfd_open(process.pid)

    def note() -> None:
        loop.remove_reader(descriptor)
        os.close(descriptor)
        code = process.wait()
        if not ended.done():
            ended.set_result(code)

    loop.add_reader(descriptor, note)
    return ended
