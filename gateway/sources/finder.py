"""
Follows the catalog's services in their sources, and tells the compiler what was found.

    catalog ──▶ follow ──▶ a task for each service ──▶ Keeper ──▶ every 20 ms at most ──▶ set_found
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import structlog
from opentelemetry import metrics

from gateway.model import Discovery, Endpoint
from gateway.sources.keeper import Keeper, KeeperLimits
from gateway.sources.source import Found, Parts, Source, SourceKind, kind_of
from meshkit.errors import MeshError


if TYPE_CHECKING:
    from gateway.model import Catalog, Service
    from gateway.sources.store import FoundStore

Endpoints = tuple[Endpoint, ...]

PAUSE_S: Final = 0.02
"""Between two tellings: what comes meanwhile goes together."""

SAVE_PAUSE_S: Final = 1.0
RESTART_S: Final = 1.0
"""Before a source that failed unexpectedly is asked again."""

FIRST_ANSWERS_S: Final = 1.0
"""How long the start waits for sources of services of which nothing is remembered."""

log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class _Followed:
    """A service, while it has a source."""

    service: Service
    kind: SourceKind
    keeper: Keeper
    told: Endpoints = ()
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class Finder:
    """
    All services with a source.

    Args:
        tell: Takes what has changed, by the service's name. Never blocks.

    """

    def __init__(
        self,
        parts: Parts,
        store: FoundStore,
        limits: KeeperLimits,
        *,
        tell: Callable[[Mapping[str, Endpoints]], None],
    ) -> None:
        self._parts = parts
        self._store = store
        self._limits = limits
        self._tell = tell
        self._followed: dict[str, _Followed] = {}
        self._sources: dict[str, Source] = {}
        self._dirty: set[str] = set()
        self._unsaved: set[str] = set()
        self._lost: set[str] = set()
        """Followed no longer: their endpoints are to be forgotten."""

        self._ending: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        meter = metrics.get_meter("gateway")
        meter.create_observable_gauge(
            "gateway.discovery.endpoints",
            unit="{endpoint}",
            callbacks=[lambda _: [metrics.Observation(self._count())]],
            description="Endpoints found by sources",
        )

    async def start(self, catalog: Catalog) -> None:
        """
        Begin to follow *catalog*, with what was known when the gateway last ran.

        Raises:
            Unavailable: The database is away.

        """
        known = await self._store.load()
        for service in catalog.services.values():
            if service.discovery != Discovery():
                self._begin(service, known.get(service.name, {}).get(repr(service.discovery), ()))
        waiting = [
            one.answered.wait()
            for one in self._followed.values()
            if not (one.kind.remembered and one.told)
        ]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_ANSWERS_S):
                await asyncio.gather(*waiting)
        self._advance()

    def follow(self, catalog: Catalog, changed: Collection[str]) -> None:
        """Take note of services that have changed. Never blocks."""
        for name in changed:
            if not name.startswith("services/"):
                continue
            service = catalog.services.get(name)
            known = self._followed.get(name)
            before = known.service.discovery if known else Discovery()
            after = service.discovery if service else Discovery()
            if known is not None and service is not None and before == after:
                known.service = service
            elif before != after:
                self._end(name)
                if service is not None and after != Discovery():
                    self._begin(service, ())

    async def run(self) -> None:
        """Tell what sources find until cancelled."""
        loop = asyncio.get_running_loop()
        saving = asyncio.create_task(self._save(), name="discovery.save")
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(self._deadline()):
                        await self._wake.wait()
                self._wake.clear()
                now = loop.time()
                self._dirty |= {name for name, one in self._followed.items() if _due(one, now)}
                self._advance()
                await asyncio.sleep(PAUSE_S)
        finally:
            saving.cancel()
            for name in list(self._followed):
                self._end(name)
            for source in self._sources.values():
                await source.close()

    def source_of(self, service: str, place: tuple[str, int]) -> str:
        """Return the key of the source that found an endpoint; "" if none did."""
        known = self._followed.get(service)
        if known is None or all((one.address, one.port) != place for one in known.told):
            return ""
        return known.kind.key

    def _count(self) -> int:
        return sum(len(one.told) for one in self._followed.values())

    def _begin(self, service: Service, endpoints: Endpoints) -> None:
        kind = kind_of(service)
        assert kind is not None, "it has a source"
        known = _Followed(service, kind, Keeper(self._limits, endpoints), endpoints)
        self._followed[service.name] = known
        self._lost.discard(service.name)
        if endpoints:
            self._tell({service.name: endpoints})
        known.task = asyncio.create_task(self._ask(known), name=f"discovery {service.name}")

    def _end(self, name: str) -> None:
        known = self._followed.pop(name, None)
        if known is None:
            return
        if known.task is not None:
            known.task.cancel()
            self._ending.add(known.task)
            known.task.add_done_callback(self._ending.discard)
        self._lost.add(name)
        self._wake.set()

    async def _ask(self, known: _Followed) -> None:
        """Have the source follow a service for as long as it is followed."""
        name = known.service.name

        def tell(found: Found) -> None:
            if self._followed.get(name) is known:
                known.keeper.take(found, asyncio.get_running_loop().time())
                known.answered.set()
                self._dirty.add(name)
                self._wake.set()

        while True:
            try:
                source = self._sources.get(known.kind.key)
                if source is None:
                    source = known.kind.make(self._parts)
                    self._sources[known.kind.key] = source
                await source.follow(known.service, tell)
            except Exception as error:  # one source's bug isn't the others' end
                log.exception("discovery_failed", service=name, source=known.kind.key, error=error)
            await asyncio.sleep(RESTART_S)

    def _advance(self) -> None:
        now = asyncio.get_running_loop().time()
        changes: dict[str, Endpoints] = dict.fromkeys(self._lost, ())
        self._lost.clear()
        for name in self._dirty:
            known = self._followed.get(name)
            if known is None:
                continue
            endpoints = known.keeper.settle(now)
            if endpoints != known.told:
                changes[name] = known.told = endpoints
            if known.keeper.dropped:
                log.warning(
                    "discovery_truncated", service=name, endpoints_beyond=known.keeper.dropped
                )
        self._dirty.clear()
        if changes:
            self._unsaved.update(changes)
            self._tell(changes)

    def _deadline(self) -> float | None:
        times = [one.keeper.deadline() for one in self._followed.values()]
        return min((time for time in times if time is not None), default=None)

    async def _save(self) -> None:
        while True:
            await asyncio.sleep(SAVE_PAUSE_S)
            names, self._unsaved = self._unsaved, set()
            if not names:
                continue
            rows = []
            for name in names:
                known = self._followed.get(name)
                if known is not None and known.kind.remembered:
                    rows.append((name, repr(known.service.discovery), known.told))
            try:
                await self._store.save(rows, names - {name for name, _, _ in rows})
            except MeshError as error:
                self._unsaved |= names
                log.warning("discovery_unsaved", reason=error.reason)


def _due(known: _Followed, now: float) -> bool:
    deadline = known.keeper.deadline()
    return deadline is not None and deadline <= now
