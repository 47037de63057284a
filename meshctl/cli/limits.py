"""The verb `limits`: what limits let through and refused."""

from __future__ import annotations

import click

from aerofusion.gateway.v1 import limit_service_pb2 as rpc
from aerofusion.gateway.v1.limit_pb2 import Limit
from meshctl.admin import CALL_TIMEOUT_S
from meshctl.cli.catalog import as_dict
from meshctl.cli.context import Context, as_json, show_json, show_table


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
@as_json
@click.pass_obj
def limits(context: Context, /, *, name: str, top: int, wants_json: bool) -> None:
    """
    Show the buckets of quotas and strict limits: what came, what was let through and refused.

    NAME is one limit, or all. Edges tell each 5 s. Local limits are counted in each edge's own
    statistics and aren't here.
    """
    full = f"limits/{name.removeprefix('limits/')}" if name else ""
    request = rpc.GetUsageRequest(limit=full, page_size=top)
    answer = context.ask(lambda admin: admin.limits.GetUsage(request, timeout=CALL_TIMEOUT_S))
    if wants_json:
        show_json({"usages": [], **as_dict(answer)})
        return
    rows = [
        {
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
        for usage in answer.usages
        for part in usage.parts
    ]
    if not rows:
        click.echo("No calls have been counted.")
        return
    show_table(rows, list(rows[0]))
    if any(usage.shadow for usage in answer.usages):
        click.echo("(n): would have been refused, were the limit not in shadow mode.")
    if answer.buckets > len(answer.usages):
        click.echo(f"... and {answer.buckets - len(answer.usages)} more buckets; see --top")
