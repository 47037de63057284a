"""What the verbs `service` and `route` share: reading objects in, showing them."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from google.protobuf import json_format
from google.protobuf.message import Message

from aerofusion.gateway.v1 import catalog_service_pb2
from meshctl import exits
from meshctl.admin import CALL_TIMEOUT_S, Admin
from meshctl.cli.context import Context, show_json, show_table
from meshctl.faults import MeshctlError


PAGE_SIZE = 500

Object = TypeVar("Object", bound=Message)
Fetch = Callable[[str], Awaitable[tuple[list[Message], str]]]

from_file = click.option(
    "--file",
    "file",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="JSON of the object as the API has it; options win over it. - is standard input.",
)


def read_object(made: Object, file: Path | None) -> Object:
    """
    Fill *made* with what *file* holds as JSON, if there is a file, and return it.

    Raises:
        MeshctlError: The file holds something else.

    """
    if file is None:
        return made
    text = sys.stdin.read() if str(file) == "-" else file.read_text()
    try:
        json_format.Parse(text, made)
    except json_format.ParseError as error:
        raise MeshctlError(
            f"{file} is no {type(made).__name__}: {error}", exit_code=exits.CONFIG
        ) from None
    return made


async def pages(fetch: Fetch) -> AsyncIterator[Message]:
    """All items of a paged list; *fetch* takes a page token and gives items and the next one."""
    token = ""
    while True:
        found, token = await fetch(token)
        for item in found:
            yield item
        if not token:
            return


def as_dict(message: Message, *, whole: bool = False) -> dict[str, Any]:
    """*message* as its JSON; descriptors only if it is to be *whole*: nobody reads those."""
    found: dict[str, Any] = json_format.MessageToDict(message, preserving_proto_field_name=True)
    if "descriptor_set" in found and not whole:
        found["descriptor_set"] = f"({len(getattr(message, 'descriptor_set'))} bytes)"  # noqa: B009
    return found


def show_object(message: Message, *, wants_json: bool) -> None:
    found = as_dict(message)
    if wants_json:
        show_json(found)
        return
    for name, value in found.items():
        plain = value if isinstance(value, str) else json.dumps(value)
        click.echo(f"{name:<20} {plain}")


def show_revisions(context: Context, name: str, *, wants_json: bool) -> None:
    """Print who changed the object *name*, when and how; the latest first."""

    async def ask(admin: Admin) -> list[dict[str, Any]]:
        async def fetch(token: str) -> tuple[list[Message], str]:
            answer = await admin.catalog.ListRevisions(
                catalog_service_pb2.ListRevisionsRequest(
                    object=name, page_size=PAGE_SIZE, page_token=token
                ),
                timeout=CALL_TIMEOUT_S,
            )
            return list(answer.revisions), answer.next_page_token

        return [as_dict(revision) async for revision in pages(fetch)]

    found = context.ask(ask)
    if wants_json:
        show_json(found)
    else:
        show_table(found, ("revision", "action", "actor", "create_time"))
