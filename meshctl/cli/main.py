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
from meshctl.cli.examples import show_examples
from meshctl.faults import MeshctlError
from meshctl.state import State, default_folder


SECTIONS = {
    "The mesh on this machine": {
        "up": ("meshctl.cli.up:up", "Start the mesh; Ctrl-C stops it."),
        "down": ("meshctl.cli.running:down", "Stop the mesh."),
        "status": ("meshctl.cli.running:status", "Show what runs where, and how it is doing."),
        "restart": ("meshctl.cli.running:restart", "Restart one part."),
        "logs": ("meshctl.cli.logs:logs", "Show what parts have written."),
        "demo": ("meshctl.demo.cli:demo", "Steer the airport day."),
    },
    "Configuration of the gateway": {
        "apply": ("meshctl.cli.apply:apply", "Change the catalog to what files say."),
        "plan": ("meshctl.cli.apply:plan", "Say what apply would do."),
        "diff": ("meshctl.cli.history:diff", "Show what changes have changed."),
        "export": ("meshctl.cli.objects:export", "Write objects as files that apply takes."),
        "get": ("meshctl.cli.objects:get", "Show one object."),
        "list": ("meshctl.cli.objects:list_objects", "List objects."),
        "delete": ("meshctl.cli.objects:delete", "Delete objects."),
        "history": ("meshctl.cli.history:history", "Show who changed what, and when."),
        "rollback": ("meshctl.cli.history:rollback", "Make the catalog what it was."),
        "watch": ("meshctl.cli.watch:watch", "Follow a change to the edges."),
        "edges": ("meshctl.cli.watch:edges", "Show the proxies, and what they refuse."),
        "limits": ("meshctl.cli.limits:limits", "Show what limits let through and refused."),
        "policies": (
            "meshctl.cli.policies:policies",
            "Show what policies in shadow mode would have done.",
        ),
        "deprecated": (
            "meshctl.cli.deprecated:deprecated",
            "Show who still calls what is on its way out.",
        ),
        "service": ("meshctl.cli.service:service", "The services that the edge routes to."),
        "route": ("meshctl.cli.route:route", "The routes to them."),
    },
    "What happened": {
        "search": ("meshctl.cli.search:search", "Find log records of all services."),
        "tail": ("meshctl.cli.search:tail", "Follow log records of all services."),
        "patterns": ("meshctl.cli.search:patterns", "Show what kinds of log records there are."),
        "traces": ("meshctl.cli.traces:traces", "Find traces by what their spans are."),
        "trace": ("meshctl.cli.trace:trace", "Show a trace, and what its time went into."),
        "map": ("meshctl.cli.map:service_map", "Show which service calls which, and how well."),
    },
    "What is and will be": {
        "platform": ("meshctl.cli.platform_status:platform", "Show how each service does."),
        "dashboard": ("meshctl.cli.dashboard:dashboard", "Dashboards, drawn here."),
        "forecast": ("meshctl.cli.forecast:forecast", "Go on from metrics into the future."),
        "sizes": ("meshctl.cli.forecast:sizes", "Advise on CPU and memory of services."),
    },
    "Copies of what telemetry keeps": {
        "backup": ("meshctl.cli.backup:backup", "Make one, while it runs."),
        "backups": ("meshctl.cli.backup:backups", "List them."),
    },
    "Calls": {
        "explain": ("meshctl.cli.explain:explain", "Say why the edge answers as it does."),
        "token": ("meshctl.cli.token:token", "Sign a token for the edge."),
        "key": ("meshctl.cli.keys:key", "Make, list and revoke API keys."),
        "revoke": ("meshctl.cli.keys:revoke", "Revoke a token by its id."),
    },
    "Alerts": {
        "alerts": ("meshctl.cli.alerts:alerts", "What fires, who is told, and the rules."),
        "incidents": ("meshctl.cli.incidents:incidents", "What was wrong, and for how long."),
        "objectives": (
            "meshctl.cli.objectives:objectives",
            "What services promise, and their error budgets.",
        ),
    },
    "This command": {
        "completion": ("meshctl.cli.completion:completion", "Print a shell's completion."),
    },
}
"""Where each verb is, and what it is for: a verb's module is imported when it is called."""

VERBS = {name: row for section in SECTIONS.values() for name, row in section.items()}


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
        show_examples(command, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, verbs in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, what) for name, (_, what) in verbs.items()])


@click.command(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--state",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of all that the mesh keeps.  [default: $MESH_STATE, else /var/lib/aerofusion-mesh"
    " as root, else ~/.local/state/aerofusion-mesh]",
)
@click.option(
    "--gateway",
    type=click.Path(path_type=Path),
    help="Socket of the gateway to speak to.  [default: that of the mesh on --state]",
)
@click.option(
    "--telemetry",
    type=click.Path(path_type=Path),
    help="Socket of the telemetry to speak to.  [default: that of the mesh on --state]",
)
@click.pass_context
def meshctl(
    ctx: click.Context, folder: Path | None, gateway: Path | None, telemetry: Path | None
) -> None:
    """
    Run an AeroFusion Mesh on this machine, and speak to it.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 69 no mesh runs there, 75 another meshctl
    runs there, 78 what was asked for can't be had, 130 interrupted. Some verbs have more.
    """
    state = State(folder.absolute() if folder else default_folder(os.environ))
    ctx.obj = Context(state=state, argv=ctx.obj, gateway=gateway, telemetry=telemetry)


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
