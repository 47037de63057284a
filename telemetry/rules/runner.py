"""The loop that evaluates all groups on their grid, and writes down what they give."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
from opentelemetry import metrics

from meshkit.errors import MeshError
from telemetry.rules import evaluating, grid
from telemetry.rules.evaluating import NO_DATA, NOTHING, Prepared, Result
from telemetry.rules.recording import alert_series, encode, samples
from telemetry.rules.shapes import Shape
from telemetry.rules.states import Event, Failed, RuleState, adopted, dropped, restored, step


if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from telemetry.promql.labels import Labels
    from telemetry.promql.limits import QueryLimits
    from telemetry.promql.source import Source
    from telemetry.rules.model import Group
    from telemetry.rules.recording import Sample

log = structlog.get_logger()

Screen = Callable[[str, Sequence[Shape | None], int], Mapping[int, bool]]
Key = tuple[str, str]
"""Tenant and id of a group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Something that happened to an alert of a rule."""

    tenant: str
    group: str
    rule: str
    """The rule's key."""

    event: Event
    at_ms: int
    """The tick."""

    evaluated_ms: int
    """When that tick had been evaluated."""


@dataclass(slots=True, eq=False, kw_only=True)
class Running:
    """A group that is evaluated. Its states are replaced, never changed: any thread may read."""

    tenant: str
    id: str
    group: Group
    rules: Mapping[str, Prepared]
    stages: Sequence[Sequence[str]]
    """Keys of rules that need nothing of one another; those of a stage need the ones before."""

    interval_ms: int
    offset: int
    last_ms: int
    states: dict[str, RuleState] = field(default_factory=dict)
    written: dict[str, frozenset[Labels]] = field(default_factory=dict)
    """Series that each rule wrote last."""

    orphans: set[Labels] = field(default_factory=set)
    """Series of rules that are gone, to be ended."""

    missed: int = 0
    """Ticks given up since the start."""

    took_s: float = 0.0
    """How long the last tick took."""


class Runner:
    """
    Evaluates groups until cancelled. All but `run`'s own work happens on the event loop.

    Args:
        source: Returns a tenant's samples, to be read on worker threads.
        write: Takes an OTLP request of a tenant in.
        changed: Is told what happened to alerts, tick by tick.
        screen: Returns which of some shapes find nothing at a time, by their numbers, and whether
            they have data; on the thread that evaluates.
        step_ms: How often a group is evaluated that doesn't say, and what all offsets are
            multiples of.
        clock: Unix nanoseconds.

    """

    def __init__(
        self,
        *,
        source: Callable[[str], Source],
        write: Callable[[bytes, str], Awaitable[object]],
        changed: Callable[[Sequence[Change]], None],
        limits: QueryLimits,
        step_ms: int,
        screen: Screen | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._source = source
        self._write = write
        self._changed = changed
        self._limits = limits
        self._screen = screen
        self._step_ms = step_ms
        self._clock = clock
        self._groups: dict[Key, Running] = {}
        self._orphans: dict[str, set[Labels]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="rules")
        self._wake = asyncio.Event()
        self._publish(metrics.get_meter("telemetry"))

    @property
    def groups(self) -> Mapping[Key, Running]:
        """All groups that are evaluated."""
        return self._groups

    def put(
        self,
        tenant: str,
        group: Group,
        states: Mapping[str, RuleState] | None = None,
        *,
        group_id: str = "",
    ) -> None:
        """
        Evaluate *group* from now on, instead of the one of its id.

        Args:
            group_id: What the group is known by; its name by default.
            states: What an earlier run left, by the rules' keys; None: those of the group before.

        Raises:
            InvalidInput: QUERY_INVALID.

        """
        prepared: dict[str, Prepared] = {}
        for rule in group.rules:
            one = evaluating.prepare(group, rule, self._limits)
            key, number = one.key, 2
            while key in prepared:
                key, number = f"{one.key}#{number}", number + 1
            prepared[key] = one
        now_ms = self._clock() // 1_000_000
        group_id = group_id or group.name
        before = self._groups.get((tenant, group_id))
        if states is None:
            states = before.states if before is not None else {}
        else:
            states = {key: restored(state, now_ms) for key, state in states.items()}
        interval_ms = group.interval_ms or self._step_ms
        running = Running(
            tenant=tenant,
            id=group_id,
            group=group,
            rules=prepared,
            stages=evaluating.stages(prepared),
            interval_ms=interval_ms,
            offset=grid.offset_ms(group_id, interval_ms, self._step_ms),
            last_ms=now_ms,
            states={key: states.get(key, RuleState()) for key in prepared},
        )
        if before is not None:
            self._drop(before, set(before.rules).difference(prepared), now_ms)
            running.written = {k: v for k, v in before.written.items() if k in prepared}
            running.orphans = before.orphans.union(
                *(series for key, series in before.written.items() if key not in prepared)
            )
        self._groups[tenant, group_id] = running
        self._wake.set()

    async def adopt(self, found: Mapping[Key, Mapping[str, RuleState]]) -> None:
        """Take over since when alerts fire, of what another replica *found*: rules by their keys."""

        def adopt() -> None:  # On the thread that evaluates: nothing else changes states.
            for group, states in found.items():
                ours = self._groups[group].states if group in self._groups else {}
                for key in states.keys() & ours.keys():
                    ours[key] = adopted(ours[key], states[key])

        await asyncio.get_running_loop().run_in_executor(self._thread, adopt)

    def remove(self, tenant: str, group_id: str) -> None:
        """Stop evaluating a group; the series it wrote end."""
        running = self._groups.pop((tenant, group_id), None)
        if running is not None:
            self._drop(running, set(running.rules), self._clock() // 1_000_000)
            orphans = self._orphans.setdefault(tenant, set())
            orphans.update(running.orphans, *running.written.values())
            self._wake.set()

    def _drop(self, running: Running, keys: set[str], now_ms: int) -> None:
        """Resolve the alerts of rules that are no more."""
        changes = [
            Change(
                tenant=running.tenant,
                group=running.id,
                rule=key,
                event=event,
                at_ms=now_ms,
                evaluated_ms=now_ms,
            )
            for key in keys
            for event in dropped(running.states[key], now_ms)
        ]
        if changes:
            self._changed(changes)

    async def run(self) -> None:
        """Evaluate what is due until cancelled."""
        try:
            while True:
                await self._end_orphans()
                now_ms = self._clock() // 1_000_000
                due = self._due(now_ms)
                for at_ms in sorted(due):
                    await self._tick(at_ms, due[at_ms])
                await self._until_next()
        finally:
            self._thread.shutdown(wait=False, cancel_futures=True)

    def _due(self, now_ms: int) -> dict[int, list[Running]]:
        due: dict[int, list[Running]] = {}
        for running in self._groups.values():
            if running.last_ms > now_ms + 2 * running.interval_ms:
                running.last_ms = now_ms  # The clock was set back.
            found = grid.due(
                interval_ms=running.interval_ms,
                offset=running.offset,
                last_ms=running.last_ms,
                now_ms=now_ms,
            )
            if found.missed:
                running.missed += found.missed
                self._missed.add(found.missed)
                log.warning("ticks_missed", group=running.id, ticks=found.missed)
            for at_ms in found.ticks:
                due.setdefault(at_ms, []).append(running)
        return due

    async def _until_next(self) -> None:
        now_ms = self._clock() // 1_000_000
        waits = [
            grid.next_ms(interval_ms=one.interval_ms, offset=one.offset, now_ms=one.last_ms)
            for one in self._groups.values()
        ]
        wait_s = max(0.0, (min(waits) - now_ms) / 1000) if waits else None
        try:
            async with asyncio.timeout(wait_s):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()

    async def _tick(self, at_ms: int, due: Sequence[Running]) -> None:
        here = [one for one in due if self._groups.get((one.tenant, one.id)) is one]
        self._lateness.record(max(0.0, self._clock() / 1e9 - at_ms / 1000))
        for number in range(max((len(one.stages) for one in here), default=0)):
            work = [(one, one.stages[number]) for one in here if number < len(one.stages)]
            loop = asyncio.get_running_loop()
            done = await loop.run_in_executor(self._thread, self.evaluate_all, work, at_ms)
            for tenant, request in done.requests:
                await self._store(tenant, request)
            if done.failures:
                self._failures.add(done.failures)
            if done.changes:
                self._changed(done.changes)
        for one in here:
            one.last_ms = at_ms

    def evaluate_all(self, work: Iterable[tuple[Running, Sequence[str]]], at_ms: int) -> Done:
        """Evaluate some rules of some groups. Blocking: on a thread that no other tick is on."""
        done = Done()
        written: dict[str, list[Sample]] = {}
        sources: dict[str, Source] = {}
        for running, keys in work:
            started = time.monotonic()
            tenant = running.tenant
            source = sources.setdefault(tenant, self._source(tenant))
            out = written.setdefault(tenant, [])
            when_ms = at_ms - running.group.offset_ms
            rules = [running.rules[key] for key in keys]
            quiet: Mapping[int, bool] = {}
            if self._screen is not None:
                shapes = [
                    evaluating.screened(running.rules[key], running.states[key]) for key in keys
                ]
                quiet = self._screen(tenant, shapes, when_ms)
            for number, (key, prepared) in enumerate(zip(keys, rules, strict=True)):
                if number in quiet:
                    result = NOTHING if quiet[number] else NO_DATA
                else:
                    firing = evaluating.firing_of(prepared, running.states[key])
                    result = evaluating.evaluate(prepared, source, when_ms, self._limits, firing)
                self._apply(running, key, result, when_ms, out=out, done=done)
            if running.orphans:
                out += samples({}, running.orphans, when_ms)
                running.orphans = set()
            running.took_s = time.monotonic() - started
        done.requests = [(tenant, encode(found)) for tenant, found in written.items() if found]
        return done

    def _apply(
        self,
        running: Running,
        key: str,
        result: Result,
        at_ms: int,
        *,
        out: list[Sample],
        done: Done,
    ) -> None:
        """Take one rule's *result* into its state; its samples go to *out*."""
        prepared, before = running.rules[key], running.states[key]
        state, events = step(prepared.timing, before, at_ms, result.outcome)
        running.states[key] = state
        if result is NOTHING and not before.alerts and not running.written.get(key):
            return  # As nearly always.
        if isinstance(result.outcome, Failed):
            done.failures += 1
            # Nothing new is known, so what was recorded stays as it is; alerts stand as before.
            now = alert_series(state)
        else:
            now = dict(result.recorded) if prepared.rule.record else alert_series(state)
        if not (isinstance(result.outcome, Failed) and prepared.rule.record):
            out += samples(now, running.written.get(key, frozenset()), at_ms)
            running.written[key] = frozenset(now)
        evaluated_ms = self._clock() // 1_000_000
        done.changes += [
            Change(
                tenant=running.tenant,
                group=running.id,
                rule=key,
                event=event,
                at_ms=at_ms,
                evaluated_ms=evaluated_ms,
            )
            for event in events
        ]

    async def _end_orphans(self) -> None:
        for tenant, series in self._orphans.items():
            now_ms = self._clock() // 1_000_000
            await self._store(tenant, encode(samples({}, series, now_ms)))
        self._orphans.clear()

    async def _store(self, tenant: str, request: bytes) -> None:
        try:
            await self._write(request, tenant)
        except MeshError as error:
            self._lost.add(1)
            log.warning("recordings_lost", reason=error.reason)

    def _publish(self, meter: metrics.Meter) -> None:
        self._missed = meter.create_counter(
            "telemetry.rules.ticks.missed",
            unit="{tick}",
            description="Evaluations given up because the service was behind for minutes",
        )
        self._failures = meter.create_counter(
            "telemetry.rules.failures",
            unit="{evaluation}",
            description="Evaluations of rules that failed",
        )
        self._lost = meter.create_counter(
            "telemetry.rules.writes.lost",
            unit="{request}",
            description="Requests of recorded samples that intake didn't take",
        )
        self._lateness = meter.create_histogram(
            "telemetry.rules.lateness",
            unit="s",
            description="How long after its time a tick began",
        )


@dataclass(slots=True, kw_only=True)
class Done:
    """What evaluating a stage gave."""

    requests: list[tuple[str, bytes]] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    failures: int = 0
