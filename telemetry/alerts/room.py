"""
Rules, alerts and PostgreSQL, joined: what is evaluated is what the database says.

The database may be away: at the start rules begin once it is there, later they go on as they
are, and what they have raised is written when it is back. Intake and queries never wait for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from meshkit.errors import FailedPrecondition, NotFound, Unavailable
from meshkit.postgres import migrate, open_pool, unavailable_on_lost_connection
from telemetry.alerts.board import Board
from telemetry.alerts.lease import Lease
from telemetry.alerts.services.routing_wire import routing_of_json
from telemetry.alerts.store.alerts import AlertStore, SilenceStore
from telemetry.alerts.store.incidents import IncidentStore
from telemetry.alerts.store.lease import LeaseStore
from telemetry.alerts.store.objectives import ObjectiveStore
from telemetry.alerts.store.routing import RoutingStore
from telemetry.alerts.store.rules import RuleStore
from telemetry.rules.states import RuleState


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import asyncpg

    from telemetry.alerts.model import Listed, Silence
    from telemetry.alerts.routing import Routing
    from telemetry.alerts.sending import Sender
    from telemetry.alerts.store.rules import Stored
    from telemetry.alerts.teller import Teller
    from telemetry.rules.runner import Change, Runner

log = structlog.get_logger()

TENANT = ""
"""Rules are over the platform's own metrics."""

_SAVE_EVERY_S = 0.2
_CLOCK_EVERY_S = 5.0
_FOLLOW_EVERY_S = 5.0
"""How soon a replica knows what was changed at another."""

_RETRY_S = 1.0
_READY_WITHIN_S = 2.0
"""How long a call waits for a start that is under way."""


class Room:
    """
    Runs rules and keeps what they raise. `run` until cancelled.

    Args:
        dsn: PostgreSQL; empty: there are no rules.
        make_runner: Makes the runner, given who is to be told of changes.
        make_teller: Makes what tells people, given this room.
        ingested: As `Board` has it.
        clock: Unix nanoseconds.

    """

    def __init__(
        self,
        dsn: str,
        make_runner: Callable[[Callable[[Sequence[Change]], None]], Runner],
        *,
        make_teller: Callable[[Room], tuple[Teller, Sender]],
        replica: str,
        connections: int,
        ingested: Callable[[int, int], int] | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._dsn = dsn
        self._replica = replica
        self._connections = connections
        self._clock = clock
        self.board = Board(ingested)
        self.runner = make_runner(self.board.changed)
        self.board.join(self.runner)
        self.silences: list[Silence] = []
        """Those that haven't ended, and some that have."""

        self.ready = asyncio.Event()
        """Set once the rules of the database are evaluated."""

        self.lease = Lease(replica)
        self._etags: dict[str, str] = {}
        """Of the groups that are evaluated."""

        self._changes = 0
        self._pool: asyncpg.Pool | None = None
        self._saving = asyncio.Lock()
        self.teller, self._sender = make_teller(self)

    @property
    def now_ms(self) -> int:
        """Unix milliseconds."""
        return self._clock() // 1_000_000

    @property
    def now(self) -> datetime:
        """The same as a time."""
        return datetime.fromtimestamp(self._clock() / 1e9, UTC)

    async def rules(self) -> RuleStore:
        """Return the stored groups; raises FailedPrecondition RULES_OFF, or Unavailable."""
        return RuleStore(await self._ready_pool())

    async def silence_store(self) -> SilenceStore:
        """Return the stored silences; raises as `rules` does."""
        return SilenceStore(await self._ready_pool())

    async def routing_store(self) -> RoutingStore:
        """Return the stored routing; raises as `rules` does."""
        return RoutingStore(await self._ready_pool())

    async def incident_store(self) -> IncidentStore:
        """Return the stored incidents; raises as `rules` does."""
        return IncidentStore(await self._ready_pool())

    async def objective_store(self) -> ObjectiveStore:
        """Return the stored objectives; raises as `rules` does."""
        return ObjectiveStore(await self._ready_pool())

    def escalation(self, group: str, rule: str) -> str:
        """Return the policy that a rule names; empty: none."""
        running = self.runner.groups.get((TENANT, group))
        prepared = running.rules.get(rule) if running is not None else None
        return prepared.rule.escalation if prepared is not None else ""

    def put(self, stored: Stored) -> None:
        """Evaluate a group as it is stored now."""
        self._changes += 1
        self._etags[stored.id] = stored.etag
        self.runner.put(TENANT, stored.group, group_id=stored.id)

    def remove(self, group_id: str) -> None:
        """Stop evaluating a group."""
        self._changes += 1
        self._etags.pop(group_id, None)
        self.runner.remove(TENANT, group_id)

    def route(self, routing: Routing) -> None:
        """Tell people as *routing* says from now on."""
        self._changes += 1
        self.teller.routing = routing

    def active_silences(self) -> list[Silence]:
        """Return the silences that hold something back now."""
        now_ms = self.now_ms
        return [one for one in self.silences if one.start_ms <= now_ms < one.end_ms]

    async def read_silences(self) -> None:
        """Know the silences as they are stored now."""
        day_ms = 86_400_000
        store = await self.silence_store()
        before = self.silences
        self.silences = await store.all(TENANT, since_ms=self.now_ms - day_ms)
        if self.silences != before:
            self.board.touch_all(TENANT)

    async def run(self) -> None:
        """Open the database, evaluate its rules, and keep it told."""
        if not self._dsn:
            return
        async with contextlib.AsyncExitStack() as stack:
            self._pool = await self._open(stack)
            await self._load(self._pool)
            self.ready.set()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.runner.run(), name="rules")
                tasks.create_task(self._save_forever(self._pool), name="alerts")
                tasks.create_task(self.teller.run(), name="teller")
                tasks.create_task(self._sender.run(), name="sender")
                tasks.create_task(self._follow_forever(self._pool), name="follow")
                lease = self.lease.run(LeaseStore(self._pool), self._take_over)
                tasks.create_task(lease, name="lease")

    async def save(self) -> None:
        """Tell the database what it doesn't know yet; raises Unavailable."""
        if self._pool is not None and self.ready.is_set():
            await self._save(self._pool)

    async def leave(self) -> None:
        """Tell the database what it doesn't know yet, and let another replica tell of alerts."""
        await self.save()
        if self._pool is not None and self.lease.held:
            await LeaseStore(self._pool).release(self._replica)
            self.lease.holder = ""

    async def _ready_pool(self) -> asyncpg.Pool:
        if not self._dsn:
            raise FailedPrecondition(
                "RULES_OFF", "No database is configured; set TELEMETRY_POSTGRES_DSN."
            )
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_READY_WITHIN_S):
                await self.ready.wait()
        if self._pool is None or not self.ready.is_set():
            raise Unavailable(
                "POSTGRES_UNAVAILABLE", "The database is away; repeat the call in a while."
            )
        return self._pool

    async def _open(self, stack: contextlib.AsyncExitStack) -> asyncpg.Pool:
        while True:
            try:
                return await stack.enter_async_context(
                    open_pool(
                        self._dsn,
                        application_name=f"telemetry/{self._replica}",
                        max_size=self._connections,
                        wait=timedelta(seconds=30),
                    )
                )
            except Unavailable:
                log.warning("rules_wait_for_postgres")

    async def _load(self, pool: asyncpg.Pool) -> None:
        while True:
            try:
                with unavailable_on_lost_connection():
                    await migrate(pool, "telemetry.alerts.store.migrations")
                await self.lease.start(LeaseStore(pool))
                await ObjectiveStore(pool).renew(TENANT, now=self.now)
                stored = await RuleStore(pool).all(TENANT)
                listed, evaluated_ms = await AlertStore(pool).all()
                spec, _, _ = await RoutingStore(pool).get(TENANT)
                groups = await RoutingStore(pool).groups(TENANT)
                incidents = await IncidentStore(pool).open(TENANT)
                day_ms = 86_400_000
                self.silences = await SilenceStore(pool).all(TENANT, since_ms=self.now_ms - day_ms)
            except Unavailable:
                await asyncio.sleep(_RETRY_S)
                continue
            states = _states(listed, evaluated_ms)
            for one in stored:
                known = states.get((TENANT, one.id), {})
                self.runner.put(TENANT, one.group, known, group_id=one.id)
                self._etags[one.id] = one.etag
            self.board.join(self.runner, listed)
            self.teller.join(routing_of_json(spec), groups)
            self.teller.incidents.join(incidents)
            log.info("rules_loaded", groups=len(stored), alerts=len(listed))
            return

    async def _take_over(self) -> None:
        """Know what the replica that told of alerts until now had told; raises Unavailable."""
        assert self._pool is not None, "only who is ready takes over"
        listed, evaluated_ms = await AlertStore(self._pool).all()
        spec, _, _ = await RoutingStore(self._pool).get(TENANT)
        groups = await RoutingStore(self._pool).groups(TENANT)
        incidents = await IncidentStore(self._pool).open(TENANT)
        await self.runner.adopt(_states(listed, evaluated_ms))
        self.board.join(self.runner, listed)
        self.board.touch_all(TENANT, unsaved=True)
        self.teller.join(routing_of_json(spec), groups)
        self.teller.incidents.join(incidents)

    async def _follow_forever(self, pool: asyncpg.Pool) -> None:
        """Know what was changed at other replicas."""
        while True:
            await asyncio.sleep(_FOLLOW_EVERY_S)
            with contextlib.suppress(Unavailable):
                await self._follow(pool)

    async def _follow(self, pool: asyncpg.Pool) -> None:
        changes = self._changes
        etags = await RuleStore(pool).etags(TENANT)
        if changes == self._changes:  # Else it may be older than what was changed here.
            for group_id in self._etags.keys() - etags.keys():
                self.remove(group_id)
        for group_id, etag in etags.items():
            if self._etags.get(group_id) != etag:
                with contextlib.suppress(NotFound):
                    self.put(await RuleStore(pool).get(TENANT, group_id))
        changes = self._changes
        spec, _, _ = await RoutingStore(pool).get(TENANT)
        if changes == self._changes:
            self.teller.routing = routing_of_json(spec)
        await self.read_silences()
        if not self.lease.held:
            listed, evaluated_ms = await AlertStore(pool).all()
            await self.runner.adopt(_states(listed, evaluated_ms))
            self.board.join(self.runner, listed)

    async def _save_forever(self, pool: asyncpg.Pool) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLOCK_EVERY_S):
                    await self.board.unsaved.wait()
            try:
                await self._save(pool)
            except Unavailable:
                await asyncio.sleep(_RETRY_S)
            await asyncio.sleep(_SAVE_EVERY_S)

    async def _save(self, pool: asyncpg.Pool) -> None:
        async with self._saving:  # What is taken first is written first.
            await self._save_all(pool)

    async def _save_all(self, pool: asyncpg.Pool) -> None:
        if not self.lease.held:
            self.board.take_unsaved()  # All of it is written by who tells of it.
            return
        evaluated = [one.last_ms for one in self.runner.groups.values()]
        unsaved, groups = self.board.take_unsaved(), self.teller.take_unsaved()
        incidents, events = self.teller.incidents.take_unsaved()
        try:
            await IncidentStore(pool).save(TENANT, incidents, events, now_ms=self.now_ms)
            incidents, events = [], []  # They are written, whatever comes.
            await RoutingStore(pool).save(TENANT, groups)
            await AlertStore(pool).save(
                unsaved.listed,
                unsaved.gone,
                evaluated_ms=max(evaluated, default=self.now_ms),
                now=self.now,
            )
        except BaseException:
            self.board.put_back(unsaved)
            self.teller.put_back(groups)
            self.teller.incidents.put_back(incidents, events)
            raise


def _states(
    listed: Iterable[Listed], evaluated_ms: int
) -> dict[tuple[str, str], dict[str, RuleState]]:
    """Return the rules' states that *listed* alerts are of, by group and rule."""
    found: dict[tuple[str, str], dict[str, RuleState]] = {}
    for one in listed:
        rules = found.setdefault((one.tenant, one.group), {})
        state = rules.setdefault(one.rule, RuleState(evaluated_ms=evaluated_ms))
        rules[one.rule] = RuleState(
            alerts={**state.alerts, one.alert.labels: one.alert}, evaluated_ms=evaluated_ms
        )
    return found
