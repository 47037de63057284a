"""
Flight Info: replays the day as the airport's own service would, through the edge.

It owns two lanes along the day: notifications to passengers, and the flight boards. Killed at any
moment it goes on where it was, and nothing is told or shown twice.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import structlog

from meshctl.demo.counts import Counts
from meshctl.demo.day import HOME_ZONE, Day, load_day
from meshctl.demo.edge import Edge, Refused, TokenFile, edge_channel
from meshctl.demo.lanes import Lane, Pace, Timekeeper, start_clock, utc_now
from meshctl.demo.passengers import Passenger, followers, passengers_of
from meshctl.demo.progress import Plan, Progress, Run
from meshctl.demo.publishers import BoardPublisher, Meters, NoticePublisher
from meshctl.demo.replay import DAY, Replay
from meshctl.demo.settings import FlightinfoSettings
from meshctl.demo.steering import read_steering
from meshctl.demo.tenant import Tenant
from meshctl.demo.timeline import events_of
from meshctl.demo.waiting import until
from meshkit.errors import FailedPrecondition, Unavailable
from meshkit.identity import Workload
from meshkit.observability import observed


LOOK_INTERVAL = timedelta(milliseconds=500)
"""How often the steering is read and the counts are written."""

LANES = ("notices", "boards")

log = structlog.get_logger()


async def serve(
    settings: FlightinfoSettings,
    *,
    stop: asyncio.Event,
    started: asyncio.Future[int] | None = None,
    workload: Workload | None = None,
) -> None:
    """
    Replay days until *stop* is set.

    Args:
        settings: What to do.
        stop: Ends it at once; what was under way is repeated by the next start.
        started: Receives 0 once the tenant is prepared and the day runs.
        workload: Who we are; for tests.

    Raises:
        Unavailable: EDGE_CA_MISSING, if there are no roots to trust the edge by.
        FailedPrecondition: TENANT_NOT_PREPARED, if the services refuse what the day needs.

    """
    workload = workload or await Workload.open(settings, "flightinfo")
    progress = Progress(settings.state_dir)
    counts = Counts(part="flightinfo", folder=settings.state_dir)
    async with (
        observed("flightinfo", settings.replica, workload, settings.telemetry_address),
        asyncio.TaskGroup() as tasks,
    ):
        renewal = tasks.create_task(workload.run(), name="renew-identity")
        try:
            channel = edge_channel(settings.edge_address, settings.edge_ca_file)
        except OSError as error:
            raise Unavailable("EDGE_CA_MISSING", f"The edge's roots: {error}") from error
        async with channel:
            meters = Meters()
            edge = Edge(
                channel,
                token=TokenFile(settings.token_file),
                call_timeout=settings.call_timeout,
                on_retry=lambda reason: counts.add(f"retries_{reason.lower()}"),
            )
            while not stop.is_set():
                day_run = DayRun(
                    settings=settings,
                    plan=plan_of(settings),
                    progress=progress,
                    edge=edge,
                    counts=counts,
                    meters=meters,
                )
                await day_run.play(stop, started)
        renewal.cancel()


def plan_of(settings: FlightinfoSettings) -> Plan:
    """What to replay: as steered, else as set."""
    asked = read_steering(settings.steering_file)
    return Plan(
        date=asked.date or settings.date,
        passengers=asked.passengers or settings.passengers,
        loops=settings.loops if asked.loops is None else asked.loops,
        nonce=asked.nonce or "",
    )


def speed_of(settings: FlightinfoSettings) -> float:
    """How fast to replay it: as steered, else as set."""
    return read_steering(settings.steering_file).speed or settings.speed


class DayRun:
    """One run of one plan, until it is stopped or the plan changes."""

    def __init__(
        self,
        *,
        settings: FlightinfoSettings,
        plan: Plan,
        progress: Progress,
        edge: Edge,
        counts: Counts,
        meters: Meters,
    ) -> None:
        self._meters = meters
        self._settings = settings
        self._plan = plan
        self._progress = progress
        self._edge = edge
        self._counts = counts
        self._state = "preparing"
        self._lanes: list[Lane] = []
        self._keeper: Timekeeper | None = None
        self._day: Day | None = None
        self._ended: datetime | None = None

    async def play(self, stop: asyncio.Event, started: asyncio.Future[int] | None) -> None:
        """Prepare the tenant and play the lanes; return when stopped or steered elsewhere."""
        async with asyncio.TaskGroup() as tasks:
            work = tasks.create_task(self._work(started), name="day")
            while not stop.is_set() and plan_of(self._settings) == self._plan:
                if self._keeper is not None:
                    self._keeper.set_speed(speed_of(self._settings))
                self._tell()
                await until(stop, LOOK_INTERVAL)
            work.cancel()
        self._tell()

    async def _work(self, started: asyncio.Future[int] | None) -> None:
        day = await asyncio.to_thread(
            load_day, date.fromisoformat(self._plan.date), self._settings.state_dir
        )
        self._day = day
        replay = Replay(day=day, events=events_of(day), loops=self._plan.loops or None)
        passengers = passengers_of(day, self._plan.passengers)
        run = self._progress.take_up(self._plan)
        try:
            run = await self._prepare(run, day, passengers)
        except Refused as error:
            raise FailedPrecondition(
                "TENANT_NOT_PREPARED", f"The tenant could not be prepared: {error}"
            ) from error
        notes = [self._progress.noted(lane, run) for lane in LANES]
        self._keeper = Timekeeper(start_clock(replay, notes, speed_of(self._settings), utc_now()))
        log.info("replaying", date=self._plan.date, run=run.id, resumed=any(notes))
        if started is not None and not started.done():
            started.set_result(0)
        self._state = "replaying"
        self._lanes = self._make_lanes(replay, run, passengers)
        async with asyncio.TaskGroup() as tasks:
            for lane in self._lanes:
                tasks.create_task(lane.run(), name=f"lane-{lane.name}")
        self._state = "finished"
        self._ended = self._keeper.simulated
        log.info("finished", date=self._plan.date, run=run.id)

    async def _prepare(self, run: Run, day: Day, passengers: tuple[Passenger, ...]) -> Run:
        tenant = Tenant(self._settings.tenant, self._edge)
        heads = await tenant.prepare_boards()
        if run.bases is not None:
            if all(heads[airport] >= seq for airport, seq in run.bases.items()):
                return run
            run = self._progress.begin(self._plan)  # The boards have begun a new life.
        await tenant.prepare_texts()
        await tenant.prepare_staff()
        await tenant.prepare_passengers(day, passengers)
        await tenant.clear_boards()
        run = replace(run, bases=await tenant.prepare_boards())
        self._progress.write(run)
        return run

    def _make_lanes(
        self, replay: Replay, run: Run, passengers: tuple[Passenger, ...]
    ) -> list[Lane]:
        assert self._keeper is not None, "made before"
        assert run.bases is not None, "it is prepared"
        settings = self._settings
        notices = NoticePublisher(
            tenant=settings.tenant,
            run=run.id,
            edge=self._edge,
            followed=followers(passengers),
            counts=self._counts,
            meters=self._meters,
            calls_max=settings.calls_max,
        )
        boards = BoardPublisher(
            tenant=settings.tenant,
            run=run.id,
            edge=self._edge,
            bases=run.bases,
            counts=self._counts,
            meters=self._meters,
        )
        publish = {"notices": notices.publish, "boards": boards.publish}
        return [
            Lane(
                name,
                replay=replay,
                run=run,
                progress=self._progress,
                keeper=self._keeper,
                pace=Pace(tick=settings.tick, batch_max=settings.batch_max),
                publish=publish[name],
            )
            for name in LANES
        ]

    def _tell(self) -> None:
        facts: dict[str, str | int | float | bool] = {
            "state": self._state,
            "date": self._plan.date,
            "passengers": self._plan.passengers,
        }
        if self._keeper is not None and self._day is not None:
            simulated = self._ended or self._keeper.simulated
            facts["loop"] = max(0, (simulated - self._day.begins) // DAY)
            facts["simulated_time"] = simulated.astimezone(ZoneInfo(HOME_ZONE)).isoformat(
                timespec="minutes"
            )
            facts["speed"] = self._keeper.clock.speed
            for lane in self._lanes:
                facts[f"{lane.name}_behind_s"] = round(lane.behind.total_seconds(), 3)
        with contextlib.suppress(OSError):
            self._counts.write(utc_now(), **facts)
