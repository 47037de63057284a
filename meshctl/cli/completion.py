"""The verb `completion`, and what is completed with the help of the gateway."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import grpc
from click.shell_completion import get_completion_class

from aerofusion.gateway.v1 import config_service_pb2 as rpc
from meshctl import exits
from meshctl.admin import Admin
from meshctl.cli.context import Context
from meshctl.faults import MeshctlError
from meshctl.objects.names import content_of
from meshctl.state import State, default_folder


SHELLS = ("bash", "zsh", "fish")
COMPLETED_WITHIN_S = 2.0
SHOWN_MAX = 200


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(*, shell: str) -> None:
    """Print what makes SHELL complete verbs, options and names of objects."""
    found = get_completion_class(shell)
    if found is None:
        raise MeshctlError(f"{shell} is not known.", exit_code=exits.USAGE)
    command = click.get_current_context().find_root().command
    click.echo(found(command, {}, "meshctl", "_MESHCTL_COMPLETE").source())


def object_name(ctx: click.Context, _: click.Parameter, incomplete: str) -> Sequence[str]:
    """Names of objects that begin with what was typed; none if no gateway says."""
    options: dict[str, Any] = ctx.find_root().params
    folder: Path | None = options.get("folder")
    context = Context(
        state=State(folder.absolute() if folder else default_folder(os.environ)),
        argv=(),
        gateway=options.get("gateway"),
    )

    async def ask(admin: Admin) -> list[str]:
        request = rpc.ListObjectsRequest(prefix=incomplete, page_size=SHOWN_MAX)
        answer = await admin.config.ListObjects(request, timeout=COMPLETED_WITHIN_S)
        return [content_of(one).name for one in answer.objects]

    with contextlib.suppress(MeshctlError, grpc.RpcError, OSError):
        return context.ask(ask)
    return []
