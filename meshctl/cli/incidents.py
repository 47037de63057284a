"""The verb `incidents`: what was wrong, who did what about it, and how long it took."""

from __future__ import annotations

import getpass
import socket
from typing import Any

import click
from google.protobuf.duration_pb2 import Duration

from aerofusion.telemetry.v1 import incident_pb2
from aerofusion.telemetry.v1 import incident_service_pb2 as rpc
from meshctl.cli.catalog import as_dict
from meshctl.cli.context import Context, as_json, show_json, show_table
from meshctl.cli.moments import length
from meshctl.faults import MeshctlError
from meshctl.telemetry import CALL_TIMEOUT_S, Telemetry


PAGE_SIZE = 500
LISTED_MAX = 1_000
SHORT = 12
"""Digits of an incident's id that are shown: as many tell two of the same minute apart."""

State = incident_pb2.Incident.State
Kind = incident_pb2.IncidentEvent.Kind


@click.group()
def incidents() -> None:
    """
    Show what is, or was, wrong, take it on, and write down what was done.

    An incident lasts from the first alert that is told together with others to the end of the
    last. Its NAME may be cut short, or be its last digits.
    """


@incidents.command("list")
@click.option("--all", "show_all", is_flag=True, help="Also those that are over.")
@as_json
@click.pass_obj
def list_incidents(context: Context, /, *, show_all: bool, wants_json: bool) -> None:
    """List incidents, the newest first."""
    found = context.ask_telemetry(lambda telemetry: _listed(telemetry, show_all=show_all))
    if wants_json:
        show_json([as_dict(one) for one in found])
        return
    if not found:
        click.echo("Nothing is wrong." if not show_all else "Nothing was wrong.")
        return
    show_table([_row(one) for one in found], COLUMNS)
    if show_all:
        click.echo(_means(found))


@incidents.command()
@click.argument("name")
@as_json
@click.pass_obj
def show(context: Context, /, *, name: str, wants_json: bool) -> None:
    """Show the incident NAME and what happened in the course of it."""

    async def get(telemetry: Telemetry) -> incident_pb2.Incident:
        request = rpc.GetIncidentRequest(name=await _full(telemetry, name))
        answer = await telemetry.incidents.GetIncident(request, timeout=CALL_TIMEOUT_S)
        return answer.incident

    _show(context.ask_telemetry(get), wants_json=wants_json)


@incidents.command()
@click.argument("name")
@click.option("--comment", default="", help="What to say with it.")
@as_json
@click.pass_obj
def ack(context: Context, /, *, name: str, comment: str, wants_json: bool) -> None:
    """Take all alerts of the incident NAME on: it is escalated no further."""
    said = f"{comment} ({getpass.getuser()}@{socket.gethostname()})".strip()

    async def take(telemetry: Telemetry) -> incident_pb2.Incident:
        request = rpc.AcknowledgeIncidentRequest(name=await _full(telemetry, name), comment=said)
        answer = await telemetry.incidents.AcknowledgeIncident(request, timeout=CALL_TIMEOUT_S)
        return answer.incident

    _show(context.ask_telemetry(take), wants_json=wants_json)


@incidents.command()
@click.argument("name")
@click.argument("text")
@as_json
@click.pass_obj
def note(context: Context, /, *, name: str, text: str, wants_json: bool) -> None:
    """Write TEXT down in the timeline of the incident NAME."""
    said = f"{text} ({getpass.getuser()}@{socket.gethostname()})"

    async def add(telemetry: Telemetry) -> incident_pb2.Incident:
        request = rpc.AddIncidentNoteRequest(name=await _full(telemetry, name), text=said)
        answer = await telemetry.incidents.AddIncidentNote(request, timeout=CALL_TIMEOUT_S)
        return answer.incident

    _show(context.ask_telemetry(add), wants_json=wants_json)


COLUMNS = ("incident", "state", "opened", "what", "of", "taken_by", "taken_after", "over_after")


async def _listed(telemetry: Telemetry, *, show_all: bool) -> list[incident_pb2.Incident]:
    found: list[incident_pb2.Incident] = []
    request = rpc.ListIncidentsRequest(show_resolved=show_all, page_size=PAGE_SIZE)
    while True:
        answer = await telemetry.incidents.ListIncidents(request, timeout=CALL_TIMEOUT_S)
        found += answer.incidents
        if not answer.next_page_token or len(found) >= LISTED_MAX:
            return found
        request.page_token = answer.next_page_token


async def _full(telemetry: Telemetry, name: str) -> str:
    """Return the name of the incident whose id begins, or ends, with *name*."""
    wanted = name.removeprefix("incidents/")
    if len(wanted) == len("00000000-0000-7000-8000-000000000000"):
        return f"incidents/{wanted}"
    names = [one.name for one in await _listed(telemetry, show_all=True)]
    fitting = [
        one for one in names if one.startswith(f"incidents/{wanted}") or one.endswith(wanted)
    ]
    if len(fitting) != 1:
        what = "No incident is" if not fitting else f"{len(fitting)} incidents are"
        raise MeshctlError(f"{what} called {name!r}.", "meshctl incidents list --all")
    return fitting[0]


def _show(one: incident_pb2.Incident, *, wants_json: bool) -> None:
    if wants_json:
        show_json(as_dict(one))
        return
    show_table([_row(one)], COLUMNS)
    click.echo()
    show_table([_event(event) for event in one.timeline], ("at", "what", "by", "text"))


def _row(one: incident_pb2.Incident) -> dict[str, Any]:
    taken, repaired = one.HasField("time_to_acknowledge"), one.HasField("time_to_repair")
    return {
        "incident": one.name[-SHORT:],
        "state": State.Name(one.state).removeprefix("STATE_").lower(),
        "opened": one.open_time.ToDatetime().strftime("%Y-%m-%d %H:%M:%S"),
        "what": one.title,
        "of": ",".join(f"{name}={value}" for name, value in sorted(one.group_labels.items())),
        "taken_by": one.acknowledger,
        "taken_after": length(one.time_to_acknowledge) if taken else "",
        "over_after": length(one.time_to_repair) if repaired else "",
    }


def _event(one: incident_pb2.IncidentEvent) -> dict[str, Any]:
    kind = Kind.Name(one.kind).removeprefix("KIND_").lower().replace("_", " ")
    if one.kind == incident_pb2.IncidentEvent.KIND_NOTIFIED and not one.route:
        kind = "told nobody"
    targets = ", ".join(one.targets)
    return {
        "at": one.time.ToDatetime().strftime("%H:%M:%S.%f")[:-3],
        "what": kind,
        "by": one.actor or one.route,
        "text": " ".join(part for part in (one.text, f"-> {targets}" if targets else "") if part),
    }


def _means(found: list[incident_pb2.Incident]) -> str:
    """Return how long it took on average until they were taken on, and over."""
    said = []
    for what, field in (("taken on", "time_to_acknowledge"), ("over", "time_to_repair")):
        lengths = [took for one in found if (took := getattr(one, field).ToNanoseconds())]
        if lengths:
            mean = Duration()
            mean.FromNanoseconds(sum(lengths) // len(lengths))
            said.append(f"{len(lengths)} were {what}, after {length(mean)} on average")
    return "; ".join(said) or "None was taken on."
