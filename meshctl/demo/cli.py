"""`meshctl demo`: steers the airport day of a running mesh and shows how it goes."""

from __future__ import annotations

import json
import secrets
import sys
import time
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import click
from rich.console import Console
from rich.live import Live

from meshctl.admin import Admin
from meshctl.cli.context import Context
from meshctl.demo.counts import read_json
from meshctl.demo.day import DEFAULT_DATE
from meshctl.demo.passengers import DEFAULT_PASSENGERS, PASSENGERS_MAX
from meshctl.demo.replay import DEFAULT_SPEED
from meshctl.demo.screen import Snapshot, headline, render
from meshctl.demo.settings import DEFAULT_DEVICES, DEFAULT_TENANT, DEVICES_MAX, SPEED_MAX, SPEED_MIN
from meshctl.demo.steering import Steering, more_tokens_file, read_steering
from meshctl.private import write_private


REFRESH_S = 0.5
LINE_S = 1.0
TOKEN_TTL = timedelta(hours=24)


@click.command("demo")
@click.option(
    "--date",
    type=click.DateTime(["%Y-%m-%d"]),
    help=f"Day of 2013 to replay; at first {DEFAULT_DATE}, the storm of the year.",
)
@click.option(
    "--speed",
    type=click.FloatRange(SPEED_MIN, SPEED_MAX),
    help=f"Simulated seconds a second; at first {DEFAULT_SPEED:g}, a day in ten minutes.",
)
@click.option(
    "--loop/--once", "loop", default=None, help="Day after day (at first), or one day and no more."
)
@click.option(
    "--passengers",
    type=click.IntRange(1, PASSENGERS_MAX),
    help=f"How many synthetic passengers; at first {DEFAULT_PASSENGERS}.",
)
@click.option(
    "--devices",
    type=click.IntRange(0, DEVICES_MAX),
    help=f"How many simulated devices; at first {DEFAULT_DEVICES}.",
)
@click.option("--restart", is_flag=True, help="Begin the day again.")
@click.option(
    "--json", "wants_json", is_flag=True, help="A JSON object a second instead of a screen."
)
@click.option("--for", "seconds", type=click.FloatRange(0), help="End after so many seconds.")
@click.pass_obj
def demo(
    context: Context,
    *,
    date: datetime | None,
    speed: float | None,
    loop: bool | None,
    passengers: int | None,
    devices: int | None,
    restart: bool,
    wants_json: bool,
    seconds: float | None,
) -> None:
    """
    Steer the airport day of a running mesh, and watch it.

    What isn't given stays as it is. Another --date or number of --passengers begins the day
    again; --speed and --devices take effect at once. With --once it ends with the day.
    """
    context.holder()
    state = context.state.folder
    wheel = state / "demo" / "steering.json"
    asked = Steering(
        date=f"{date:%Y-%m-%d}" if date else None,
        speed=speed,
        loops=None if loop is None else int(not loop),
        passengers=passengers,
        devices=devices,
        nonce=secrets.token_hex(4) if restart or loop is False else None,
    )
    if asked.devices is not None:
        admit_devices(context, more_tokens_file(wheel), asked.devices)
    if asked != Steering():
        merged(read_steering(wheel), asked).write(wheel)
    watch(state, as_json=wants_json, seconds=seconds, until_finished=loop is False)


def merged(before: Steering, asked: Steering) -> Steering:
    """*before*, with what *asked* names changed."""
    named = {
        name: value
        for name in ("date", "speed", "loops", "passengers", "devices", "nonce")
        if (value := getattr(asked, name)) is not None
    }
    return replace(before, **named)


def admit_devices(context: Context, path: Path, number: int) -> None:
    """
    Get the devices beyond the usual ones tokens of their own.

    Raises:
        MeshctlError: The gateway refused, or is away.

    """

    async def tokens(admin: Admin) -> dict[str, str]:
        made = {}
        for device in range(DEFAULT_DEVICES + 1, number + 1):
            subject = f"passengers/p{device}"
            answer = await admin.token(
                subject=subject,
                tenant=DEFAULT_TENANT,
                roles=["passenger"],
                ttl=TOKEN_TTL,
            )
            made[subject] = answer.token
        return made

    found = read_json(path)
    known = found if isinstance(found, dict) else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_private(path, json.dumps({**known, **context.ask(tokens)}).encode())


def watch(state: Path, *, as_json: bool, seconds: float | None, until_finished: bool) -> None:
    """Show the counts until Ctrl-C, for so many seconds, or until the day is over."""
    ends = time.monotonic() + seconds if seconds is not None else float("inf")
    begun = False

    def over(snapshot: Snapshot) -> bool:
        nonlocal begun
        told_state = snapshot.fact("flightinfo", "state")
        begun = begun or (told_state != "finished" and snapshot.is_fresh("flightinfo"))
        finished = until_finished and begun and told_state == "finished"
        return finished or time.monotonic() >= ends

    try:
        if as_json or not sys.stdout.isatty():
            while True:
                snapshot = Snapshot.read(state)
                click.echo(json.dumps(snapshot.as_record()) if as_json else headline(snapshot))
                if over(snapshot):
                    return
                time.sleep(LINE_S)
        with Live(console=Console(), auto_refresh=False, transient=False) as live:
            while True:
                snapshot = Snapshot.read(state)
                live.update(render(snapshot), refresh=True)
                if over(snapshot):
                    return
                time.sleep(REFRESH_S)
    except KeyboardInterrupt:
        return
