"""The verb `limits`: what limits let through and refused."""

from __future__ import annotations

from typing import Any

import click

from aerofusion.gateway.v1 import limit_service_pb2 as rpc
from aerofusion.gateway.v1.limit_pb2 import Limit
from meshctl import exits
from meshctl.admin import CALL_TIMEOUT_S, Admin
from meshctl.cli.catalog import as_dict
from meshctl.cli.context import Context, as_json, show_json, show_table
from meshctl.faults import MeshctlError


BUCKETS_MAX = 1_000


@click.command()
@click.argument("name", default="")
@click.option(
    "--top",
    type=click.IntRange(1, BUCKETS_MAX),
    default=20,
    show_default=True,
    help="Most buckets to show, the busiest first.",
)
@click.option(
    "--shadow",
    is_flag=True,
    help="Only limits in shadow mode, and what each edge's local ones would have refused.",
)
@as_json
@click.pass_obj
def limits(context: Context, /, *, name: str, top: int, shadow: bool, wants_json: bool) -> None:
    """
    Show the buckets of quotas and strict limits: what came, what was let through and refused.

    NAME is one limit, or all. Edges tell each 5 s. Local limits are counted by each edge, all
    together: --shadow shows those in shadow mode.
    """
    if shadow and name:
        raise MeshctlError("--shadow shows all limits.", "limits NAME", exit_code=exits.USAGE)
    full = f"limits/{name.removeprefix('limits/')}" if name else ""
    request = rpc.GetUsageRequest(limit=full, page_size=top)
    answer = context.ask(lambda admin: admin.limits.GetUsage(request, timeout=CALL_TIMEOUT_S))
    local = context.ask(_local) if shadow else None
    usages = [one for one in answer.usages if one.shadow or not shadow]
    if wants_json:
        found = {**as_dict(answer), "usages": [as_dict(one) for one in usages]}
        if local is not None:
            found["local"] = {"usages": [], "shadow_limits": [], **as_dict(local)}
        show_json(found)
        return
    if local is not None:
        _show_local(local)
    rows = [_row(usage, part) for usage in usages for part in usage.parts]
    if rows:
        show_table(rows, list(rows[0]))
        if any(usage.shadow for usage in usages):
            click.echo("(n): would have been refused, were the limit not in shadow mode.")
        if answer.buckets > len(answer.usages):
            click.echo(f"... and {answer.buckets - len(answer.usages)} more buckets; see --top")
    elif local is None or not local.usages:
        click.echo("No calls have been counted.")


def _row(usage: rpc.LimitUsage, part: rpc.BucketPart) -> dict[str, Any]:
    return {
        "limit": usage.limit.removeprefix("limits/"),
        "kept": Limit.Strength.Name(usage.strength).removeprefix("STRENGTH_").lower(),
        "bucket": ", ".join(f"{key}={value}" for key, value in sorted(usage.bucket.items()))
        or "all calls",
        "at": part.edge,
        "may/s": f"{usage.allowed_per_second_max:g}",
        "share/s": f"{part.assigned_per_second:.4g}",
        "came/s": f"{part.demand_per_second:.4g}",
        "allowed": part.allowed,
        "refused": f"({part.would_have_refused})" if usage.shadow else part.refused,
    }


async def _local(admin: Admin) -> rpc.GetLocalUsageResponse:
    answer: rpc.GetLocalUsageResponse = await admin.limits.GetLocalUsage(
        rpc.GetLocalUsageRequest(), timeout=CALL_TIMEOUT_S
    )
    return answer


def _show_local(local: rpc.GetLocalUsageResponse) -> None:
    names = ", ".join(one.removeprefix("limits/") for one in local.shadow_limits)
    click.echo(f"Local limits in shadow mode: {names or 'none'}")
    rows = [
        {
            "at": one.edge,
            "allowed": one.allowed,
            "refused": one.refused,
            "would have refused": one.would_have_refused,
        }
        for one in local.usages
    ]
    if rows:
        show_table(rows, list(rows[0]))
        click.echo("All local limits of an edge together, since its relay started.\n")
