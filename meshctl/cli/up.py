"""The verb `up`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import click
from rich.console import Console
from rich.live import Live

from meshctl import control, exits
from meshctl.cli.context import Context, as_json, show_json
from meshctl.faults import MeshctlError
from meshctl.logfiles import tail
from meshctl.mesh import Mesh, opened
from meshctl.parts.part import Phase
from meshctl.screen import lines, screen
from meshctl.site import Options, require_known


READY_WITHIN_S = 120.0
REDRAW_INTERVAL_S = 1.0
MEASURE_EVERY = 5
"""Redraws from one look at the memory to the next: that costs the kernel a walk."""
PROBE_INTERVAL_S = 0.1
TAIL_LINES = 15


@click.command()
@click.option("--detach", is_flag=True, help="Return when all is ready; `meshctl down` stops it.")
@click.option("--demo/--no-demo", default=True, help="Replay the airport day.  [default: demo]")
@click.option("--port-edge", default=0, help="Port of the edge.  [default: the last one, or free]")
@click.option("--plain", is_flag=True, help="Lines instead of a screen, as when not in a terminal.")
@click.option("--log-level", default="info", show_default=True, help="Of all services.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="A service's setting, such as NOTIFIER_WORKERS=4. Repeatable.",
)
@click.option("--without", multiple=True, metavar="PART", help="Don't start it. Repeatable.")
@click.option(
    "--ready-within", "ready_within_s", default=READY_WITHIN_S, help="Seconds --detach waits."
)
@as_json
@click.pass_obj
def up(
    context: Context,
    /,
    *,
    detach: bool,
    demo: bool,
    port_edge: int,
    plain: bool,
    log_level: str,
    settings: tuple[str, ...],
    without: tuple[str, ...],
    ready_within_s: float,
    wants_json: bool,
) -> int:
    """
    Start the mesh and keep it running; Ctrl-C stops all of it.

    A second start finds the data, the ports and the certificates of the first.
    """
    options = Options(
        port_edge=port_edge,
        demo=demo,
        without=without,
        log_level=log_level,
        settings=_settings(settings),
    )
    if detach:
        status = _start_detached(context, ready_within_s)
        if wants_json:
            show_json(status)
        else:
            for line in lines(status):
                click.echo(line)
        return exits.OK
    drawn = sys.stdout.isatty() and not plain and not wants_json
    return asyncio.run(_run(context, options, drawn=drawn))


def _settings(words: tuple[str, ...]) -> Mapping[str, str]:
    found = dict(word.partition("=")[::2] for word in words)
    require_known(found)
    return found


async def _run(context: Context, options: Options, *, drawn: bool) -> int:
    def tell(part: str, what: str) -> None:
        # That nobody reads it any more, or that the disk is full, must not end the mesh.
        with contextlib.suppress(OSError):
            with context.state.log_file("meshctl").open("a") as log:
                log.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {part}: {what}\n")
            if not drawn:
                click.echo(f"{time.strftime('%H:%M:%S')} {part}: {what}")

    async with opened(context.state, options, tell) as mesh, asyncio.TaskGroup() as tasks:
        loop = asyncio.get_running_loop()
        asked_at = 0.0

        def stop() -> None:
            nonlocal asked_at
            asked_at = asked_at or time.monotonic()
            mesh.stop()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, stop)
        showing = tasks.create_task(_show(mesh, drawn=drawn), name="screen")
        await mesh.run()
        showing.cancel()
    took = f" after {time.monotonic() - asked_at:.1f} s" if asked_at else ""
    with contextlib.suppress(OSError):
        click.echo(f"stopped{took}; the data stays in {context.state.folder}")
    return exits.OK


async def _show(mesh: Mesh, *, drawn: bool) -> None:
    """Show the mesh until cancelled, or until nobody is there to see it."""
    with contextlib.suppress(OSError):
        await (_draw(mesh) if drawn else _print(mesh))


async def _draw(mesh: Mesh) -> None:
    """Keep the screen current until cancelled."""
    count = 0
    memory: dict[str, int] = {}
    with Live(console=Console(), auto_refresh=False, screen=False) as live:
        while True:
            measured = count % MEASURE_EVERY == 0
            status = await asyncio.to_thread(mesh.snapshot, memory=measured)
            memory = _with_memory(status, memory, measured=measured)
            live.update(screen(status), refresh=True)
            count += 1
            await asyncio.sleep(REDRAW_INTERVAL_S)


def _with_memory(status: dict[str, Any], last: dict[str, int], *, measured: bool) -> dict[str, int]:
    """Fill in what was measured last, unless it was now; return what is known."""
    if measured:
        known = {part["name"]: part["memory_bytes"] for part in status["parts"]}
        return {**known, "": status["memory_bytes"]}
    for part in status["parts"]:
        part["memory_bytes"] = last.get(part["name"], 0) if part["pid"] else 0
    status["memory_bytes"] = last.get("", 0)
    return last


async def _print(mesh: Mesh) -> None:
    """Say once how it stands when all is ready."""
    await mesh.wait_ready()
    for line in lines(await asyncio.to_thread(mesh.snapshot)):
        click.echo(line)


def _start_detached(context: Context, ready_within_s: float) -> Mapping[str, Any]:
    """
    Start another meshctl that stays, and wait until all is ready.

    Raises:
        MeshctlError: It ended, or isn't ready in time; then it is stopped.

    """
    state = context.state
    if state.holder() is not None:
        with state.hold():  # Says who holds it.
            pass
    words = [word for word in context.argv if word not in ("--detach", "--json")]
    state.folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    output = state.folder / "up.log"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "meshctl", *words, "--plain"],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + ready_within_s
    status: Mapping[str, Any] = {}
    while time.monotonic() < deadline and not _gave_up(status):
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = process.wait(PROBE_INTERVAL_S)
            said = "\n".join(tail(output, TAIL_LINES))
            problem, _, remedy = said.removeprefix("meshctl: ").partition("\nTry: ")
            raise MeshctlError(problem, remedy, exit_code=code or exits.FAILED)
        holder = state.holder()
        with contextlib.suppress(MeshctlError):
            if holder is not None and holder.pid == process.pid:
                status = asyncio.run(control.call(holder.control, "status", 5, memory="no"))
                if status["ready"]:
                    return asyncio.run(control.call(holder.control, "status", 5))
    os.kill(process.pid, signal.SIGTERM)
    process.wait()
    raise _not_ready(context, status, ready_within_s)


def _gave_up(status: Mapping[str, Any]) -> bool:
    """Whether a part will not come, however long one waits."""
    return any(part["phase"] == Phase.FAILED.value for part in status.get("parts", ()))


def _not_ready(context: Context, status: Mapping[str, Any], within_s: float) -> MeshctlError:
    if _gave_up(status):
        words = ["The mesh can't start like this and was stopped."]
    else:
        words = [f"The mesh was not ready within {within_s:g} s and was stopped."]
    for part in status.get("parts", ()):
        if part["phase"] != "ready":
            words.append(f"  {part['name']}: {part['phase']}; {part['problem']}")
            path = context.state.log_file(part["name"])
            words += [f"    {line}" for line in tail(path, 3)]
    return MeshctlError("\n".join(words), f"read the logs in {context.state.logs}")
