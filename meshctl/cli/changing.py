"""What verbs that change the catalog share: the plan, the question, and the way to the edges."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import click
import grpc
from rich.console import Console
from rich.live import Live

from aerofusion.gateway.v1 import change_service_pb2
from aerofusion.gateway.v1 import config_service_pb2 as rpc
from meshctl import exits, receipts
from meshctl.admin import Admin
from meshctl.cli.catalog import as_dict
from meshctl.cli.context import Context, Verb, show_json
from meshctl.faults import MeshctlError
from meshctl.objects.changes import NOT_SHOWN, UNSET, FieldChange, Told, counted
from meshctl.objects.changes import told as told_change
from meshctl.objects.names import content_of
from meshctl.objects.read import Read
from meshctl.objects.write import in_a_line
from meshctl.paint import coloured, cut, paint, width
from meshkit.errors import InvalidInput, MeshError, Unavailable
from meshkit.status import from_rpc_error


CHANGE_TIMEOUT_S = 60.0
"""Of a call that changes or plans; 10,000 objects with their checks take a while."""

WAIT_S = 60.0
PATH_COLUMNS_MAX = 32
ATTEMPTS_MAX = 3
MARKS = {"create": ("+", "green"), "update": ("~", "yellow"), "delete": ("-", "red")}

Changes = Sequence[rpc.ObjectChange]
Done = rpc.ApplyChangeResponse | rpc.RollBackResponse


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """Something to change, once its plan is agreed to."""

    plan: Callable[[Admin], Awaitable[Changes]]
    apply: Callable[[Admin, Changes], Awaitable[Done]]
    read: Read = field(default_factory=Read)
    """The files it came from."""


def carried_out(verb: Verb) -> Verb:
    """Give *verb* the options of everything that changes the catalog."""
    for option in (
        click.option("--yes", "-y", is_flag=True, help="Don't ask."),
        click.option(
            "--wait",
            "wait_s",
            default=WAIT_S,
            show_default=True,
            help="Seconds to follow it to the edges; 0 is not at all.",
        ),
        click.option("--full", is_flag=True, help="Show values whole, however long."),
    ):
        verb = option(verb)
    return verb


def carry_out(
    context: Context, proposal: Proposal, *, yes: bool, wait_s: float, full: bool, wants_json: bool
) -> int:
    """Show the plan, ask, change, and follow the change until every proxy has it."""
    may_ask = sys.stdin.isatty() and sys.stdout.isatty() and not wants_json
    if not yes and not may_ask:
        raise MeshctlError(
            "Nobody can be asked here whether to go on.",
            "--yes, or meshctl plan to see what would be done",
            exit_code=exits.USAGE,
        )
    try:
        planned = context.ask(proposal.plan)
        if not wants_json:
            show_plan(planned, full=full)
        if not planned:
            if wants_json:
                show_json({"change": "", "changes": []})
            return exits.OK
        if not yes and not click.confirm("\nApply this?"):
            click.echo("Nothing was changed.")
            return exits.FAILED
        done = context.ask(lambda admin: proposal.apply(admin, planned))
    except MeshctlError as error:
        raise with_places(error, proposal.read) from None
    if wait_s <= 0 or not done.change:
        if wants_json:
            show_json(as_dict(done))
        else:
            click.echo(f"{done.change} is made. To follow it: meshctl watch {done.change}")
        return exits.OK
    if not wants_json:
        click.echo()
    change = context.ask(lambda admin: follow(admin, done.change, wait_s, quiet=wants_json))
    if wants_json:
        show_json({**as_dict(done), "state": as_dict(change)})
    return outcome(change, proposal.read, quiet=wants_json)


def change_set_of(read: Read, **more: Any) -> rpc.ChangeSet:
    return rpc.ChangeSet(objects=read.objects, **more)


def applying(change_set: rpc.ChangeSet, *, canary: rpc.Canary | None = None) -> Callable[..., Any]:
    """How to apply *change_set*: only if what the plan has seen is so still."""
    request = rpc.ApplyChangeRequest(request_id=uuid.uuid4().hex, canary=canary)
    request.change_set.CopyFrom(change_set)

    async def apply(admin: Admin, planned: Changes) -> Done:
        seen = {one.name: content_of(one.before).etag for one in planned if one.HasField("before")}
        for one in request.change_set.objects:
            content = content_of(one)
            content.etag = content.etag or seen.get(content.name, "")
        made: Done = await repeated(
            lambda: admin.config.ApplyChange(request, timeout=CHANGE_TIMEOUT_S)
        )
        return made

    return apply


async def repeated(call: Callable[[], Awaitable[Any]]) -> Any:
    """Call again while the gateway is away: the request's id makes it count once."""
    for attempt in range(1, ATTEMPTS_MAX + 1):
        try:
            return await call()
        except grpc.RpcError as error:
            known = from_rpc_error(error)
            if not isinstance(known, Unavailable) or attempt == ATTEMPTS_MAX:
                raise
            await asyncio.sleep(known.retry_after.total_seconds())
    raise AssertionError("the last attempt answers or raises")


def with_places(error: MeshctlError, read: Read) -> MeshctlError:
    """*error* with the lines of the files that it is about, if they can be told."""
    known = error.refusal
    lines = placed(known, read) if known is not None else []
    if known is None or not lines:
        return error
    shown = "\n".join([f"{known} ({known.reason})", *lines])
    return MeshctlError(shown, error.remedy, exit_code=error.exit_code, refusal=known)


def placed(known: MeshError, read: Read) -> list[str]:
    """Lines of the files that *known* is about, with what is wrong there."""
    name = known.metadata.get("object", "")
    if not name and len(read.places) == 1:
        (name,) = read.places
    violations = known.field_violations if isinstance(known, InvalidInput) else {}
    found = []
    for path, what in violations.items():
        # The gateway's paths begin with the kind: `service.endpoints[0].port`.
        inner = path.partition(".")[2]
        place = read.where(name, inner) if name else None
        found.append(f"  {place}: {name} {inner}: {what}" if place else f"  {path}: {what}")
    field_path = known.metadata.get("field", "")
    place = read.where(name, field_path.replace("[]", "")) if name and not found else None
    if place is not None:
        found.append(f"  {place}: {name} {field_path}".rstrip())
    return found


def show_plan(changes: Changes, *, full: bool = False) -> None:
    """Print what becomes of which object."""
    seen = [told_change(one) for one in changes]
    for one in seen:
        show_change(one, full=full)
    if seen:
        click.echo(f"\nPlan: {counted(seen)}.")
    else:
        click.echo("Nothing to change: the catalog is so already.")


def show_change(change: Told, *, full: bool) -> None:
    mark, colour = MARKS[change.action]
    click.echo(paint(f"{mark} {change.name}", colour, bold=True), color=coloured())
    wide = min(max((len(one.path) for one in change.fields), default=0), PATH_COLUMNS_MAX)
    for one in change.fields:
        room = 100_000 if full else max(width() - wide - 7, 20)
        line = f"    {one.path:<{wide}}  {_values(one, change.action, room)}"
        click.echo(line, color=coloured())


def _values(change: FieldChange, action: str, room: int) -> str:
    if change.before is NOT_SHOWN:
        return paint("changed, not shown", "yellow")
    before, after = (
        "" if one is UNSET else in_a_line(one) for one in (change.before, change.after)
    )
    if action == "create":
        return paint(cut(after, room), "green")
    if change.before is UNSET:
        return paint("+ " + cut(after, room - 2), "green")
    if change.after is UNSET:
        return paint("- " + cut(before, room - 2), "red")
    if len(before) + len(after) + 3 > room:
        # Both, each with as much as there is room for.
        before, after = (cut(one, max(room // 2 - 2, 10)) for one in (before, after))
    return f"{paint(before, 'red')} → {paint(after, 'green')}"


async def follow(admin: Admin, name: str, wait_s: float, *, quiet: bool) -> Any:
    """Show the way of a change until every proxy has said what it makes of it; return the last."""
    request = change_service_pb2.WatchChangeRequest(name=name)
    last = change_service_pb2.Change(name=name)
    drawn = not quiet and sys.stdout.isatty()
    console = Console(highlight=False, no_color=not coloured())
    with (
        Live(console=console, auto_refresh=False, transient=False) if drawn else _Nothing() as live
    ):
        try:
            async with asyncio.timeout(wait_s):
                async for step in admin.changes.WatchChange(request):
                    if isinstance(live, Live):
                        live.update(receipts.table(step.change), refresh=True)
                    elif not quiet:
                        for line in receipts.news(last, step.change):
                            click.echo(line)
                    last = step.change
        except TimeoutError:
            pass
    return last


class _Nothing:
    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


def outcome(change: Any, read: Read, *, quiet: bool = False) -> int:
    """
    Say how a change ended; return the exit code.

    Raises:
        MeshctlError: It isn't active everywhere.

    """
    states = change_service_pb2.Change
    if change.state == states.STATE_ACTIVE:
        if not quiet:
            click.echo(paint(receipts.summary(change), "green"), color=coloured())
        return exits.OK
    lines = [receipts.summary(change)]
    for node, refusal in receipts.refusals(change):
        place = (
            read.where(refusal.object, refusal.field.replace("[]", "")) if refusal.object else None
        )
        about = " ".join(
            word for word in (f"{place}:" if place else "", refusal.object, refusal.field) if word
        )
        lines.append(f"  {node} refuses {refusal.type} {refusal.resource}: {about}")
        lines.append(f"    {refusal.error}")
    if change.state == states.STATE_REJECTED:
        remedy = f"fix that and apply again, or meshctl rollback {change.first_revision - 1}"
    elif change.state == states.STATE_ROLLED_BACK:
        remedy = "meshctl edges, meshctl history"
    else:
        remedy = f"meshctl watch {change.name}"
    raise MeshctlError("\n".join(lines), remedy)
