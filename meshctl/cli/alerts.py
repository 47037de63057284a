"""The verb `alerts`: what fires, who has taken it on, and what is silenced."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click

from aerofusion.telemetry.v1 import alert_pb2
from aerofusion.telemetry.v1 import alert_service_pb2 as rpc
from meshctl import exits
from meshctl.cli.alert_rules import routing, rules
from meshctl.cli.catalog import as_dict
from meshctl.cli.context import Context, as_json, show_json, show_table
from meshctl.faults import MeshctlError
from meshctl.objects.durations import duration_of
from meshctl.telemetry import CALL_TIMEOUT_S, Telemetry


PAGE_SIZE = 1_000
SHORT = 8
"""Digits of an alert's id that are shown; as many, or fewer, are understood."""


@click.group(commands=[rules, routing])
def alerts() -> None:
    """
    Show what fires, take alerts on, silence them, and say what is watched.

    MATCHERS are such as severity=page, job!=edge, or name=~"a|b".
    """


@alerts.command("list")
@click.argument("matchers", nargs=-1)
@click.option("--all", "show_all", is_flag=True, help="Also those resolved within 15 minutes.")
@as_json
@click.pass_obj
def list_alerts(
    context: Context, /, *, matchers: tuple[str, ...], show_all: bool, wants_json: bool
) -> None:
    """List alerts, what fires first."""
    states = [number for number in alert_pb2.Alert.State.values() if number]
    wanted = [quoted(one) for one in matchers]
    found = context.ask_telemetry(
        lambda telemetry: _listed(telemetry, states if show_all else [], wanted)
    )
    if wants_json:
        show_json([as_dict(one) for one in found])
        return
    if not found:
        click.echo("Nothing fires.")
        return
    show_table([_row(one) for one in found], COLUMNS)


@alerts.command()
@click.argument("names", nargs=-1, required=True)
@click.option("--comment", default="", help="What to say with it.")
@as_json
@click.pass_obj
def ack(context: Context, /, *, names: tuple[str, ...], comment: str, wants_json: bool) -> None:
    """Take the alerts NAMES on: they are escalated no further. A name may be cut short."""
    said = f"{comment} ({getpass.getuser()}@{socket.gethostname()})".strip()

    async def take(telemetry: Telemetry) -> list[alert_pb2.Alert]:
        known = [one.name for one in await _listed(telemetry, [], [])]
        request = rpc.AcknowledgeAlertsRequest(
            names=[_full(name, known) for name in names], comment=said
        )
        answer = await telemetry.alerts.AcknowledgeAlerts(request, timeout=CALL_TIMEOUT_S)
        return list(answer.alerts)

    taken = context.ask_telemetry(take)
    if wants_json:
        show_json([as_dict(one) for one in taken])
        return
    show_table([_row(one) for one in taken], COLUMNS)


@alerts.command()
@click.argument("matchers", nargs=-1, required=True)
@click.option("--for", "length", default="1h", show_default=True, help="How long.")
@click.option("--comment", required=True, help="Why.")
@as_json
@click.pass_obj
def silence(
    context: Context,
    /,
    *,
    matchers: tuple[str, ...],
    length: str,
    comment: str,
    wants_json: bool,
) -> None:
    """Hold notifications of the alerts that match all MATCHERS back."""
    lasts = duration_of(length)
    if lasts is None:
        raise MeshctlError(f"{length!r} is no duration.", "--for 2h", exit_code=exits.USAGE)
    made = alert_pb2.Silence(matchers=[quoted(one) for one in matchers], comment=comment)
    made.end_time.GetCurrentTime()
    made.end_time.FromNanoseconds(made.end_time.ToNanoseconds() + lasts.ToNanoseconds())
    request = rpc.CreateSilenceRequest(silence=made)
    answer = context.ask_telemetry(
        lambda telemetry: telemetry.alerts.CreateSilence(request, timeout=CALL_TIMEOUT_S)
    )
    if wants_json:
        show_json(as_dict(answer.silence))
        return
    click.echo(answer.silence.name.removeprefix("silences/"))


@alerts.command()
@click.option("--all", "show_all", is_flag=True, help="Also those that ended within a day.")
@as_json
@click.pass_obj
def silences(context: Context, /, *, show_all: bool, wants_json: bool) -> None:
    """List silences."""
    request = rpc.ListSilencesRequest(show_ended=show_all, page_size=500)
    answer = context.ask_telemetry(
        lambda telemetry: telemetry.alerts.ListSilences(request, timeout=CALL_TIMEOUT_S)
    )
    if wants_json:
        show_json([as_dict(one) for one in answer.silences])
        return
    if not answer.silences:
        click.echo("Nothing is silenced.")
        return
    rows = [
        {
            "id": one.name.removeprefix("silences/"),
            "until": one.end_time.ToDatetime().strftime("%Y-%m-%d %H:%M UTC"),
            "matchers": " ".join(one.matchers),
            "comment": one.comment,
        }
        for one in answer.silences
    ]
    show_table(rows, list(rows[0]))


@alerts.command()
@click.argument("name")
@as_json
@click.pass_obj
def expire(context: Context, /, *, name: str, wants_json: bool) -> None:
    """End the silence NAME now."""
    request = rpc.ExpireSilenceRequest(name=f"silences/{name.removeprefix('silences/')}")
    answer = context.ask_telemetry(
        lambda telemetry: telemetry.alerts.ExpireSilence(request, timeout=CALL_TIMEOUT_S)
    )
    if wants_json:
        show_json(as_dict(answer.silence))
        return
    click.echo("It has ended.")


@alerts.command()
@click.argument("matchers", nargs=-1)
@as_json
@click.pass_obj
def watch(context: Context, /, *, matchers: tuple[str, ...], wants_json: bool) -> None:
    """Show alerts as they change, until Ctrl-C."""
    request = rpc.WatchAlertsRequest(matchers=[quoted(one) for one in matchers])

    async def follow(telemetry: Telemetry) -> None:
        async for message in telemetry.alerts.WatchAlerts(request):
            for one in message.alerts:
                if wants_json:
                    show_json(as_dict(one))
                else:
                    click.echo("  ".join(str(_row(one)[column]) for column in COLUMNS))

    context.ask_telemetry(follow)


@alerts.command()
@click.argument("schedule")
@as_json
@click.pass_obj
def oncall(context: Context, /, *, schedule: str, wants_json: bool) -> None:
    """Say who is on call by SCHEDULE now."""
    from aerofusion.telemetry.v1 import routing_service_pb2  # noqa: PLC0415 - only here

    request = routing_service_pb2.GetOnCallRequest(schedule=schedule)
    answer = context.ask_telemetry(
        lambda telemetry: telemetry.routing.GetOnCall(request, timeout=CALL_TIMEOUT_S)
    )
    if wants_json:
        show_json(as_dict(answer))
        return
    click.echo(answer.participant or "Nobody: the first turn hasn't begun.")


COLUMNS = ("alert", "state", "since", "name", "labels", "value", "taken_by", "told_after")


def quoted(text: str) -> str:
    """Return the matcher `a=b` with quotes around its value, as the API wants it."""
    for sign in ("=~", "!~", "!=", "="):
        name, found, value = text.partition(sign)
        if found and name and not any(char in name for char in "=!~"):
            if value.startswith('"'):
                return text
            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            return f'{name}{sign}"{escaped}"'
    raise MeshctlError(f"{text!r} is no matcher.", "severity=page", exit_code=exits.USAGE)


async def _listed(
    telemetry: Telemetry, states: Sequence[int], matchers: Sequence[str]
) -> list[alert_pb2.Alert]:
    found: list[alert_pb2.Alert] = []
    request = rpc.ListAlertsRequest(states=states, matchers=matchers, page_size=PAGE_SIZE)  # type: ignore[arg-type]  # numbers of states
    while True:
        answer = await telemetry.alerts.ListAlerts(request, timeout=CALL_TIMEOUT_S)
        found += answer.alerts
        if not answer.next_page_token:
            return found
        request.page_token = answer.next_page_token


def _full(name: str, known: list[str]) -> str:
    """Return the one of *known* that *name* begins."""
    wanted = f"alerts/{name.removeprefix('alerts/')}"
    fitting = [one for one in known if one.startswith(wanted)]
    if len(fitting) != 1:
        what = "No alert begins" if not fitting else f"{len(fitting)} alerts begin"
        raise MeshctlError(f"{what} with {name!r}.", "meshctl alerts list")
    return fitting[0]


def _row(one: alert_pb2.Alert) -> dict[str, Any]:
    since = one.fire_time if one.HasField("fire_time") else one.active_time
    labels = {name: value for name, value in one.labels.items() if name != "alertname"}
    state = alert_pb2.Alert.State.Name(one.state).removeprefix("STATE_").lower()
    marks = (["flapping"] if one.flapping else []) + (["silenced"] if one.silenced_by else [])
    told = one.receipt.HasField("deliver_time")
    took_ms = one.receipt.deliver_time.ToMilliseconds() - one.receipt.event_time.ToMilliseconds()
    return {
        "alert": one.name.removeprefix("alerts/")[:SHORT],
        "state": " ".join([state.replace("_", " "), *marks]),
        "since": datetime.fromtimestamp(since.seconds, UTC).strftime("%H:%M:%S"),
        "name": one.labels.get("alertname", ""),
        "labels": ",".join(f"{name}={value}" for name, value in sorted(labels.items())),
        "value": f"{one.value:.4g}",
        "taken_by": one.acknowledgement.actor,
        "told_after": f"{took_ms / 1000:.1f} s by {one.receipt.route}" if told else "",
    }
