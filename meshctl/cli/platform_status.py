"""The verb `platform`: how each service does."""

from __future__ import annotations

from typing import Any

import click

from aerofusion.telemetry.v1 import status_service_pb2 as rpc
from meshctl import exits
from meshctl.cli.catalog import as_dict
from meshctl.cli.context import Context, as_json, show_json, show_table
from meshctl.cli.moments import length
from meshctl.faults import MeshctlError
from meshctl.objects.durations import duration_of
from meshctl.sparks import number
from meshctl.telemetry import CALL_TIMEOUT_S, Telemetry


PAGE_SIZE = 500


@click.command()
@click.option("--last", default="1h", show_default=True, help="How far back to look.")
@as_json
@click.pass_obj
def platform(context: Context, /, *, last: str, wants_json: bool) -> None:
    """
    Show how each service does: uptime, requests a minute, errors, latency, CPU and memory.

    By what services tell of themselves; `status` shows what this command itself has started.
    """
    window = duration_of(last)
    if window is None:
        raise MeshctlError(f"{last!r} is no duration.", "--last 24h", exit_code=exits.USAGE)

    async def ask(telemetry: Telemetry) -> list[rpc.ServiceStatus]:
        found: list[rpc.ServiceStatus] = []
        request = rpc.ListServiceStatusesRequest(window=window, page_size=PAGE_SIZE)
        while True:
            answer = await telemetry.statuses.ListServiceStatuses(request, timeout=CALL_TIMEOUT_S)
            found += answer.service_statuses
            if not answer.next_page_token:
                return found
            request.page_token = answer.next_page_token

    found = context.ask_telemetry(ask)
    if wants_json:
        show_json([as_dict(one) for one in found])
        return
    if not found:
        click.echo("No service was heard of.")
        return
    rows = [_row(one) for one in found]
    show_table(rows, list(rows[0]))


def _row(one: rpc.ServiceStatus) -> dict[str, Any]:
    left = f"{one.budget_remaining:.1%}" if one.HasField("budget_remaining") else ""
    return {
        "service": one.name.removeprefix("serviceStatuses/"),
        "state": rpc.ServiceStatus.State.Name(one.state).removeprefix("STATE_").lower(),
        "instances": one.instances,
        "uptime": f"{one.uptime:.2%}",
        "up since": one.up_time.ToDatetime().strftime("%m-%d %H:%M:%S")
        if one.HasField("up_time")
        else "",
        "requests/min": number(one.requests_per_minute),
        "errors": f"{one.error_share:.2%}",
        "p99": length(one.p99_duration) if one.HasField("p99_duration") else "",
        "cpu": f"{one.cpu_cores:.3f}",
        "memory": number(one.memory_bytes, "By"),
        "alerts": one.firing_alerts or "",
        "budget left": left,
    }
