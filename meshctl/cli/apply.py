"""The verbs `apply` and `plan`: the catalog as files say."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from aerofusion.gateway.v1 import config_service_pb2 as rpc
from meshctl import exits
from meshctl.admin import Admin
from meshctl.cli.catalog import as_dict
from meshctl.cli.changing import (
    CHANGE_TIMEOUT_S,
    Changes,
    Proposal,
    applying,
    carried_out,
    carry_out,
    change_set_of,
    show_plan,
    with_places,
)
from meshctl.cli.context import Context, Verb, as_json, show_json
from meshctl.faults import MeshctlError
from meshctl.objects.durations import duration_of
from meshctl.objects.read import Read, read, sources


BAKE_S = 60.0
"""How long the first edges are watched if nothing else is said, as `Canary.bake_time` has it."""


def from_files(verb: Verb) -> Verb:
    """Give *verb* the options that say what the catalog shall hold."""
    for option in (
        click.option(
            "-f",
            "--file",
            "paths",
            type=click.Path(exists=True, allow_dash=True, path_type=Path),
            multiple=True,
            required=True,
            help="YAML or JSON of objects, or a folder of such files. - is standard input."
            " Repeatable.",
        ),
        click.option(
            "--prune",
            "prefixes",
            multiple=True,
            metavar="PREFIX",
            help="Delete what begins with this and isn't in the files, such as hosts/. Repeatable.",
        ),
        click.option(
            "--preflight",
            is_flag=True,
            help="Have a private Envoy look at it before anything is changed.",
        ),
    ):
        verb = option(verb)
    return verb


def planning(change_set: rpc.ChangeSet, *, preflight: bool) -> Any:
    """How to ask what *change_set* would do."""
    request = rpc.PlanChangeRequest(change_set=change_set, preflight=preflight)

    async def ask(admin: Admin) -> Changes:
        answer = await admin.config.PlanChange(request, timeout=CHANGE_TIMEOUT_S)
        return list(answer.changes)

    return ask


@click.command()
@from_files
@click.option(
    "--canary",
    help="These edges get it first, and the others when it has proven itself: 10%, or their"
    " names with commas.",
)
@click.option("--bake", metavar="DURATION", help="How long the first edges are watched.")
@carried_out
@as_json
@click.pass_obj
def apply(
    context: Context,
    /,
    *,
    paths: tuple[Path, ...],
    prefixes: tuple[str, ...],
    preflight: bool,
    canary: str | None,
    bake: str | None,
    yes: bool,
    wait_s: float,
    full: bool,
    wants_json: bool,
) -> int:
    """
    Change the catalog to what files say, all of it or nothing, and follow it to the edges.

    Shows the plan and asks first. Objects that aren't in the files stay as they are; those that
    are become what the files say, whole: a field that isn't there is unset.
    """
    if bake is not None and canary is None:
        raise MeshctlError("--bake goes with --canary.", "--canary 10%", exit_code=exits.USAGE)
    found = read(sources(paths), os.environ)
    change_set = change_set_of(found, prune=prefixes)
    first = _canary(canary, bake) if canary else None
    proposal = Proposal(
        plan=planning(change_set, preflight=preflight),
        apply=applying(change_set, canary=first),
        read=found,
    )
    if first is not None and wait_s:
        wait_s += first.bake_time.ToTimedelta().total_seconds() or BAKE_S
    return carry_out(context, proposal, yes=yes, wait_s=wait_s, full=full, wants_json=wants_json)


@click.command()
@from_files
@click.option("--full", is_flag=True, help="Show values whole, however long.")
@click.option("--exit-code", is_flag=True, help="Exit with 5 if something would change.")
@as_json
@click.pass_obj
def plan(
    context: Context,
    /,
    *,
    paths: tuple[Path, ...],
    prefixes: tuple[str, ...],
    preflight: bool,
    full: bool,
    exit_code: bool,
    wants_json: bool,
) -> int:
    """Say what apply would do with the same files, and do nothing."""
    found = read(sources(paths), os.environ)
    changes = asked(context, change_set_of(found, prune=prefixes), found, preflight=preflight)
    if wants_json:
        show_json({"changes": [as_dict(one) for one in changes]})
    else:
        show_plan(changes, full=full)
    return exits.DIFFERS if exit_code and changes else exits.OK


def asked(context: Context, change_set: rpc.ChangeSet, found: Read, *, preflight: bool) -> Changes:
    """
    What *change_set* would do.

    Raises:
        MeshctlError: The gateway refuses it; with the lines of the files it is about.

    """
    try:
        return list(context.ask(planning(change_set, preflight=preflight)))
    except MeshctlError as error:
        raise with_places(error, found) from None


def _canary(words: str, bake: str | None) -> rpc.Canary:
    made = rpc.Canary()
    share = words.removesuffix("%")
    if words.endswith("%") and share.isdigit() and 1 <= int(share) <= 99:
        made.percent = int(share)
    elif words.endswith("%"):
        raise MeshctlError(
            f"{words} is no share of the edges.", "--canary 10%", exit_code=exits.USAGE
        )
    else:
        made.edges.extend(word.strip() for word in words.split(","))
    if bake is not None:
        duration = duration_of(bake)
        if duration is None:
            raise MeshctlError(f"{bake} is no duration.", "--bake 60s", exit_code=exits.USAGE)
        made.bake_time.CopyFrom(duration)
    return made
