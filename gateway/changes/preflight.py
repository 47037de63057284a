"""
The preflight: a private Envoy takes each change before the fleet does.

It is a discovery client like the edge's, of the node cluster `preflight`, on the gateway's own
Unix socket. Without one connected, changes go straight on: a preflight that is away must not
keep the fleet from changing.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import structlog
from opentelemetry import metrics

from gateway.changes.receipts import Receipt, Refused
from gateway.compile.preflight import harmless, stand_ins, whole
from gateway.compile.sources import CERTIFICATE_SECRET, PUBLIC_SECRET, TRUST_SECRET
from gateway.xds.feed import Feed, Flavour
from gateway.xds.resources import Snapshot
from gateway.xds.subscription import Refusal
from meshkit.identity.material import throwaway_pair


if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.compile.compiler import Compiled
    from gateway.xds.ads import AggregatedDiscovery, Session

NODE = "preflight"

log = structlog.get_logger()


class Preflight:
    """Asks the private Envoy, one change at a time."""

    def __init__(self, feed: Feed, discovery: AggregatedDiscovery, *, timeout: timedelta) -> None:
        """*timeout* bounds the wait; a change that isn't refused by then goes on."""
        self._feed = feed
        self._sessions = discovery.sessions
        self._timeout_s = timeout.total_seconds()
        # A pair that opens nothing: whoever reads it, or reaches a listener of that Envoy, is
        # nobody in the mesh.
        key_pem, chain_pem = throwaway_pair()
        names = (CERTIFICATE_SECRET, PUBLIC_SECRET)
        self._secrets = stand_ins(names, TRUST_SECRET, key_pem, chain_pem)
        self._snapshot = self._secrets
        self._lock = asyncio.Lock()
        self._step = asyncio.Event()
        discovery.watchers.append(self._on_step)
        self._duration = metrics.get_meter("gateway").create_histogram(
            "gateway.preflight.duration", unit="s", description="Time the preflight took"
        )

    def begin(self, compiled: Compiled) -> None:
        """Have the private Envoy be given what the fleet has at the start."""
        self._snapshot = harmless(self._secrets, compiled.edge, whole(compiled.edge))
        self._feed.publish(Flavour.PREFLIGHT, self._snapshot)

    def follow(self, compiled: Compiled) -> None:
        """Have the private Envoy follow what isn't a change of the catalog; nobody waits for it."""
        self._snapshot = harmless(self._snapshot, compiled.edge, compiled.touched["edge"])
        self._feed.publish(Flavour.PREFLIGHT, self._snapshot)

    async def check(self, compiled: Compiled) -> Receipt | None:
        """
        Return what the private Envoy makes of *compiled*; None: there is none to ask.

        What it refuses is withheld from the fleet, which keeps the last that was accepted.
        """
        async with self._lock:
            snapshot = harmless(self._snapshot, compiled.edge, compiled.touched["edge"])
            receipt = await self._ask(snapshot)
            self._snapshot = snapshot
        if receipt is None:
            return None
        refusals = self._standing(compiled.touched["edge"])
        for flavour, fleet in (
            (Flavour.EDGE, compiled.edge),
            (Flavour.PROXYLESS, compiled.proxyless),
        ):
            withheld = []
            for one in refusals:
                item = fleet.of(one.kind).get(one.resource.name)
                if item is not None and (flavour is Flavour.EDGE or item == one.resource):
                    withheld.append(Refusal(kind=one.kind, resource=item, error=one.error))
            self._feed.verdicts[flavour].foretell(withheld, node_id=NODE, time=datetime.now(UTC))
        return receipt

    async def try_out(self, compiled: Compiled) -> Sequence[Refused]:
        """Return what the private Envoy would refuse of *compiled*, which isn't kept."""
        async with self._lock:
            snapshot = harmless(self._snapshot, compiled.edge, compiled.touched["edge"])
            receipt = await self._ask(snapshot)
            self._feed.publish(Flavour.PREFLIGHT, self._snapshot)
            if receipt is not None:
                await self._settled()
        return receipt.refusals if receipt is not None else ()

    async def _ask(self, snapshot: Snapshot) -> Receipt | None:
        began = datetime.now(UTC)
        before = {
            (one.refusal.kind.key, one.refusal.resource)
            for one in self._feed.verdicts[Flavour.PREFLIGHT].refused()
        }
        self._feed.publish(Flavour.PREFLIGHT, snapshot)
        if not any(session.flavour is Flavour.PREFLIGHT for session in self._sessions):
            return None
        receipt = Receipt(node=NODE, flavour=Flavour.PREFLIGHT.value, send_time=began)
        if not await self._settled():
            log.warning("preflight_silent", revision=snapshot.revision)
        receipt.acknowledge_time = receipt.warm_time = datetime.now(UTC)
        self._duration.record((receipt.acknowledge_time - began).total_seconds())
        receipt.refusals = [
            Refused(
                type=one.refusal.kind.key,
                resource=one.refusal.resource.name,
                error=one.refusal.error,
            )
            for one in self._feed.verdicts[Flavour.PREFLIGHT].refused()
            if (one.refusal.kind.key, one.refusal.resource) not in before
        ]
        return receipt

    def _standing(self, touched: frozenset[tuple[str, str]]) -> list[Refusal]:
        """Return what of *touched* stands refused."""
        return [
            one.refusal
            for one in self._feed.verdicts[Flavour.PREFLIGHT].refused()
            if (one.refusal.kind.key, one.refusal.resource.name) in touched
        ]

    async def _settled(self) -> bool:
        """Wait until the private Envoy has said what it makes of the newest; False: too long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timeout_s):
                while not self._has_newest():
                    self._step.clear()
                    await self._step.wait()
                return True
        return False

    def _has_newest(self) -> bool:
        newest = self._feed.newest(Flavour.PREFLIGHT)
        ours = [one for one in self._sessions if one.flavour is Flavour.PREFLIGHT]
        return not ours or any(one.plan.acked is newest for one in ours)

    def _on_step(self, session: Session) -> None:
        if session.flavour is Flavour.PREFLIGHT:
            self._step.set()
