"""The verbs `watch` and `edges`: how far changes have come."""

from __future__ import annotations

from typing import Any

import click

from aerofusion.gateway.v1 import catalog_service_pb2, change_service_pb2
from meshctl import exits
from meshctl.admin import CALL_TIMEOUT_S, Admin
from meshctl.cli.catalog import as_dict
from meshctl.cli.changing import WAIT_S, follow, outcome
from meshctl.cli.context import Context, as_json, show_json, show_table
from meshctl.faults import MeshctlError
from meshctl.objects.read import Read
from meshctl.paint import coloured, paint


async def newest(admin: Admin) -> int:
    """The newest revision; 0 if there is none."""
    answer = await admin.catalog.ListRevisions(
        catalog_service_pb2.ListRevisionsRequest(page_size=1), timeout=CALL_TIMEOUT_S
    )
    return answer.revisions[0].revision if answer.revisions else 0


def change_named(word: str) -> str:
    """
    The name of the change that *word* is about: a revision, or `changes/{revision}`.

    Raises:
        MeshctlError: It is neither.

    """
    digits = word.removeprefix("changes/")
    if not digits.isdigit() or int(digits) == 0:
        raise MeshctlError(f"{word} is no change.", "meshctl history", exit_code=exits.USAGE)
    return f"changes/{int(digits)}"


@click.command()
@click.argument("change", required=False)
@click.option("--wait", "wait_s", default=WAIT_S, show_default=True, help="Seconds to follow it.")
@as_json
@click.pass_obj
def watch(context: Context, /, *, change: str | None, wait_s: float, wants_json: bool) -> int:
    """
    Follow CHANGE, a revision, until every proxy has said what it makes of it; or the newest.

    Exit code 1 if a proxy refuses part of it.
    """
    name = change_named(change) if change else ""

    async def ask(admin: Admin) -> Any:
        asked = name or f"changes/{await newest(admin)}"
        if asked == "changes/0":
            raise MeshctlError("Nothing has been changed yet.", "meshctl apply -f FILE")
        return await follow(admin, asked, wait_s, quiet=wants_json)

    last = context.ask(ask)
    if wants_json:
        show_json(as_dict(last))
    return outcome(last, Read(), quiet=wants_json)


@click.command()
@as_json
@click.pass_obj
def edges(context: Context, /, *, wants_json: bool) -> int:
    """
    Show the proxies that are connected: what they have, and what they refuse.

    Exit code 1 if one refuses something.
    """
    found, revision = context.ask(connected)
    refusing = any(one.refusals for one in found)
    if wants_json:
        show_json([as_dict(one) for one in found])
        return exits.FAILED if refusing else exits.OK
    rows = [
        {
            "proxy": one.node,
            "kind": one.flavour,
            "version": one.user_agent,
            "since": one.connect_time.ToDatetime().strftime("%Y-%m-%d %H:%M:%S"),
            "revision": one.revision,
            "": standing(one, revision),
        }
        for one in found
    ]
    if not rows:
        click.echo("No proxy is connected.")
        return exits.OK
    show_table(rows, ("proxy", "kind", "version", "since", "revision", ""))
    for one in found:
        for refusal in one.refusals:
            about = " ".join(filter(None, (refusal.object, refusal.field)))
            head = f"\n{one.node} refuses {refusal.type} {refusal.resource}"
            click.echo(paint(head, "red", bold=True), color=coloured())
            click.echo(f"  {about or 'of no object that is known'}\n  {refusal.error}")
    return exits.FAILED if refusing else exits.OK


async def connected(admin: Admin) -> tuple[list[Any], int]:
    """The proxies that are connected, and the newest revision."""
    answer = await admin.changes.ListEdges(
        change_service_pb2.ListEdgesRequest(), timeout=CALL_TIMEOUT_S
    )
    return list(answer.edges), await newest(admin)


def standing(edge: Any, newest_revision: int) -> str:
    """How far a proxy is, for people."""
    if edge.refusals:
        return f"refuses {len(edge.refusals)}"
    if edge.revision < newest_revision:
        return f"{newest_revision - edge.revision} behind"
    return "has all"
