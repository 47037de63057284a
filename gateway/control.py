"""Follows the catalog and the signing keys, and publishes what they compile to."""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog
from opentelemetry import metrics

from gateway.compile.compiler import Compiled, compile_all, compile_changes
from gateway.compile.descriptors import InvalidDescriptors
from gateway.xds.feed import Feed, Flavour
from meshkit.errors import MeshError


if TYPE_CHECKING:
    from gateway.compile.options import EdgeOptions
    from gateway.model import Catalog
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
        self, store: CatalogStore, feed: Feed, options: EdgeOptions, *, poll: timedelta
    ) -> None:
        self._store = store
        self._feed = feed
        self._options = options
        self._poll_s = poll.total_seconds()
        self._compiled = Compiled()
        self._jwks = ""
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
        return self._compiled.catalog.revision

    def poke(self) -> None:
        """Look at the database soon. Never blocks."""
        self._wake.set()

    def set_jwks(self, jwks: str) -> None:
        """Have tokens verified with *jwks* from now on. Never blocks."""
        self._jwks = jwks
        self._wake.set()

    async def start(self) -> None:
        """
        Publish the catalog as it is.

        Raises:
            Unavailable: The database is away.

        """
        self._publish(compile_all(await self._store.load(), self._jwks, self._options))

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
            catalog = self._compiled.catalog
            revisions = await self._store.after(catalog.revision, REVISIONS_AT_ONCE)
            more = len(revisions) == REVISIONS_AT_ONCE
            changed: set[str] = set()
            for one in revisions:
                value = one.stored.value if one.stored else None
                catalog = catalog.with_object(one.revision, one.object, value)
                changed.add(one.object.partition("/routes/")[0])
            if changed or self._jwks != self._compiled.jwks:
                self._compile(catalog, changed)

    def _compile(self, catalog: Catalog, changed: set[str]) -> None:
        started = time.perf_counter()
        try:
            compiled = compile_changes(self._compiled, catalog, self._jwks, self._options, changed)
        except InvalidDescriptors as error:
            # Refused when it was written; should it come by another way, the rest stays live.
            log.error("compile_failed", revision=catalog.revision, error=str(error))  # noqa: TRY400
            return
        self._publish(compiled)
        self._duration.record(time.perf_counter() - started)
        log.info("catalog_published", revision=catalog.revision, services=sorted(changed)[:20])

    def _publish(self, compiled: Compiled) -> None:
        self._compiled = compiled
        self._feed.publish(Flavour.EDGE, compiled.edge)
        self._feed.publish(Flavour.PROXYLESS, compiled.proxyless)
