"""Verbs about the mesh that runs: `status`, `down`, `restart`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import click

from meshctl import control
from meshctl.cli.catalog import as_dict
from meshctl.cli.context import Context, as_json, show_json
from meshctl.cli.watch import connected, standing
from meshctl.faults import MeshctlError
from meshctl.screen import lines


ANSWER_WITHIN_S = 10.0
STOPPED_WITHIN_S = 15.0


def ask(context: Context, verb: str, timeout_s: float, **words: str) -> Mapping[str, Any]:
    """Ask the supervisor. Raises MeshctlError."""
    holder = context.holder()
    try:
        return asyncio.run(control.call(holder.control, verb, timeout_s, **words))
    except MeshctlError as error:
        if holder.pid and not error.remedy:
            raise MeshctlError(
                str(error), f"kill {holder.pid}", exit_code=error.exit_code
            ) from None
        raise


@click.command()
@as_json
@click.pass_obj
def status(context: Context, /, *, wants_json: bool) -> None:
    """
    Show what runs where, and how it is doing: parts, and the configuration that edges have.

    Exit code 0 as long as a mesh runs.
    """
    found = ask(context, "status", ANSWER_WITHIN_S)
    try:
        edges, revision = context.ask(connected)
    except MeshctlError:
        edges, revision = None, 0  # The gateway is away; the parts say so.
    if wants_json:
        told = None if edges is None else [_edge(one, revision) for one in edges]
        show_json({**found, "revision": revision, "edges": told})
        return
    for line in (*lines(found), "", *edge_lines(edges, revision)):
        click.echo(line)


def edge_lines(edges: Sequence[Any] | None, revision: int) -> list[str]:
    """What configuration *edges* have, the newest being *revision*; None: nobody can say."""
    if edges is None:
        return ["proxies    the gateway can't say what they have"]
    found = []
    for one in edges:
        found.append(f"proxy      {one.node}: revision {one.revision}, {standing(one, revision)}")
        for refusal in one.refusals:
            about = " ".join(filter(None, (refusal.object, refusal.field))) or refusal.resource
            found.append(f"           refuses {about}: {refusal.error}")
    return found or ["proxies    none is connected"]


def _edge(edge: Any, revision: int) -> dict[str, Any]:
    """What of an edge a status has."""
    return {
        "node": edge.node,
        "flavour": edge.flavour,
        "revision": edge.revision,
        "behind": max(0, revision - edge.revision),
        "refusals": [as_dict(one) for one in edge.refusals],
    }


@click.command()
@as_json
@click.pass_obj
def down(context: Context, /, *, wants_json: bool) -> None:
    """Stop the mesh and wait until it has ended. Its data stays."""
    if context.state.holder() is None:
        found: Mapping[str, Any] = {"stopped_after_s": 0.0, "was_running": False}
    else:
        answer = ask(context, "down", STOPPED_WITHIN_S)
        found = {**answer, "was_running": True}
    if wants_json:
        show_json(found)
    elif found["was_running"]:
        click.echo(f"stopped after {found['stopped_after_s']:.1f} s")
    else:
        click.echo(f"no mesh runs on {context.state.folder}")


@click.command()
@click.argument("part")
@as_json
@click.pass_obj
def restart(context: Context, /, *, part: str, wants_json: bool) -> None:
    """End PART in good order and start it again."""
    ask(context, "restart", ANSWER_WITHIN_S, part=part)
    if wants_json:
        show_json({"restarting": part})
    else:
        click.echo(f"{part} restarts")
