"""The verb `deprecated`: who still calls what is on its way out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from aerofusion.gateway.v1 import lifecycle_service_pb2 as rpc
from meshctl import exits
from meshctl.cli.catalog import as_dict
from meshctl.cli.context import Context, as_json, show_json, show_table
from meshctl.faults import MeshctlError
from meshctl.objects.durations import duration_of


if TYPE_CHECKING:
    from google.protobuf.duration_pb2 import Duration
    from google.protobuf.timestamp_pb2 import Timestamp

USAGES_MAX = 1_000
TIMEOUT_S = 60.0
"""Many log records are counted."""


@click.command()
@click.argument("service", default="")
@click.option(
    "--since", metavar="DURATION", default="720h", show_default=True, help="How far back."
)
@click.option("--per", metavar="DURATION", help="Count apart in periods, such as 24h.")
@click.option(
    "--top",
    type=click.IntRange(1, USAGES_MAX),
    default=100,
    show_default=True,
    help="Most rows, those with most calls first.",
)
@as_json
@click.pass_obj
def deprecated(
    context: Context, /, *, service: str, since: str, per: str | None, top: int, wants_json: bool
) -> None:
    """
    Show who still calls methods that are deprecated or have a day of sunset.

    SERVICE is one service, or all. What is counted is in the edges' access logs: a few seconds
    late, and without calls that reach a service directly. "Unserved" came to no service: the edge
    refused it or answered itself. Where edges log more than some millions of calls, ask for less
    time.
    """
    request = rpc.GetDeprecatedUsageRequest(
        service=f"services/{service.removeprefix('services/')}" if service else "", page_size=top
    )
    request.start_time.FromDatetime(datetime.now(UTC) - _duration(since).ToTimedelta())
    if per is not None:
        request.period.CopyFrom(_duration(per))
    answer = context.ask(
        lambda admin: admin.lifecycles.GetDeprecatedUsage(request, timeout=TIMEOUT_S)
    )
    if wants_json:
        show_json({"methods": [], "usages": [], **as_dict(answer)})
        return
    if not answer.methods:
        click.echo("Nothing is deprecated.")
        return
    rows = [_row(usage) for usage in answer.usages]
    if rows:
        show_table(rows, list(rows[0]))
    if answer.usages_total > len(rows):
        click.echo(f"... and {answer.usages_total - len(rows)} more; see --top")
        return
    called = {(usage.grpc_service, usage.method) for usage in answer.usages}
    services = {usage.grpc_service for usage in answer.usages}
    for one in answer.methods:
        name = (one.grpc_service, one.method)
        if name not in called and (one.method or one.grpc_service not in services):
            click.echo(f"Nobody called {'/'.join(filter(None, name))}{_end(one)}.")


def _row(usage: rpc.DeprecatedUsage) -> dict[str, Any]:
    who = usage.consumer
    names = [who.subject, who.certificate_uri or who.certificate_names]
    row = {
        "method": f"{usage.grpc_service}/{usage.method}",
        "called by": " with ".join(filter(None, names)) or "(anonymous)",
        "of": who.tenant or who.issuer or "-",
        "calls": usage.calls,
        "unserved": usage.unserved,
        "last call": _time(usage.last_call_time),
    }
    if usage.HasField("period_start_time"):
        row = {"period from": _time(usage.period_start_time), **row}
    return row


def _end(method: rpc.DeprecatedMethod) -> str:
    if not method.HasField("sunset_time"):
        return ""
    return f"; its sunset is on {method.sunset_time.ToDatetime():%Y-%m-%d}"


def _time(at: Timestamp) -> str:
    return f"{at.ToDatetime():%Y-%m-%d %H:%M:%S}"


def _duration(text: str) -> Duration:
    found = duration_of(text)
    if found is None or found.ToNanoseconds() <= 0:
        raise MeshctlError(f"{text} is no duration.", "--since 24h", exit_code=exits.USAGE)
    return found
