"""The verb `map`: which service calls which."""

from __future__ import annotations

from typing import Any

import click

from aerofusion.telemetry.v1 import map_service_pb2 as rpc
from meshctl.cli.catalog import as_dict
from meshctl.cli.context import Context, as_json, show_json, show_table
from meshctl.cli.moments import length, of_time, set_window
from meshctl.telemetry import CALL_TIMEOUT_S


ARROWS = {
    rpc.EDGE_KIND_RPC: "──▶",
    rpc.EDGE_KIND_MESSAGING: "╌╌▶",
    rpc.EDGE_KIND_DATABASE: "──▷",
    rpc.EDGE_KIND_EXTERNAL: "──▷",
}


@click.command("map")
@click.argument("service", default="")
@of_time
@as_json
@click.pass_obj
def service_map(
    context: Context, /, *, service: str, since: str, until: str | None, wants_json: bool
) -> None:
    """
    Show which service calls which, how often and how well; of SERVICE, only its own edges.

    ──▶ is answered, ╌╌▶ a message, ──▷ goes to what isn't instrumented and bears the name that
    its callers give it. A call is shown once both of its ends have been heard; one that nobody
    answers, a minute later.
    """
    request = rpc.GetServiceMapRequest(service=service)
    set_window(request, since, until)
    answer = context.ask_telemetry(
        lambda telemetry: telemetry.maps.GetServiceMap(request, timeout=CALL_TIMEOUT_S)
    )
    if wants_json:
        show_json({"edges": [], **as_dict(answer)})
        return
    if not answer.edges:
        click.echo("No call between services was heard of.")
        return
    widest = max(len(one.client or "(outside)") for one in answer.edges)
    rows = [_row(one, widest) for one in answer.edges]
    show_table(rows, list(rows[0]))


def _row(one: rpc.ServiceEdge, widest: int) -> dict[str, Any]:
    arrow = ARROWS.get(one.kind, "──▶")
    return {
        "calls from and to": f"{(one.client or '(outside)').ljust(widest)} {arrow} {one.server}",
        "calls": one.calls,
        "per second": f"{one.rate:.3g}",
        "errors": one.errors,
        "failing": f"{one.errors * 100 / max(one.calls, 1):.3g} %",
        "mean": length(one.mean_duration),
        "p50": length(one.p50_duration),
        "p95": length(one.p95_duration),
        "p99": length(one.p99_duration),
    }
