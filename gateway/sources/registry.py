"""
Endpoints that registered themselves.

PostgreSQL has the truth: a registration, its end and who keeps it are written before they are
answered or shown, in one order for all gateways; each follows it by hints on the bus, or else by a
poll. Heartbeats are collected and written together, a few times a second.

A lease that runs out ends its registration, unless the silence may be our own fault: for a while
after this gateway started or couldn't reach the database, and once for a while when more than half
of all leases run out together, nothing ends but what left or whose stream broke.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog
from opentelemetry import metrics

from gateway.sources.leases import UNHELD, Leases
from gateway.sources.source import Found
from meshkit.errors import MeshError


if TYPE_CHECKING:
    from gateway.model import Service
    from gateway.sources.source import Parts, Tell
    from gateway.store.registrations import Registration, RegistrationStore

TICK_S: Final = 0.25
"""Between two writings of heartbeats and looks for leases that ran out."""

POLL_S: Final = 1.0
PURGE_S: Final = 60.0
SUSPICIOUS_MIN: Final = 10
"""So many leases at least must run out together to make us doubt it."""

CHANGED: Final = "gateway.registry"
"""The bus's subject for "the registry has changed"; the message is empty."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryLimits:
    """How patient the registry is."""

    orphan_grace: timedelta = timedelta(seconds=1)
    """How long a registration outlives the stream that kept it, for another to take it up."""

    outage_grace: timedelta = timedelta(seconds=15)
    """How long no lease runs out after a fault of our own."""


class Registry:
    """
    What is registered, as this gateway knows it.

    Args:
        hint: Tells the other gateways that something has changed. Never blocks.

    """

    def __init__(
        self, store: RegistrationStore, limits: RegistryLimits, *, hint: Callable[[], None]
    ) -> None:
        self.store = store
        self.leases = Leases(limits.orphan_grace.total_seconds())
        self._grace = limits.outage_grace.total_seconds()
        self._hint = hint
        self._known: dict[str, dict[str, Registration]] = {}
        """By service and name; those that are gone stay a while."""

        self._seq = 0
        self._purged = 0
        self._lenient_until = 0.0
        self._doubting = False
        self._watchers: dict[str, set[Callable[[], None]]] = {}
        self._wake = asyncio.Event()
        self._reading = asyncio.Lock()
        metrics.get_meter("gateway").create_observable_gauge(
            "gateway.registry.registrations",
            unit="{registration}",
            callbacks=[lambda _: [metrics.Observation(self._count())]],
            description="Replicas that are registered",
        )

    @property
    def seq(self) -> int:
        """The newest change known here."""
        return self._seq

    @property
    def purged(self) -> int:
        """Of those that went by changes up to this one, nothing is known."""
        return self._purged

    async def start(self) -> None:
        """
        Read what is registered.

        Raises:
            Unavailable: The database is away.

        """
        self._lenient_until = asyncio.get_running_loop().time() + self._grace
        await self.read()

    def poke(self) -> None:
        """Look at the database soon. Never blocks."""
        self._wake.set()

    async def run(self) -> None:
        """Write heartbeats, end what is over and follow the others until cancelled."""
        loop = asyncio.get_running_loop()
        polled = purged = loop.time()
        while True:
            looked = self._wake.is_set()
            self._wake.clear()
            now = loop.time()
            try:
                await self._keep(now)
                if looked or now - polled >= POLL_S:
                    polled = now
                    await self.read()
                if now - purged >= PURGE_S:
                    purged = now
                    await self.store.purge()
                    await self._forget()
            except MeshError as error:
                # Whoever can't write heartbeats can't tell who is dead.
                self._lenient_until = loop.time() + self._grace
                log.warning("registry_unread", reason=error.reason)
                await asyncio.sleep(TICK_S)
            due = self.leases.deadline()
            until = min(loop.time() + TICK_S, due if due is not None else loop.time() + TICK_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    await self._wake.wait()

    async def changed(self) -> None:
        """Show what was just written here, and tell the others."""
        await self.read()
        self._hint()

    def of(self, service: str) -> Sequence[Registration]:
        """Return what is registered of a service, in the order of the names."""
        known = self._known.get(service, {})
        return [known[name] for name in sorted(known) if not known[name].gone]

    def since(self, service: str, seq: int) -> Sequence[Registration]:
        """Return what of a service has changed since *seq*, also those that went."""
        known = self._known.get(service, {})
        return sorted(
            (one for one in known.values() if one.seq > seq), key=lambda one: (one.seq, one.name)
        )

    def get(self, name: str) -> Registration | None:
        """Return a registration, unless it is gone."""
        service, _, _ = name.partition("/registrations/")
        found = self._known.get(service, {}).get(name)
        return None if found is None or found.gone else found

    def heartbeat(self, names: Collection[str], replica: str, holder: str = UNHELD) -> list[str]:
        """Keep those of *names* that *replica* registered; returns those that aren't there."""
        found = {name: self.get(name) for name in names}
        ours = [n for n, one in found.items() if one is not None and one.replica == replica]
        self.leases.heard(ours, holder)
        return [name for name, one in found.items() if one is None]

    def watch(self, service: str, wake: Callable[[], None]) -> Callable[[], None]:
        """Call *wake*, which must not block, when a service's have changed; returns how to stop."""
        watchers = self._watchers.setdefault(service, set())
        watchers.add(wake)

        def stop() -> None:
            watchers.discard(wake)
            if not watchers and self._watchers.get(service) is watchers:
                del self._watchers[service]

        return stop

    async def read(self) -> None:
        """
        Take what has changed since.

        Raises:
            Unavailable: The database is away.

        """
        async with self._reading:
            touched = set()
            for one in await self.store.after(self._seq):
                self._known.setdefault(one.service, {})[one.name] = one
                self._seq = max(self._seq, one.seq)
                touched.add(one.service)
                if one.gone:
                    self.leases.forget(one.name)
            for service in touched:
                for wake in list(self._watchers.get(service, ())):
                    wake()

    async def _keep(self, now: float) -> None:
        renewals = self.leases.renewals()
        try:
            if renewals:
                await self.store.renew(renewals)
        except MeshError:
            self.leases.unwritten(renewals)
            raise
        ends = self.leases.ends(now)
        if ends:
            await self.store.end(ends)
            self.leases.ended(ends)
            log.info("registrations_ended", names=[name for name, _ in ends][:20])
            await self.changed()
        overdue, of_all = await self.store.overdue()
        leases = overdue > 0 and self._believed(overdue, of_all, now)
        if leases or await self.store.drained():
            await self.store.expire(leases=leases)
            await self.changed()

    def _believed(self, overdue: int, of_all: int, now: float) -> bool:
        """Whether leases that ran out are to end."""
        if now < self._lenient_until:
            return False
        if overdue >= SUSPICIOUS_MIN and 2 * overdue > of_all and not self._doubting:
            self._doubting = True
            self._lenient_until = now + self._grace
            log.warning("registry_doubts", overdue=overdue, registrations=of_all)
            return False
        self._doubting = False
        return True

    async def _forget(self) -> None:
        self._purged = await self.store.purged()
        for service, known in list(self._known.items()):
            left: Mapping[str, Registration] = {
                name: one
                for name, one in known.items()
                if not (one.gone and one.seq <= self._purged)
            }
            self._known[service] = dict(left)
            if not left:
                del self._known[service]

    def _count(self) -> int:
        return sum(not one.gone for known in self._known.values() for one in known.values())


def make(parts: Parts) -> RegistrySource:
    """Return the source."""
    assert parts.registry is not None, "every gateway has one"
    return RegistrySource(parts.registry)


class RegistrySource:
    """All services that are found in the registry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def follow(self, service: Service, tell: Tell) -> None:
        """Tell what is registered, until cancelled."""
        wake = asyncio.Event()
        stop = self._registry.watch(service.name, wake.set)
        try:
            while True:
                wake.clear()
                tell(self._found(service.name))
                await wake.wait()
        finally:
            stop()

    async def close(self) -> None:
        """The registry isn't its own."""

    def _found(self, service: str) -> Found:
        known = self._registry.since(service, 0)
        return Found(
            endpoints=tuple(one.endpoint for one in known if not one.gone),
            left=frozenset(one.place for one in known if one.gone and one.leaving),
        )
