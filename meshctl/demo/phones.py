"""
A passenger's phone: follows the flight boards of the airports it flies from, on- and offline.

    ONLINE ── in the tunnel ──▶ OFFLINE ── out again ──▶ CATCHING UP ── in step ──▶ ONLINE
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import grpc.aio
from opentelemetry import metrics

from aerofusion_client import Backoff, SyncClient, SyncedSpace
from meshctl.demo.board import space_of
from meshctl.demo.counts import Counts, Recent
from meshctl.demo.inbox import Inbox
from meshctl.demo.inboxes import InboxMeters, InboxStream
from meshctl.demo.lanes import utc_now
from meshctl.demo.presence import is_steady, spells


BACKOFF = Backoff(most_s=3.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Whose phone it is and what it is for."""

    passenger: str
    """Such as `p17`."""

    tenant: str
    airports: tuple[str, ...]
    watches_inbox: bool

    @property
    def subject(self) -> str:
        """Whom its token speaks for."""
        return f"passengers/{self.passenger}"

    @property
    def recipient(self) -> str:
        return f"tenants/{self.tenant}/recipients/{self.passenger}"


class PhoneMeters:
    """What all phones of a process measure. Make it once in a process."""

    def __init__(self, counts: Counts) -> None:
        self.counts = counts
        self.inboxes = InboxMeters(counts)
        self.recent_lag_s = Recent()
        meter = metrics.get_meter("demo")
        self.changes = meter.create_counter(
            "demo.devices.changes",
            unit="{record}",
            description="Records of flight boards that changed on a device",
        )
        self.lag = meter.create_histogram(
            "demo.devices.lag",
            unit="s",
            description="From an event of the day to its change on a device that is online",
        )
        self.catch_up = meter.create_histogram(
            "demo.devices.catch_up",
            unit="s",
            description="From coming back online to being in step",
        )
        self.converged = meter.create_counter(
            "demo.devices.converged",
            unit="{board}",
            description="Boards on devices found equal to the server's",
        )
        self.diverged = meter.create_counter(
            "demo.devices.diverged",
            unit="{board}",
            description="Boards on devices found different from the server's",
        )


class Phone:
    """One device. `run` never returns; cancel it to switch the phone off."""

    def __init__(
        self,
        owner: Owner,
        *,
        token: Callable[[], str],
        meters: PhoneMeters,
        online: timedelta,
        offline: timedelta,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.owner = owner
        self.boards: dict[str, SyncedSpace] = {}
        """By airport, while it runs."""

        self.is_online = False
        self._token = token
        self._meters = meters
        self._online = online
        self._offline = offline
        self._now = now
        self._inbox = Inbox()

    @property
    def is_in_step(self) -> bool:
        """Whether it is online and has everything that the server has."""
        return self.is_online and all(board.is_synced for board in self.boards.values())

    @property
    def heals(self) -> int:
        """How often a board was found to differ and was fetched anew."""
        return sum(board.heals for board in self.boards.values())

    async def run(self, channel: grpc.aio.Channel) -> None:
        """Live on *channel*."""

        async def token() -> str:
            return self._token()

        client = SyncClient(
            channel=channel,
            # A phone has a disk of its own. These would all wait for this machine's, each time.
            store=":memory:",
            token=token,
            device_id=f"phone-{self.owner.passenger}",
            backoff=BACKOFF,
        )
        async with client, asyncio.TaskGroup() as tasks:
            for airport in self.owner.airports:
                name = f"tenants/{self.owner.tenant}/spaces/{space_of(airport)}"
                self.boards[airport] = client.follow(name)
                tasks.create_task(self._watch(self.boards[airport]), name=f"board-{airport}")
            self.is_online = True
            await self._come_and_go(client, channel)

    async def _come_and_go(self, client: SyncClient, channel: grpc.aio.Channel) -> None:
        if is_steady(self.owner.passenger):
            async with self._inbox_followed(channel):
                await asyncio.get_running_loop().create_future()
        for online, offline in spells(
            self.owner.passenger, online=self._online, offline=self._offline
        ):
            async with self._inbox_followed(channel):
                await asyncio.sleep(online.total_seconds())
            self.is_online = False
            await client.go_offline()
            self._meters.counts.add("went_offline")
            await asyncio.sleep(offline.total_seconds())
            back = self._now()
            client.go_online()
            self.is_online = True
            await self._catch_up(back)

    async def _catch_up(self, since: datetime) -> None:
        for board in self.boards.values():
            await board.synced()
        self._meters.counts.add("caught_up")
        self._meters.catch_up.record((self._now() - since).total_seconds())

    @contextlib.asynccontextmanager
    async def _inbox_followed(self, channel: grpc.aio.Channel) -> AsyncIterator[None]:
        if not self.owner.watches_inbox:
            yield
            return
        stream = InboxStream(
            recipient=self.owner.recipient,
            inbox=self._inbox,
            token=self._token,
            meters=self._meters.inboxes,
        )
        follower = asyncio.create_task(stream.run(channel), name=f"inbox-{self.owner.passenger}")
        try:
            yield
        finally:
            follower.cancel()
            await asyncio.gather(follower, return_exceptions=True)

    async def _watch(self, board: SyncedSpace) -> None:
        """Count what changes, and how old it is while the phone is in step."""
        was_in_step = False
        async for touched in board.changes():
            self._meters.counts.add("changes", len(touched))
            self._meters.changes.add(len(touched))
            # The first changes after a time offline are old because the phone was away.
            if was_in_step and (newest := self._newest(board, touched)) is not None:
                lag_s = max(0.0, (self._now() - newest).total_seconds())
                self._meters.lag.record(lag_s)
                self._meters.recent_lag_s.add(lag_s)
            was_in_step = self.is_in_step

    def _newest(self, board: SyncedSpace, touched: Iterable[str]) -> datetime | None:
        times = [
            fields["update_time"] for record in touched if (fields := board.get(record)) is not None
        ]
        return max((time for time in times if isinstance(time, datetime)), default=None)
