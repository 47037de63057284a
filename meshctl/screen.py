"""The mesh on one screen: what runs where, how to log in, and what it is doing."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from meshctl.state import default_folder


COLOURS = {
    "ready": "green",
    "starting": "yellow",
    "waiting": "bright_black",
    "paused": "red",
    "failed": "bold red",
    "stopping": "yellow",
    "stopped": "bright_black",
}
MEBI = 1024 * 1024
HEADER = '-H "authorization: Bearer $TOKEN"'
ENDING = ("stopping", "stopped")


def lines(status: Mapping[str, Any]) -> list[str]:
    """*status*, as `Mesh.snapshot` gives it, as plain lines."""
    rows = [_cells(part) for part in status["parts"]]
    head = ("PART", "STATE", "PID", "MEMORY", "PORTS", "")
    widths = [max(len(row[n]) for row in (head, *rows)) for n in range(len(head))]
    table = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, *rows)
    ]
    return [*table, "", *_facts(status), *_login(status), *_counts(status)]


def screen(status: Mapping[str, Any]) -> RenderableType:
    """*status* in colours."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("part", "state", "pid", "memory", "ports", ""):
        table.add_column(name, justify="right" if name in ("pid", "memory") else "left")
    for part in status["parts"]:
        name, phase, *rest = _cells(part)
        table.add_row(name, Text(phase, style=COLOURS[part["phase"]]), *rest)
    texts = [Text(""), *map(Text, _facts(status)), Text("")]
    texts += [Text(line, overflow="fold") for line in _login(status)]
    if counted := _counts(status):
        texts += [Text(line, style="cyan") for line in counted]
    return Group(table, *texts, Text("Ctrl-C stops all of it.", style="bright_black"))


def command(folder: str) -> str:
    """What to type for a `meshctl` that speaks to the mesh on *folder*, from here."""
    beside = Path(sys.executable).with_name("meshctl")
    if shutil.which("meshctl"):
        words = "meshctl"
    elif beside.exists():
        near = beside.is_relative_to(Path.cwd())
        words = str(beside.relative_to(Path.cwd()) if near else beside)
    else:
        words = "python -m meshctl"
    is_default = Path(folder) == default_folder(os.environ)
    return words if is_default else f"{words} --state {folder}"


def _cells(part: Mapping[str, Any]) -> tuple[str, ...]:
    ports = ", ".join(f"{name} {number}" for name, number in part["ports"].items())
    restarts = f"restarted {part['restarts']}x" if part["restarts"] else ""
    problem = part["problem"] if part["phase"] not in ("ready", *ENDING) else ""
    return (
        part["name"],
        part["phase"],
        str(part["pid"] or "-"),
        f"{part['memory_bytes'] / MEBI:.0f} MiB" if part["memory_bytes"] else "-",
        ports,
        "; ".join(word for word in (restarts, problem) if word),
    )


def _facts(status: Mapping[str, Any]) -> list[str]:
    phases = {part["phase"] for part in status["parts"]}
    if phases.intersection(ENDING) and not phases.intersection(("starting", "waiting")):
        ready = "stopping"
    elif not status["ready"]:
        missing = [part["name"] for part in status["parts"] if part["phase"] != "ready"]
        ready = f"not ready: {', '.join(missing)}"
    elif status["ready_after_s"]:
        ready = f"ready after {status['ready_after_s']:.1f} s"
    else:
        ready = "ready"
    memory = f", {status['memory_bytes'] / MEBI:.0f} MiB" if status["memory_bytes"] else ""
    return [f"{ready}, up {_span(status['up_s'])}{memory}; state in {status['state']}"]


def _login(status: Mapping[str, Any]) -> list[str]:
    edge = status["edge"]
    token = f"{command(status['state'])} token --subject operators/me --role operator"
    return [
        f"edge    {edge['url']}   roots to trust: {edge['ca_file']}",
        f"log in  TOKEN=$({token})",
        f"try     curl --cacert {edge['ca_file']} {HEADER} {edge['url']}/gateway/v1/services",
    ]


def _counts(status: Mapping[str, Any]) -> list[str]:
    """What the mesh and the demo count, and how fast."""
    figures = [f"{name} {number:.3g}" for name, number in status["figures"].items()]
    found = [f"mesh       {', '.join(figures)}"] if figures else []
    for name, said in status["counts"].items():
        rates, numbers = said.get("rates", {}), said.get("counts", {})
        words = [
            f"{what.replace('_', ' ')} {number}"
            + (f" ({rates[what]:g}/s)" if rates.get(what) else "")
            for what, number in numbers.items()
            if not _is_share(what, numbers)
        ]
        if words:
            found.append(f"{name:<11}{', '.join(words)}")
    return ["", *found] if found else []


def _is_share(what: str, numbers: Mapping[str, int]) -> bool:
    """Whether *what* is a part of another count, as `events_gate` is of `events`."""
    return any(what.startswith(f"{whole}_") for whole in numbers)


def _span(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
