"""What every verb is given, and how verbs show what they found."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
import grpc

from meshctl import exits
from meshctl.admin import Admin, told
from meshctl.faults import MeshctlError
from meshctl.sockets import gateway_socket, telemetry_socket
from meshctl.state import Holder, State
from meshctl.telemetry import Telemetry


Answer = TypeVar("Answer")
Verb = TypeVar("Verb", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What was said before the verb."""

    state: State

    argv: Sequence[str]
    """The whole command line, without the command's name."""

    gateway: Path | None = None
    """Socket of the gateway's API; None: that of the mesh that runs."""

    telemetry: Path | None = None
    """Socket of telemetry's API; None: that of the mesh that runs."""

    def holder(self) -> Holder:
        """
        The meshctl that runs the mesh.

        Raises:
            MeshctlError: None does.

        """
        holder = self.state.holder()
        if holder is None:
            raise MeshctlError(
                f"No mesh runs on {self.state.folder}.", "meshctl up", exit_code=exits.UNAVAILABLE
            )
        return holder

    def ask(self, question: Callable[[Admin], Awaitable[Answer]]) -> Answer:
        """
        Put *question* to the gateway of the running mesh.

        Raises:
            MeshctlError: No mesh runs, or the gateway refused.

        """
        socket = self.gateway or gateway_socket(self.holder().control.parent)

        async def put() -> Answer:
            async with Admin(socket) as admin:
                return await question(admin)

        try:
            return asyncio.run(put())
        except grpc.RpcError as error:
            raise told(error) from None

    def ask_telemetry(self, question: Callable[[Telemetry], Awaitable[Answer]]) -> Answer:
        """
        Put *question* to the telemetry of the running mesh.

        Raises:
            MeshctlError: No mesh runs, or telemetry refused.

        """
        socket = self.telemetry or telemetry_socket(self.holder().control.parent)

        async def put() -> Answer:
            async with Telemetry(socket) as telemetry:
                return await question(telemetry)

        try:
            return asyncio.run(put())
        except grpc.RpcError as error:
            raise told(error, "telemetry") from None


def as_json(verb: Verb) -> Verb:
    """Give *verb* the option `--json`."""
    return click.option("--json", "wants_json", is_flag=True, help="Print JSON.")(verb)


def show_json(what: object) -> None:
    click.echo(json.dumps(what, indent=2, ensure_ascii=False))


def show_table(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> None:
    """Print *rows* in *columns* as wide as they need to be."""
    cells = [[column.upper().replace("_", " ") for column in columns]]
    cells += [[str(row.get(column, "")) for column in columns] for row in rows]
    widths = [max(len(line[n]) for line in cells) for n in range(len(columns))]
    for line in cells:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(padded).rstrip())
