"""The command itself: finds the verb, and turns what goes wrong into words and an exit code."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from meshctl import exits
from meshctl.cli.context import Context
from meshctl.faults import MeshctlError
from meshctl.state import State, default_folder


VERBS = {
    "up": ("meshctl.cli.up:up", "Start the mesh; Ctrl-C stops it."),
    "down": ("meshctl.cli.running:down", "Stop the mesh."),
    "status": ("meshctl.cli.running:status", "Show what runs where, and how it is doing."),
    "restart": ("meshctl.cli.running:restart", "Restart one part."),
    "logs": ("meshctl.cli.logs:logs", "Show what parts have written."),
    "token": ("meshctl.cli.token:token", "Sign a token for the edge."),
    "service": ("meshctl.cli.service:service", "The services that the edge routes to."),
    "route": ("meshctl.cli.route:route", "The routes to them."),
    "explain": ("meshctl.cli.explain:explain", "Say why the edge answers a request as it does."),
    "demo": ("meshctl.demo.cli:demo", "Steer the airport day."),
}
"""Where each verb is, and what it is for: a verb's module is imported when it is called."""


class Verbs(click.Group):
    """Commands by name, imported when needed: most of them need little."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module, _, name = VERBS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, what) for name, (_, what) in VERBS.items()])


@click.command(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--state",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of all that the mesh keeps.  [default: $MESH_STATE, else /var/lib/aerofusion-mesh"
    " as root, else ~/.local/state/aerofusion-mesh]",
)
@click.pass_context
def meshctl(ctx: click.Context, folder: Path | None) -> None:
    """
    Run an AeroFusion Mesh on this machine, and speak to it.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 69 no mesh runs there, 75 another meshctl
    runs there, 78 what was asked for can't be had, 130 interrupted.
    """
    state = State(folder.absolute() if folder else default_folder(os.environ))
    ctx.obj = Context(state=state, argv=ctx.obj)


def run(argv: Sequence[str]) -> int:
    """Run the command *argv*; return its exit code."""
    try:
        code = meshctl.main(list(argv), prog_name="meshctl", standalone_mode=False, obj=tuple(argv))
    except click.exceptions.Abort:
        return exits.INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except MeshctlError as error:
        print_fault(error)
        return error.exit_code
    except BrokenPipeError:  # Whoever read our output has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.OK
    return code if isinstance(code, int) else exits.OK


def print_fault(error: MeshctlError) -> None:
    """Say on stderr what failed and what to try."""
    coloured = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    head = click.style("meshctl:", fg="red", bold=True) if coloured else "meshctl:"
    click.echo(f"{head} {error}", err=True)
    if error.remedy:
        click.echo(f"Try: {error.remedy}", err=True)
