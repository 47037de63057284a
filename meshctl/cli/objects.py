"""Verbs about objects of any kind: `get`, `list`, `delete`, `export`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from aerofusion.gateway.v1 import config_service_pb2 as rpc
from aerofusion.gateway.v1 import object_pb2
from meshctl import exits
from meshctl.admin import CALL_TIMEOUT_S, Admin
from meshctl.cli.apply import planning
from meshctl.cli.catalog import as_dict, pages
from meshctl.cli.changing import Proposal, applying, carried_out, carry_out
from meshctl.cli.completion import object_name
from meshctl.cli.context import Context, as_json, show_json, show_table
from meshctl.faults import MeshctlError
from meshctl.objects.names import FORMS, content_of, kind_of
from meshctl.objects.write import as_yaml, in_a_line, plain, size
from meshctl.paint import cut, width


PAGE_SIZE = 200
DESCRIPTION_COLUMNS = 60


async def listed(admin: Admin, prefix: str) -> list[object_pb2.Object]:
    """All objects whose names begin with *prefix*, without descriptor sets."""

    async def fetch(token: str) -> tuple[list[Any], str]:
        request = rpc.ListObjectsRequest(prefix=prefix, page_size=PAGE_SIZE, page_token=token)
        answer = await admin.config.ListObjects(request, timeout=CALL_TIMEOUT_S)
        return list(answer.objects), answer.next_page_token

    return [item async for item in pages(fetch) if isinstance(item, object_pb2.Object)]


async def whole(admin: Admin, name: str, revision: int = 0) -> object_pb2.Object:
    """The object *name* with its descriptor set."""
    request = rpc.GetObjectRequest(name=name, revision=revision)
    answer = await admin.config.GetObject(request, timeout=CALL_TIMEOUT_S)
    return answer.object


def checked(name: str) -> str:
    """
    *name*, if it may be that of an object.

    Raises:
        MeshctlError: It can't.

    """
    if kind_of(name) is None:
        raise MeshctlError(f"{name} names no object.", f"one of {FORMS}", exit_code=exits.USAGE)
    return name


@click.command()
@click.argument("name", shell_complete=object_name)
@click.option("--revision", default=0, help="As it was then.  [default: as it is]")
@as_json
@click.pass_obj
def get(context: Context, /, *, name: str, revision: int, wants_json: bool) -> None:
    """Show the object NAME as a file would have it."""
    checked(name)
    content = content_of(context.ask(lambda admin: whole(admin, name, revision)))
    if wants_json:
        show_json(as_dict(content))
        return
    shown = plain(content)
    described = shown.pop("descriptor_set", b"")
    click.echo(f"# revision {content.revision}, of {content.update_time.ToJsonString()}")
    click.echo(as_yaml(shown), nl=False)
    if described:
        click.echo(f"# descriptor_set: {size(len(described))}; meshctl export has it")


@click.command("list")
@click.argument("prefix", default="", shell_complete=object_name)
@as_json
@click.pass_obj
def list_objects(context: Context, /, *, prefix: str, wants_json: bool) -> None:
    """List objects whose names begin with PREFIX, or all."""
    contents = [content_of(one) for one in context.ask(lambda admin: listed(admin, prefix))]
    if wants_json:
        show_json([as_dict(one) for one in contents])
        return
    if not contents:
        click.echo(
            f"There is nothing that begins with {prefix}." if prefix else "There is nothing."
        )
        return
    rows = [
        {
            "name": one.name,
            "revision": one.revision,
            "updated": one.update_time.ToDatetime().strftime("%Y-%m-%d %H:%M:%S"),
            "says": one.description or told(one),
        }
        for one in contents
    ]
    room = max(width() - max(len(one.name) for one in contents) - 34, 20)
    for row in rows:
        row["says"] = cut(row["says"], min(room, 200))
    show_table(rows, ("name", "revision", "updated", "says"))


def told(content: Any) -> str:
    """What matters most about an object that has no description."""
    shown = plain(content)
    for field in ("endpoints", "match", "domains", "issuer", "action", "strength", "discovery"):
        if field in shown:
            return f"{field}: {in_a_line(shown[field])}"
    return ""


@click.command()
@click.argument("names", nargs=-1, required=True, shell_complete=object_name)
@carried_out
@as_json
@click.pass_obj
def delete(
    context: Context,
    /,
    *,
    names: Sequence[str],
    yes: bool,
    wait_s: float,
    full: bool,
    wants_json: bool,
) -> int:
    """
    Delete the objects NAMES together, a service with its routes.

    Shows what would go and asks first. What others need stays, unless they go with it.
    """
    change_set = rpc.ChangeSet(deletes=[checked(name) for name in names])
    proposal = Proposal(plan=planning(change_set, preflight=False), apply=applying(change_set))
    return carry_out(context, proposal, yes=yes, wait_s=wait_s, full=full, wants_json=wants_json)


@click.command()
@click.argument("prefix", default="", shell_complete=object_name)
@click.option(
    "--to",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write a file for each object into this folder.  [default: all to standard output]",
)
@click.option("--revision", default=0, help="As it was then.  [default: as it is]")
@as_json
@click.pass_obj
def export(
    context: Context, /, *, prefix: str, folder: Path | None, revision: int, wants_json: bool
) -> None:
    """
    Write objects whose names begin with PREFIX, or all, as files that apply takes.

    Applied as they are they change nothing. Secrets aren't in them: applied to this mesh those it
    has stay; for another one they must be filled in.
    """

    async def ask(admin: Admin) -> list[object_pb2.Object]:
        names = [content_of(one).name for one in await listed(admin, prefix)]
        if revision:
            request = rpc.DiffRevisionsRequest(to_revision=revision)
            then = await admin.config.DiffRevisions(request, timeout=CALL_TIMEOUT_S)
            names = [one.name for one in then.changes if one.name.startswith(prefix)]
        return [await whole(admin, name, revision) for name in names]

    contents = [content_of(one) for one in context.ask(ask)]
    if wants_json:
        made = [as_dict(one, whole=True) for one in contents]
        show_json(
            [
                {k: v for k, v in one.items() if k in {"name", *plain(c)}}
                for one, c in zip(made, contents, strict=True)
            ]
        )
    elif folder is None:
        click.echo("---\n".join(f"{_note(one)}{as_yaml(plain(one))}" for one in contents), nl=False)
    else:
        for one in contents:
            click.echo(_write(folder, one))


def _note(content: Any) -> str:
    """What must be said of an object that isn't whole."""
    if content.DESCRIPTOR.name == "Certificate":
        return (
            "# private_key_pem is kept sealed; for another mesh add: private_key_pem: !file KEY\n"
        )
    if content.DESCRIPTOR.name == "Host" and content.HasField("login"):
        return "# login.client_secret is kept sealed; for another mesh add it: !env SECRET\n"
    return ""


def _write(folder: Path, content: Any) -> str:
    """Write one object's file, and one beside it for its descriptors; return its path."""
    shown = plain(content)
    path = folder / f"{content.name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    described = shown.get("descriptor_set")
    if described:
        beside = path.with_suffix(".binpb")
        beside.write_bytes(described)
        shown["descriptor_set"] = beside.name
    path.write_text(_note(content) + as_yaml(shown))
    return str(path)
