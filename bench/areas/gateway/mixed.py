"""
Ten thousand changes of every kind under load: what fails, and what is cut.

`MIXED_CHANGES` makes it fewer, for a trial: then `mixed_changes` doesn't reach its bound.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import uvloop

from bench.control_plane import ControlPlane
from bench.load import Sample
from bench.mixed.kinds import KINDS, initial, make_changes
from bench.mixed.world import World


if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.report import Report

CHANGES: Final = 10_000
CHANGE_RATE: Final = 10.0
"""So many a second that all of it, on two cores, is over in 20 minutes and the calls keep their rate."""

CALL_RATE: Final = 510.0
"""Calls a second: the streams' messages come on top of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of the calls."""

    turns: Mapping[str, int]
    seconds: float
    samples: list[Sample] = field(repr=False)
    failures: Mapping[str, int]
    cut: list[str]
    site_calls: int
    listener_updates: int


def measure(report: Report) -> None:
    """Take the figures; about 17 minutes."""
    changes = int(os.environ.get("MIXED_CHANGES", CHANGES))
    outcome = run(changes=changes, change_rate=CHANGE_RATE, call_rate=CALL_RATE)
    for what, count in outcome.failures.items():
        print(f"  failed {count}: {what}")
    for what in outcome.cut:
        print(f"  cut: {what}")
    report.add("mixed_changes", sum(outcome.turns.values()), bound=">= 10000")
    report.add("mixed_changes_failed_requests", sum(outcome.failures.values()), bound="<= 0")
    report.add("streams_cut", len(outcome.cut), bound="<= 0")
    report.add("listener_modified", outcome.listener_updates, bound="<= 0")
    report.add("mixed_changes_per_s", sum(outcome.turns.values()) / outcome.seconds)
    report.add("mixed_site_requests", outcome.site_calls)
    report.add("mixed_requests_per_s", len(outcome.samples) / outcome.seconds, bound=">= 500")
    for name, count in outcome.turns.items():
        report.add(f"mixed_{name.replace(' ', '_')}", count)


def run(*, changes: int, change_rate: float, call_rate: float) -> Outcome:
    """Make *changes* at *change_rate* a second, while *call_rate* calls a second go on."""
    with ControlPlane(preflight=False) as plane:
        plane.start_edge()
        outcome = uvloop.run(_under_load(plane, changes, change_rate, call_rate))
        plane.settled()
    return outcome


async def _under_load(
    plane: ControlPlane, changes: int, change_rate: float, call_rate: float
) -> Outcome:
    world = World(plane)
    await asyncio.to_thread(world.start)
    await world.apply(*initial(world))
    try:
        async with world.load(call_rate) as samples:
            before = await world.listener_updates()
            seconds = await make_changes(world, changes, change_rate)
            updates = await world.listener_updates() - before
    finally:
        await world.close()
    return Outcome(
        turns={kind.name: world.turns[kind.name] for kind in KINDS},
        seconds=seconds,
        samples=samples,
        failures=dict(world.failures),
        cut=world.cut,
        site_calls=world.site.calls,
        listener_updates=updates,
    )
