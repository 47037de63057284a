"""Follows the catalog and the signing keys, and publishes what they compile to."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import structlog
from opentelemetry import metrics

from gateway.changes.batch import Batch
from gateway.changes.hold import Hold, Holding
from gateway.compile.compiler import Compiled, compile_all, compile_changes
from gateway.compile.descriptors import InvalidDescriptors
from gateway.compile.inputs import Inputs
from gateway.reflection.reflected import Reflected
from gateway.xds.feed import Feed, Flavour
from meshkit.errors import MeshError


if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from gateway.changes.preflight import Preflight
    from gateway.changes.receipts import Receipts, Refused
    from gateway.compile.options import EdgeOptions
    from gateway.model import Catalog, Endpoint, Object
    from gateway.store.canaries import CanaryStore
    from gateway.store.catalog import CatalogStore, Revision

REVISIONS_AT_ONCE = 500
FROZEN_AT_ONCE = 1_000
OURS_MAX = 20_000
"""Revisions made here that wait to be taken; beyond it they are read from the database."""

log = structlog.get_logger()


class Control:
    """
    The way from a committed change to the snapshots of this replica.

    Changes of our own it is given; a hint of another replica's, or else a poll, makes it look at
    the database. Revisions have no gaps and their order is that of the commits: what follows the
    newest known is taken, whoever brings it. While the database is away it serves what it knows.
    """

    def __init__(
        self,
        store: CatalogStore,
        feed: Feed,
        options: EdgeOptions,
        *,
        receipts: Receipts,
        poll: timedelta,
        linger: timedelta = timedelta(0),
        canaries: CanaryStore | None = None,
    ) -> None:
        """*linger* is how long clusters that nothing points at any more stay at the edges."""
        self._store = store
        self._canaries = canaries
        self._feed = feed
        self._receipts = receipts
        self._preflight: Preflight | None = None
        self._options = options
        self.holding = Holding(linger.total_seconds())
        """What some edges have first."""

        self.holds = asyncio.Event()
        """Set while there is something."""

        self._poll_s = poll.total_seconds()
        self._compiled = Compiled()
        self._inputs = Inputs()
        self._reflected = Reflected(self._inputs.merged)
        self._changed: set[str] = set()
        self._changes: dict[int, Batch] = {}
        """By their first revision, those that wait to be published."""

        self._moved: set[str] = set()
        self._ours: dict[int, Revision] = {}
        """Made here and not taken yet."""

        self.followers: list[Callable[[Catalog, Collection[str]], None]] = []
        """Each is told, and must not block, of a new catalog and the objects that differ."""

        self._look = False
        self._unfrozen = 0
        """Resources made since the garbage collector was last told to pass over what is there."""

        self._wake = asyncio.Event()
        meter = metrics.get_meter("gateway")
        self._duration = meter.create_histogram(
            "gateway.compile.duration", unit="s", description="Time to compile a change"
        )
        meter.create_observable_gauge(
            "gateway.catalog.revision",
            callbacks=[lambda _: [metrics.Observation(self.revision)]],
            description="Newest revision known here",
        )

    @property
    def revision(self) -> int:
        """The newest revision published."""
        return self._compiled.inputs.catalog.revision

    @property
    def inputs(self) -> Inputs:
        """What the newest snapshots were compiled from."""
        return self._compiled.inputs

    @property
    def catalog(self) -> Catalog:
        """The newest catalog published."""
        return self._compiled.inputs.catalog

    def poke(self) -> None:
        """Look at the database soon. Never blocks."""
        self._look = True
        self._wake.set()

    def hint(self, newest: bytes) -> None:
        """Look at the database soon, unless *newest*, a revision in digits, is known. Never blocks."""
        known = max(self._ours, default=self._inputs.catalog.revision)
        if not newest.isdigit() or int(newest) > known:
            self.poke()

    def take(self, made: Sequence[Revision]) -> None:
        """Take what a change made here, once it is committed. Never blocks."""
        if len(self._ours) + len(made) > OURS_MAX:
            self._ours.clear()
            self.poke()
            return
        self._ours.update({one.revision: one for one in made})
        self._wake.set()

    def use(self, preflight: Preflight) -> None:
        """Have changes looked at by *preflight* from now on; before `start`."""
        self._preflight = preflight

    async def try_out(self, objects: Mapping[str, Object | None]) -> Sequence[Refused]:
        """
        Return what the preflight's Envoy would refuse if *objects* were so; None: deleted.

        Raises:
            InvalidDescriptors: They can't be compiled.

        """
        if self._preflight is None:
            return ()
        catalog = self._compiled.inputs.catalog
        every = {**objects, **self._reflected.over(objects)}
        catalog = catalog.with_objects(catalog.revision, every)
        changed = {name.partition("/routes/")[0] for name in objects}
        inputs = dataclasses.replace(self._compiled.inputs, catalog=catalog)
        return await self._preflight.try_out(
            compile_changes(self._compiled, inputs, self._options, changed)
        )

    def set_jwks(self, jwks: str) -> None:
        """Have tokens verified with *jwks* from now on. Never blocks."""
        self.set_input(jwks=jwks)

    def set_input(self, **fields: Any) -> None:
        """Have fields of `Inputs` besides the catalog be these from now on. Never blocks."""
        self._inputs = dataclasses.replace(self._inputs, **fields)
        self._wake.set()

    def set_found(self, changes: Mapping[str, tuple[Endpoint, ...]]) -> None:
        """Have the endpoints found of these services be these from now on. Never blocks."""
        found = {**self._inputs.found, **changes}
        for service, endpoints in changes.items():
            if not endpoints:
                del found[service]
        self._moved.update(changes)
        self.set_input(found=found)

    def set_reflected(self, service: str, descriptor_set: bytes) -> bool:
        """
        Use what a service with `reflect` told of itself from now on. Never blocks.

        Returns:
            Whether it is something else than before.

        Raises:
            InvalidDescriptors: They don't go with the other services'.

        """
        catalog = self._inputs.catalog
        if not self._reflected.put(catalog, service, descriptor_set):
            return False
        value = catalog.services.get(service)
        if value is not None:
            self._changed.add(service)
            overlaid = self._reflected.over({service: value})
            self.set_input(catalog=catalog.with_objects(catalog.revision, overlaid))
        return True

    async def start(self, reflected: Mapping[str, bytes] | None = None) -> None:
        """
        Publish the catalog as it is.

        Args:
            reflected: What services told of themselves the last time, by their names.

        Raises:
            Unavailable: The database is away.

        """
        catalog = await self._store.load()
        self._reflected.known.update(reflected or {})
        overlaid = self._reflected.over(catalog.services)
        catalog = catalog.with_objects(catalog.revision, overlaid) if overlaid else catalog
        self._inputs = dataclasses.replace(self._inputs, catalog=catalog)
        if self._canaries is not None:
            await self._hold_as_before(self._canaries)
        self._publish(compile_all(self._inputs, self._options))
        if self._preflight is not None:
            self._preflight.begin(self._compiled)

    async def _hold_as_before(self, canaries: CanaryStore) -> None:
        row = await canaries.watched()
        if row is not None and row.revision <= self._inputs.catalog.revision:
            before = await canaries.before(row)
            hold = Hold(
                first=row.first_revision,
                last=row.revision,
                edges=frozenset(row.edges),
                before=before | self._reflected.over(before),
            )
            self.holding.begin(hold, self._inputs, self._options)

    def release(self, hold: Hold, *, widen: bool) -> None:
        """Give all what some edges had first; with *widen* the others' receipts are awaited."""
        if self.holding.hold is not hold:
            return
        self.holding.end()
        if widen:
            self._receipts.widen(hold.last)
        self._publish(self._compiled)
        self._receipts.step()

    async def run(self) -> None:
        """Follow changes until cancelled."""
        while True:
            await self._awake()
            try:
                await self._advance()
            except MeshError as error:
                log.warning("catalog_unread", reason=error.reason)

    async def _awake(self) -> None:
        """Wait until there is something to do: at the latest, to look at the database."""
        loop = asyncio.get_running_loop()
        looked = loop.time() + self._poll_s
        while not self._wake.is_set() and not self._look:
            gone = self.holding.deadline() or looked
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(min(gone, looked)):
                    await self._wake.wait()
            self._look = self._look or loop.time() >= looked
            if loop.time() >= gone:
                self._publish_edge()
        self._wake.clear()

    async def follow(self) -> None:
        """
        Publish what has changed since.

        Raises:
            Unavailable: The database is away.

        """
        self._look = True
        await self._advance()

    async def _advance(self) -> None:
        more = True
        while more:
            revisions: Sequence[Revision] = self._next_of_ours()
            more = bool(revisions)
            if not revisions and (self._look or self._ours):
                revisions = await self._read()
                more = len(revisions) == REVISIONS_AT_ONCE or bool(revisions and self._ours)
            self._note(revisions)
            if self._inputs is not self._compiled.inputs:
                await self._compile()

    async def _read(self) -> Sequence[Revision]:
        self._look = False
        try:
            return await self._store.after(self._inputs.catalog.revision, REVISIONS_AT_ONCE)
        except MeshError:
            # What doesn't come from the database needn't wait for it.
            if self._inputs is not self._compiled.inputs:
                await self._compile()
            raise

    def _next_of_ours(self) -> list[Revision]:
        """Return what follows the newest known without a gap, whole changes if there are many."""
        found: list[Revision] = []
        newest = self._inputs.catalog.revision
        while (one := self._ours.get(newest + 1)) is not None:
            if len(found) >= REVISIONS_AT_ONCE and one.change_first != found[-1].change_first:
                break
            found.append(one)
            newest = one.revision
        return found

    def _note(self, revisions: Sequence[Revision]) -> None:
        if not revisions:
            return
        for one in revisions:
            self._changed.add(one.object.partition("/routes/")[0])
            batch = self._changes.setdefault(one.change_first, Batch(one.change_first))
            batch.add(one)
        self.holding.note(revisions, self._inputs.catalog)
        newest = revisions[-1].revision
        objects = {one.object: one.stored.value if one.stored else None for one in revisions}
        catalog = self._inputs.catalog.with_objects(newest, objects | self._reflected.over(objects))
        self._inputs = dataclasses.replace(self._inputs, catalog=catalog)
        for number in [number for number in self._ours if number <= newest]:
            del self._ours[number]

    async def _compile(self) -> None:
        started = time.perf_counter()
        inputs, changed, moved = self._inputs, self._changed, self._moved
        revision = inputs.catalog.revision
        try:
            compiled = compile_changes(self._compiled, inputs, self._options, changed, moved)
            self.holding.compile(self._compiled, inputs, self._options, changed, moved)
        except InvalidDescriptors as error:
            # Refused when it was written; should it come by another way, the rest stays live.
            log.error("compile_failed", revision=revision, error=str(error))  # noqa: TRY400
            return
        except Exception:
            # A fault of ours must not end what serves: who wrote it can take it back.
            log.exception("compile_failed", revision=revision)
            return
        batches, self._changes = self._changes, {}
        self._changed, self._moved = set(), set()
        receipt = None
        if self._preflight is not None and batches:
            receipt = await self._preflight.check(compiled)
        elif self._preflight is not None:
            self._preflight.follow(compiled)  # Keys and endpoints wait for nobody.
        for batch in batches.values():
            hold = self.holding.hold
            only = hold.edges if hold is not None and hold.first == batch.first else None
            self._receipts.published(
                batch.first, batch.last, compiled.touched, batch.clusters, only
            )
            if receipt is not None:
                self._receipts.add(batch.last, receipt)
        self._publish(compiled)
        if changed:
            for follow in self.followers:
                follow(inputs.catalog, changed)
        self._duration.record(time.perf_counter() - started)
        log.info("catalog_published", revision=revision, objects=sorted(changed)[:20])

    def _publish(self, compiled: Compiled) -> None:
        self._compiled = compiled
        self._publish_edge()
        others = self.holding.compiled or compiled
        self._feed.publish(Flavour.PROXYLESS, others.proxyless)
        if self.holding.hold is not None:
            self.holds.set()
        else:
            self.holds.clear()
        self._unfrozen += len(compiled.touched["edge"])
        if self._unfrozen >= FROZEN_AT_ONCE:
            # A full collection walks all there is, 0.3 s with 100,000 routes, and everything
            # waits. The catalog and what it compiles to have no cycles: none is needed there.
            gc.collect(1)
            gc.freeze()
            self._unfrozen = 0

    def _publish_edge(self) -> None:
        self.holding.publish(self._feed, self._compiled, asyncio.get_running_loop().time())
