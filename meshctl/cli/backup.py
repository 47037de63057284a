"""The verbs `backup` and `backups`: copies of what telemetry keeps."""

from __future__ import annotations

import click

from aerofusion.telemetry.v1 import backup_service_pb2 as rpc
from meshctl.cli.catalog import as_dict
from meshctl.cli.context import Context, as_json, show_json, show_table
from meshctl.cli.moments import clock, length
from meshctl.telemetry import CALL_TIMEOUT_S


TAKE_TIMEOUT_S = 3600.0
"""The first copies everything; those after it only what is new."""


@click.command()
@as_json
@click.pass_obj
def backup(context: Context, /, *, wants_json: bool) -> None:
    """Copy all metrics, logs, traces, rules and dashboards, as of now, while telemetry runs."""
    answer = context.ask_telemetry(
        lambda telemetry: telemetry.backups.CreateBackup(
            rpc.CreateBackupRequest(), timeout=TAKE_TIMEOUT_S
        )
    )
    if wants_json:
        show_json(as_dict(answer))
        return
    made = answer.backup
    click.echo(
        f"{made.folder}: as of {clock(made.time)}, {made.size_bytes / 1e6:.1f} MB, of which"
        f" {answer.copied_bytes / 1e6:.1f} MB are new; took {length(answer.duration)}"
    )


@click.command()
@as_json
@click.pass_obj
def backups(context: Context, /, *, wants_json: bool) -> None:
    """List the backups of telemetry, the newest first."""
    answer = context.ask_telemetry(
        lambda telemetry: telemetry.backups.ListBackups(
            rpc.ListBackupsRequest(), timeout=CALL_TIMEOUT_S
        )
    )
    if wants_json:
        show_json({"backups": [], **as_dict(answer)})
        return
    if not answer.backups:
        click.echo("There is no backup.")
        return
    rows = [
        {"backup": one.folder, "as of": clock(one.time), "MB": f"{one.size_bytes / 1e6:.1f}"}
        for one in answer.backups
    ]
    show_table(rows, list(rows[0]))
