"""The verb `logs`."""

from __future__ import annotations

import time

import click

from meshctl.cli.context import Context, as_json, show_json
from meshctl.faults import MeshctlError
from meshctl.logfiles import FOLLOW_INTERVAL_S, Follower, tail


@click.command()
@click.argument("part", required=False)
@click.option(
    "-n", "--lines", "number", default=50, show_default=True, help="How many of the last."
)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written from now on.")
@as_json
@click.pass_obj
def logs(
    context: Context,
    /,
    *,
    part: str | None,
    number: int,
    follow: bool,
    wants_json: bool,
) -> None:
    """Show what PART has written; of all parts, each line with its part, when there is none."""
    files = {path.stem: path for path in sorted(context.state.logs.glob("*.log"))}
    if part is not None and part not in files:
        names = ", ".join(files) or "meshctl up, which makes some"
        raise MeshctlError(f"There is no log of {part} in {context.state.logs}.", names)
    chosen = {part: files[part]} if part else files
    followers = {name: Follower(path) for name, path in chosen.items()}

    def show(name: str, line: str) -> None:
        click.echo(line if part else f"{name}: {line}")

    found = [(name, line) for name, path in chosen.items() for line in tail(path, number)]
    if wants_json:
        show_json([{"part": name, "line": line} for name, line in found])
        return
    for name, line in found:
        show(name, line)
    while follow:
        for name, follower in followers.items():
            for line in follower.new_lines():
                show(name, line)
        time.sleep(FOLLOW_INTERVAL_S)
