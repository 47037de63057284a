"""The verb `traces`: find them."""

from __future__ import annotations

from typing import Any

import click

from aerofusion.telemetry.v1 import trace_service_pb2 as rpc
from meshctl.cli.catalog import as_dict
from meshctl.cli.context import Context, as_json, show_json, show_table
from meshctl.cli.moments import clock, length, of_time, set_window
from meshctl.telemetry import CALL_TIMEOUT_S


TRACES_MAX = 200


@click.command()
@click.argument("filter_", metavar="[FILTER]", default="")
@of_time
@click.option(
    "--top",
    type=click.IntRange(1, TRACES_MAX),
    default=20,
    show_default=True,
    help="Most traces, the newest first.",
)
@as_json
@click.pass_obj
def traces(
    context: Context, /, *, filter_: str, since: str, until: str | None, top: int, wants_json: bool
) -> None:
    """
    Find traces that have a span like FILTER says, in the language of docs/specs/logs.md.

    Fields of a span are service, instance, name, kind, status, status_message, duration and
    scope; any other name is an attribute's.
    """
    request = rpc.SearchTracesRequest(filter=filter_, page_size=top)
    set_window(request, since, until)
    answer = context.ask_telemetry(
        lambda telemetry: telemetry.traces.SearchTraces(request, timeout=CALL_TIMEOUT_S)
    )
    if wants_json:
        show_json({"traces": [], **as_dict(answer)})
        return
    if not answer.traces:
        click.echo("No trace was found.")
        return
    rows = [_row(one) for one in answer.traces]
    show_table(rows, list(rows[0]))
    if answer.next_page_token:
        click.echo("... and more; see --top, --since and --until")


def _row(one: rpc.TraceSummary) -> dict[str, Any]:
    return {
        "began": clock(one.start_time),
        "trace": one.trace_id,
        "root": f"{one.root_service} {one.root_name}",
        "took": length(one.duration),
        "spans": one.spans,
        "errors": one.errors,
        "services": len(one.services),
        "found": one.matched_spans,
        "longest": length(one.matched_duration),
    }
