"""Verbs about what the catalog was: `history`, `diff`, `rollback`."""

from __future__ import annotations

import uuid
from typing import Any

import click

from aerofusion.gateway.v1 import catalog_service_pb2, change_service_pb2
from aerofusion.gateway.v1 import config_service_pb2 as rpc
from meshctl import exits
from meshctl.admin import CALL_TIMEOUT_S, Admin
from meshctl.cli.catalog import as_dict, pages
from meshctl.cli.changing import (
    CHANGE_TIMEOUT_S,
    Changes,
    Done,
    Proposal,
    carried_out,
    carry_out,
    repeated,
    show_change,
)
from meshctl.cli.completion import object_name
from meshctl.cli.context import Context, as_json, show_json, show_table
from meshctl.cli.watch import newest
from meshctl.faults import MeshctlError
from meshctl.objects.changes import ACTIONS, told


PAGE_SIZE = 200


@click.command()
@click.argument("name", default="", shell_complete=object_name)
@click.option("--limit", default=20, show_default=True, help="Most revisions to show.")
@as_json
@click.pass_obj
def history(context: Context, /, *, name: str, limit: int, wants_json: bool) -> None:
    """Show who changed what and when, the newest first: of the object NAME, or of all."""

    async def ask(admin: Admin) -> list[Any]:
        async def fetch(token: str) -> tuple[list[Any], str]:
            request = catalog_service_pb2.ListRevisionsRequest(
                object=name, page_size=min(limit, PAGE_SIZE), page_token=token
            )
            answer = await admin.catalog.ListRevisions(request, timeout=CALL_TIMEOUT_S)
            return list(answer.revisions), answer.next_page_token

        found: list[Any] = []
        async for one in pages(fetch):
            found.append(one)
            if len(found) >= limit:
                break
        return found

    found = context.ask(ask)
    if wants_json:
        show_json([as_dict(one) for one in found])
        return
    if not found:
        click.echo("Nothing has been changed yet.")
        return
    rows = [
        {
            "revision": one.revision,
            "when": one.create_time.ToDatetime().strftime("%Y-%m-%d %H:%M:%S"),
            "action": ACTIONS.get(one.action, ""),
            "object": one.object,
            "who": one.actor.removeprefix("spiffe://aerofusion/"),
        }
        for one in found
    ]
    show_table(rows, ("revision", "when", "action", "object", "who"))


@click.command()
@click.argument("before", type=click.IntRange(min=0), required=False)
@click.argument("after", type=click.IntRange(min=1), required=False)
@click.option("--full", is_flag=True, help="Show values whole, however long.")
@as_json
@click.pass_obj
def diff(
    context: Context,
    /,
    *,
    before: int | None,
    after: int | None,
    full: bool,
    wants_json: bool,
) -> None:
    """
    Show what differs between two revisions.

    Without any: what the newest change changed. With BEFORE alone: what has changed since.
    `meshctl plan` compares files with what is.
    """

    async def ask(admin: Admin) -> Any:
        first = before
        if first is None:
            name = f"changes/{await newest(admin)}"
            if name == "changes/0":
                return rpc.DiffRevisionsResponse()
            request = change_service_pb2.GetChangeRequest(name=name)
            made = await admin.changes.GetChange(request, timeout=CALL_TIMEOUT_S)
            first = made.change.first_revision - 1
        compare = rpc.DiffRevisionsRequest(from_revision=first, to_revision=after or 0)
        return await admin.config.DiffRevisions(compare, timeout=CHANGE_TIMEOUT_S)

    answer = context.ask(ask)
    if wants_json:
        show_json({"changes": [], **as_dict(answer)})
        return
    for one in answer.changes:
        show_change(told(one), full=full)
    if not answer.changes:
        click.echo("Nothing differs.")


@click.command()
@click.argument("revision", type=click.IntRange(min=0))
@carried_out
@as_json
@click.pass_obj
def rollback(
    context: Context,
    /,
    *,
    revision: int,
    yes: bool,
    wait_s: float,
    full: bool,
    wants_json: bool,
) -> int:
    """
    Make the catalog what it was at REVISION, as a new change.

    Shows what would be changed and asks first. Rolling back can be rolled back.
    """
    if revision == 0:
        raise MeshctlError(
            "Revision 0 is the empty catalog.", "meshctl delete NAME...", exit_code=exits.USAGE
        )
    request_id = uuid.uuid4().hex

    async def plan(admin: Admin) -> Changes:
        request = rpc.RollBackRequest(revision=revision, validate_only=True)
        answer = await admin.config.RollBack(request, timeout=CHANGE_TIMEOUT_S)
        return list(answer.changes)

    async def apply(admin: Admin, _: Changes) -> Done:
        request = rpc.RollBackRequest(revision=revision, request_id=request_id)
        made: Done = await repeated(
            lambda: admin.config.RollBack(request, timeout=CHANGE_TIMEOUT_S)
        )
        return made

    proposal = Proposal(plan=plan, apply=apply)
    return carry_out(context, proposal, yes=yes, wait_s=wait_s, full=full, wants_json=wants_json)
