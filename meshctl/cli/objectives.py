"""The verb `objectives`: what services promise, and what is left of their error budgets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from aerofusion.telemetry.v1 import objective_pb2
from aerofusion.telemetry.v1 import objective_service_pb2 as rpc
from meshctl.cli.alert_rules import a_file
from meshctl.cli.catalog import as_dict
from meshctl.cli.context import Context, as_json, show_json, show_table
from meshctl.objectives import parse
from meshctl.objects.durations import duration_text
from meshctl.telemetry import CALL_TIMEOUT_S, Telemetry


PAGE_SIZE = 500


@click.group()
def objectives() -> None:
    """
    Say which share of events is to be good, and show what is left of the rest.

    Rules are made of each: they record how fast its error budget is used up, and alert when that
    is too fast.
    """


@objectives.command("list")
@as_json
@click.pass_obj
def list_objectives(context: Context, /, *, wants_json: bool) -> None:
    """List objectives and what is left of their budgets, of each the one with the least first."""
    found = context.ask_telemetry(_listed)
    if wants_json:
        show_json([as_dict(one) for one in found])
        return
    if not found:
        click.echo("There are no objectives.")
        return
    show_table([row for one in found for row in _rows(one)], COLUMNS)


@objectives.command()
@click.argument("name")
@as_json
@click.pass_obj
def show(context: Context, /, *, name: str, wants_json: bool) -> None:
    """Show the objective NAME, and how fast its budgets are used up over several windows."""
    request = rpc.GetObjectiveRequest(name=_full(name))
    answer = context.ask_telemetry(
        lambda telemetry: telemetry.objectives.GetObjective(request, timeout=CALL_TIMEOUT_S)
    )
    one = answer.objective
    if wants_json:
        show_json(as_dict(one))
        return
    share = one.events.WhichOneof("share") or "bad"
    click.echo(one.title or one.name)
    click.echo(f"{_percent(one.target)} of {one.events.total} over {_days(one.window)}")
    click.echo(f"{share}: {getattr(one.events, share)}")
    if one.description:
        click.echo(one.description)
    click.echo()
    rows = [
        {
            **row,
            **{_days(rate.window): f"{rate.rate:.3g}" for rate in status.burn_rates},
        }
        for row, status in zip(_rows(one), one.statuses, strict=False)
    ]
    windows = list(dict.fromkeys(_days(r.window) for s in one.statuses for r in s.burn_rates))
    show_table(rows or _rows(one), ("of", "left", "alert", *windows, "used_up"))


@objectives.command()
@a_file
@as_json
@click.pass_obj
def apply(context: Context, /, *, file: Path, wants_json: bool) -> None:
    """Create or replace the objectives in a YAML file, a document each."""
    with click.open_file(str(file), encoding="utf-8") as opened:
        content = opened.read()
    wanted = parse(content, str(file))

    async def put(telemetry: Telemetry) -> list[objective_pb2.Objective]:
        done = []
        for one in wanted:
            request = rpc.UpdateObjectiveRequest(objective=one, allow_missing=True)
            answer = await telemetry.objectives.UpdateObjective(request, timeout=CALL_TIMEOUT_S)
            done.append(answer.objective)
        return done

    done = context.ask_telemetry(put)
    if wants_json:
        show_json([as_dict(one) for one in done])
        return
    for one in done:
        click.echo(f"stored  {one.name.removeprefix('objectives/')}")


@objectives.command()
@click.argument("name")
@as_json
@click.pass_obj
def delete(context: Context, /, *, name: str, wants_json: bool) -> None:
    """Delete the objective NAME and the rules made of it."""
    request = rpc.DeleteObjectiveRequest(name=_full(name))
    context.ask_telemetry(
        lambda telemetry: telemetry.objectives.DeleteObjective(request, timeout=CALL_TIMEOUT_S)
    )
    if wants_json:
        show_json({"deleted": request.name})
        return
    click.echo("It is gone.")


COLUMNS = ("objective", "of", "target", "window", "left", "alert", "used_up")


async def _listed(telemetry: Telemetry) -> list[objective_pb2.Objective]:
    found: list[objective_pb2.Objective] = []
    request = rpc.ListObjectivesRequest(page_size=PAGE_SIZE)
    while True:
        answer = await telemetry.objectives.ListObjectives(request, timeout=CALL_TIMEOUT_S)
        found += answer.objectives
        if not answer.next_page_token:
            return found
        request.page_token = answer.next_page_token


def _rows(one: objective_pb2.Objective) -> list[dict[str, Any]]:
    about = {
        "objective": one.name.removeprefix("objectives/"),
        "target": _percent(one.target),
        "window": _days(one.window),
    }
    rows = [
        {
            **about,
            "of": ",".join(f"{name}={value}" for name, value in sorted(status.labels.items())),
            "left": _percent(status.budget_remaining, digits=1),
            "alert": status.firing_severity,
            "used_up": status.exhaust_time.ToDatetime().strftime("%Y-%m-%d %H:%M")
            if status.HasField("exhaust_time")
            else "",
        }
        for status in one.statuses
    ]
    return rows or [{**about, "left": "no events"}]


def _full(name: str) -> str:
    return f"objectives/{name.removeprefix('objectives/')}"


def _percent(share: float, digits: int = 4) -> str:
    return f"{share * 100:.{digits}f}".rstrip("0").rstrip(".") + " %"


def _days(window: Any) -> str:
    days, rest = divmod(window.seconds, 86_400)
    return f"{days}d" if days and not rest else duration_text(window)
