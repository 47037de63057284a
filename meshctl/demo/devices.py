"""
Passengers' phones: they follow flight boards and inboxes through the edge, some going offline.

A referee compares what they show with what the server has. The phones have tokens and nothing
else; only the process that simulates them may have an identity, to tell what it measured.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import structlog

from meshctl.demo.counts import Counts
from meshctl.demo.day import AIRPORTS, Day, load_day
from meshctl.demo.edge import Edge, Refused, TokensFile, phone_channel
from meshctl.demo.lanes import utc_now
from meshctl.demo.passengers import Channel, passengers_of
from meshctl.demo.phones import Owner, Phone, PhoneMeters
from meshctl.demo.referee import Referee
from meshctl.demo.settings import DevicesSettings
from meshctl.demo.steering import more_tokens_file, read_steering
from meshctl.demo.waiting import until
from meshkit.errors import Unavailable
from meshkit.identity import IdentityFolder, SpiffeId, Workload
from meshkit.observability import observed


LOOK_INTERVAL = timedelta(milliseconds=500)
log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which phones there are to be."""

    date: str
    passengers: int
    devices: int


async def serve(
    settings: DevicesSettings,
    *,
    stop: asyncio.Event,
    started: asyncio.Future[int] | None = None,
    workload: Workload | None = None,
) -> None:
    """
    Simulate phones until *stop* is set.

    Args:
        settings: What to do.
        stop: Ends it at once.
        started: Receives 0 once the phones are switched on; they connect when they can.
        workload: Who tells telemetry what was measured; None takes the stored identity, if any.

    Raises:
        Unavailable: EDGE_CA_MISSING, if there are no roots to trust the edge by.

    """
    workload = workload or await _own_identity(settings)
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    counts = Counts(part="devices", folder=settings.state_dir)
    more = more_tokens_file(settings.steering_file) if settings.steering_file else None
    tokens = TokensFile(settings.tokens_file, *([more] if more else []))
    try:
        async with _telling(settings, workload), asyncio.TaskGroup() as tasks:
            drawer = Drawer(settings, tokens, PhoneMeters(counts), tasks)
            referee = tasks.create_task(drawer.referee(), name="referee")
            while not stop.is_set():
                await drawer.look()
                drawer.tell(counts)
                if started is not None and not started.done():
                    started.set_result(0)
                await until(stop, LOOK_INTERVAL)
            referee.cancel()
            drawer.close()
    except* OSError as error:
        raise Unavailable("EDGE_CA_MISSING", f"The edge's roots: {error.exceptions[0]}") from error


class Drawer:
    """All the phones, as many as are wanted at the moment."""

    def __init__(
        self,
        settings: DevicesSettings,
        tokens: TokensFile,
        meters: PhoneMeters,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._settings = settings
        self._tokens = tokens
        self._meters = meters
        self._tasks = tasks
        self._phones: dict[str, Phone] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._made_for = Wanted(date="", passengers=0, devices=0)
        self._heals_of_the_gone = 0

    async def look(self) -> None:
        """Switch phones on and off until they are those that are wanted."""
        wanted = self._wanted()
        if wanted == self._made_for:
            return
        other_day = (wanted.date, wanted.passengers) != (
            self._made_for.date,
            self._made_for.passengers,
        )
        if other_day:
            await self._off(list(self._phones))
        await self._off(list(self._phones)[wanted.devices :])
        day = await asyncio.to_thread(
            load_day, date.fromisoformat(wanted.date), self._settings.state_dir
        )
        for owner in owners(day, wanted, self._settings)[len(self._phones) :]:
            self._on(owner)
        self._made_for = wanted
        log.info("phones", count=len(self._phones), date=wanted.date)

    async def referee(self) -> None:
        """Compare the phones' boards with the server's, again and again."""
        settings = self._settings
        channel = phone_channel(settings.edge_address, settings.edge_ca_file)
        async with channel:
            edge = Edge(
                channel,
                token=lambda: next(iter(self._tokens.read().values()), ""),
                call_timeout=settings.call_timeout,
            )
            referee = Referee(settings.tenant, edge, self._meters)
            while True:
                for airport in AIRPORTS:
                    await asyncio.sleep(settings.check_interval.total_seconds() / len(AIRPORTS))
                    try:
                        await referee.compare(airport, tuple(self._phones.values()))
                    except Refused as error:  # Before the first day there are no boards.
                        log.info("board_unreadable", airport=airport, reason=error.reason)

    def tell(self, counts: Counts) -> None:
        """Write the counts."""
        phones = self._phones.values()
        with contextlib.suppress(OSError):
            counts.write(
                utc_now(),
                devices=len(phones),
                online=sum(phone.is_online for phone in phones),
                in_step=sum(phone.is_in_step for phone in phones),
                lag_p50_s=round(self._meters.recent_lag_s.quantile(0.5), 3),
                lag_p95_s=round(self._meters.recent_lag_s.quantile(0.95), 3),
                inbox_age_p50_s=round(self._meters.inboxes.recent_age_s.quantile(0.5), 3),
                heals=self._heals_of_the_gone + sum(phone.heals for phone in phones),
            )

    def close(self) -> None:
        """Switch all phones off."""
        for task in self._running.values():
            task.cancel()

    def _wanted(self) -> Wanted:
        asked = read_steering(self._settings.steering_file)
        passengers = asked.passengers or self._settings.passengers
        devices = self._settings.devices if asked.devices is None else asked.devices
        known = self._tokens.read()
        admitted = 0
        while admitted < devices and f"passengers/p{admitted + 1}" in known:
            admitted += 1
        return Wanted(
            date=asked.date or self._settings.date,
            passengers=passengers,
            devices=min(admitted, passengers),
        )

    def _on(self, owner: Owner) -> None:
        phone = Phone(
            owner,
            token=lambda: self._tokens.token(owner.subject),
            meters=self._meters,
            online=self._settings.online,
            offline=self._settings.offline,
        )
        self._phones[owner.passenger] = phone
        self._running[owner.passenger] = self._tasks.create_task(
            self._live(phone), name=f"phone-{owner.passenger}"
        )

    async def _live(self, phone: Phone) -> None:
        settings = self._settings
        async with phone_channel(settings.edge_address, settings.edge_ca_file) as channel:
            await phone.run(channel)

    async def _off(self, passengers: list[str]) -> None:
        for passenger in passengers:
            self._heals_of_the_gone += self._phones.pop(passenger).heals
            task = self._running.pop(passenger)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def owners(day: Day, wanted: Wanted, settings: DevicesSettings) -> list[Owner]:
    """Whose phones these are: the first passengers', with the boards of where they depart."""
    if not wanted.devices:
        return []
    origins: Mapping[str, str] = {flight.key: flight.origin for flight in day.flights}
    passengers = passengers_of(day, wanted.devices)
    in_app = [passenger.id for passenger in passengers if Channel.IN_APP in passenger.channels]
    watching = set(in_app[: settings.inboxes])
    return [
        Owner(
            passenger=passenger.id,
            tenant=settings.tenant,
            airports=tuple(sorted({origins[key] for key in passenger.flights})),
            watches_inbox=passenger.id in watching,
        )
        for passenger in passengers
    ]


async def _own_identity(settings: DevicesSettings) -> Workload | None:
    """The identity of this process, if it was given one."""
    stored = IdentityFolder(settings.identity_dir).read(SpiffeId("devices", settings.replica))
    if settings.join_file is None and stored is None:
        return None
    return await Workload.open(settings, "devices")


@contextlib.asynccontextmanager
async def _telling(settings: DevicesSettings, workload: Workload | None) -> AsyncIterator[None]:
    if workload is None:
        yield
        return
    async with observed("devices", settings.replica, workload, settings.telemetry_address):
        renewal = asyncio.create_task(workload.run(), name="renew-identity")
        try:
            yield
        finally:
            renewal.cancel()
            await asyncio.gather(renewal, return_exceptions=True)
