"""The verbs `search`, `tail` and `patterns`: log records as telemetry has them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import click
from google.protobuf.json_format import MessageToDict

from aerofusion.telemetry.v1 import log_service_pb2 as rpc
from aerofusion.telemetry.v1 import query_service_pb2 as query_rpc
from meshctl import paint
from meshctl.cli.catalog import as_dict
from meshctl.cli.context import Context, as_json, show_json, show_table
from meshctl.cli.moments import clock, of_time, set_window
from meshctl.telemetry import CALL_TIMEOUT_S, Telemetry


RECORDS_MAX, PATTERNS_MAX = 1_000, 500
LEVELS = ((21, "FATAL", "red"), (17, "ERROR", "red"), (13, "WARN", "yellow"), (9, "INFO", ""))


@click.command()
@click.argument("filter_", metavar="[FILTER]", default="")
@of_time
@click.option(
    "-n",
    "--lines",
    "number",
    type=click.IntRange(1, RECORDS_MAX),
    default=50,
    show_default=True,
    help="How many of the last.",
)
@click.option("--attributes", is_flag=True, help="With their attributes.")
@as_json
@click.pass_obj
def search(
    context: Context,
    /,
    *,
    filter_: str,
    since: str,
    until: str | None,
    number: int,
    attributes: bool,
    wants_json: bool,
) -> None:
    """
    Find log records as FILTER says, in the language of docs/specs/logs.md; the newest come last.

    A record's trace stands behind it: `meshctl trace` shows it.
    """
    request = query_rpc.SearchLogsRequest(filter=filter_, page_size=number)
    set_window(request, since, until)
    answer = context.ask_telemetry(
        lambda telemetry: telemetry.queries.SearchLogs(request, timeout=CALL_TIMEOUT_S)
    )
    if wants_json:
        show_json({"entries": [], **as_dict(answer)})
        return
    for entry in reversed(answer.entries):
        _show(entry, attributes=attributes)
    if not answer.entries:
        click.echo("No record was found.")


@click.command()
@click.argument("filter_", metavar="[FILTER]", default="")
@click.option("--resume", metavar="TOKEN", default="", help="Go on behind what was seen last.")
@click.option("--attributes", is_flag=True, help="With their attributes.")
@as_json
@click.pass_obj
def tail(
    context: Context, /, *, filter_: str, resume: str, attributes: bool, wants_json: bool
) -> None:
    """
    Follow log records as FILTER says, in the language of docs/specs/logs.md, until Ctrl-C.

    With --json each line is an answer with its records and the token to go on with. Records left
    out, since there were too many at once, are counted.
    """
    request = rpc.TailLogsRequest(filter=filter_, resume_token=resume)

    async def follow(telemetry: Telemetry) -> None:
        async for answer in telemetry.logs.TailLogs(request):
            if wants_json:
                click.echo(json.dumps(MessageToDict(answer, preserving_proto_field_name=True)))
                continue
            if answer.skipped:
                click.echo(f"... {answer.skipped} records left out ...")
            for entry in answer.entries:
                _show(entry, attributes=attributes)

    context.ask_telemetry(follow)


@click.command()
@click.argument("filter_", metavar="[FILTER]", default="")
@of_time
@click.option(
    "--top",
    type=click.IntRange(1, PATTERNS_MAX),
    default=30,
    show_default=True,
    help="Most patterns, those with most records first.",
)
@as_json
@click.pass_obj
def patterns(
    context: Context, /, *, filter_: str, since: str, until: str | None, top: int, wants_json: bool
) -> None:
    """
    Show what kinds of log records there are, of those that FILTER says.

    Bodies that differ only in numbers, ids, addresses and times are of one kind.
    """
    request = rpc.ListLogPatternsRequest(filter=filter_, page_size=top)
    set_window(request, since, until)
    answer = context.ask_telemetry(
        lambda telemetry: telemetry.logs.ListLogPatterns(request, timeout=CALL_TIMEOUT_S)
    )
    if wants_json:
        show_json({"patterns": [], **as_dict(answer)})
        return
    rows = list(_rows(answer))
    if not rows:
        click.echo("No record was found.")
        return
    show_table(rows, list(rows[0]))
    if answer.patterns_total > len(rows):
        click.echo(f"... and {answer.patterns_total - len(rows)} more; see --top")
    if answer.records_total > answer.records:
        click.echo(
            f"Of {answer.records_total} records, the newest {answer.records} were looked at."
        )


def _rows(answer: rpc.ListLogPatternsResponse) -> Iterable[dict[str, Any]]:
    for one in answer.patterns:
        yield {
            "records": one.records,
            "service": one.service or "-",
            "worst": _level(one.severity_number)[0],
            "last": clock(one.last_time),
            "pattern": paint.cut(one.pattern.replace("\n", "⏎"), 200),
        }


def _show(entry: query_rpc.LogEntry, *, attributes: bool) -> None:
    level, colour = _level(entry.severity_number)
    shown = paint.paint(level.ljust(5), colour) if colour else level.ljust(5)
    trace = f"  trace={entry.trace_id}" if entry.trace_id else ""
    click.echo(f"{clock(entry.time)} {shown} {entry.service}: {entry.body}{trace}")
    if attributes:
        for name, value in sorted(entry.attributes.items()):
            click.echo(f"    {name}={value}")


def _level(severity: int) -> tuple[str, str]:
    for least, word, colour in LEVELS:
        if severity >= least:
            return word, colour
    return ("DEBUG" if severity >= 5 else "TRACE" if severity else "-"), ""
