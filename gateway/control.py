"""Follows the catalog and the signing keys, and publishes what they compile to."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import structlog
from opentelemetry import metrics

from gateway.changes.batch import Batch
from gateway.compile.compiler import Compiled, compile_all, compile_changes
from gateway.compile.descriptors import InvalidDescriptors
from gateway.compile.inputs import Inputs
from gateway.xds.feed import Feed, Flavour
from meshkit.errors import MeshError


if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.changes.preflight import Preflight
    from gateway.changes.receipts import Receipts, Refused
    from gateway.compile.options import EdgeOptions
    from gateway.model import Catalog, Endpoint, Object
    from gateway.store.catalog import CatalogStore

REVISIONS_AT_ONCE = 500

log = structlog.get_logger()


class Control:
    """
    The way from a committed change to the snapshots of this replica.

    A change of our own and a hint of another replica's wake it; what no hint told it finds by
    polling. While the database is away it serves what it knows.
    """

    def __init__(
        self,
        store: CatalogStore,
        feed: Feed,
        options: EdgeOptions,
        *,
        receipts: Receipts,
        poll: timedelta,
    ) -> None:
        self._store = store
        self._feed = feed
        self._receipts = receipts
        self._preflight: Preflight | None = None
        self._options = options
        self._poll_s = poll.total_seconds()
        self._compiled = Compiled()
        self._inputs = Inputs()
        self._changed: set[str] = set()
        self._changes: dict[int, Batch] = {}
        """By their first revision, those that wait to be published."""

        self._moved: set[str] = set()
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
        catalog = self._inputs.catalog
        for name, value in objects.items():
            catalog = catalog.with_object(catalog.revision, name, value)
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

    def set_found(self, service: str, endpoints: tuple[Endpoint, ...]) -> None:
        """Have discovery's endpoints of a service be these from now on. Never blocks."""
        found = dict(self._inputs.found)
        found[service] = endpoints
        self._moved.add(service)
        self.set_input(found=found)

    async def start(self) -> None:
        """
        Publish the catalog as it is.

        Raises:
            Unavailable: The database is away.

        """
        catalog = await self._store.load()
        self._inputs = dataclasses.replace(self._inputs, catalog=catalog)
        self._publish(compile_all(self._inputs, self._options))
        if self._preflight is not None:
            self._preflight.begin(self._compiled)

    async def run(self) -> None:
        """Follow changes until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._poll_s):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self.follow()
            except MeshError as error:
                log.warning("catalog_unread", reason=error.reason)

    async def follow(self) -> None:
        """
        Publish what has changed since.

        Raises:
            Unavailable: The database is away.

        """
        more = True
        while more:
            catalog = self._inputs.catalog
            revisions = await self._store.after(catalog.revision, REVISIONS_AT_ONCE)
            more = len(revisions) == REVISIONS_AT_ONCE
            changed: set[str] = set()
            for one in revisions:
                value = one.stored.value if one.stored else None
                catalog = catalog.with_object(one.revision, one.object, value)
                changed.add(one.object.partition("/routes/")[0])
                batch = self._changes.setdefault(one.change_first, Batch(one.change_first))
                batch.add(one)
            if revisions:
                self._inputs = dataclasses.replace(self._inputs, catalog=catalog)
                self._changed |= changed
            if self._inputs is not self._compiled.inputs:
                await self._compile()

    async def _compile(self) -> None:
        started = time.perf_counter()
        inputs, changed, moved = self._inputs, self._changed, self._moved
        revision = inputs.catalog.revision
        try:
            compiled = compile_changes(self._compiled, inputs, self._options, changed, moved)
        except InvalidDescriptors as error:
            # Refused when it was written; should it come by another way, the rest stays live.
            log.error("compile_failed", revision=revision, error=str(error))  # noqa: TRY400
            return
        batches, self._changes = self._changes, {}
        self._changed, self._moved = set(), set()
        receipt = None
        if self._preflight is not None and batches:
            receipt = await self._preflight.check(compiled)
        for batch in batches.values():
            self._receipts.published(batch.first, batch.last, compiled.touched, batch.clusters)
            if receipt is not None:
                self._receipts.add(batch.last, receipt)
        self._publish(compiled)
        self._duration.record(time.perf_counter() - started)
        log.info("catalog_published", revision=revision, objects=sorted(changed)[:20])

    def _publish(self, compiled: Compiled) -> None:
        self._compiled = compiled
        self._feed.publish(Flavour.EDGE, compiled.edge)
        self._feed.publish(Flavour.PROXYLESS, compiled.proxyless)
