"""Watches the change that some edges have first, and promotes it or rolls it back."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import structlog
from opentelemetry import metrics

from gateway.changes.canary import Action, Canary, Decision, Rules
from gateway.store.canaries import PROMOTED, ROLLED_BACK, WATCHED
from gateway.telemetry import Unheard
from gateway.xds.feed import Flavour
from meshkit.errors import MeshError


if TYPE_CHECKING:
    from collections.abc import Collection

    from gateway.changes.evidence import TelemetryEvidence
    from gateway.changes.hold import Hold
    from gateway.changes.receipts import Receipts
    from gateway.config import ConfigWriter
    from gateway.control import Control
    from gateway.store.canaries import CanaryRow, CanaryStore
    from gateway.xds.ads import Session

ACTOR: Final = "gateway/canary"
"""Who promotes and rolls back, in revisions and the audit log."""

TICK_S: Final = 0.25

log = structlog.get_logger()


class Canaries:
    """
    Every replica watches; the first to decide has decided, since it does so in the database.

    Args:
        sessions: The proxies connected here.

    """

    def __init__(
        self,
        store: CanaryStore,
        writer: ConfigWriter,
        control: Control,
        *,
        receipts: Receipts,
        sessions: Collection[Session],
        evidence: TelemetryEvidence,
    ) -> None:
        self._store = store
        self._writer = writer
        self._control = control
        self._receipts = receipts
        self._sessions = sessions
        self._evidence = evidence
        self._step = asyncio.Event()
        self._ended = metrics.get_meter("gateway").create_counter(
            "gateway.canaries.ended", description="Canaries that ended, by `state`"
        )

    async def run(self) -> None:
        """Watch until cancelled."""
        unwatch = self._receipts.watch(self._step.set)
        try:
            while True:
                await self._control.holds.wait()
                try:
                    await self._look()
                except MeshError as error:
                    log.warning("canary_unread", reason=error.reason)
                self._step.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(TICK_S):
                        await self._step.wait()
        finally:
            if unwatch is not None:
                unwatch()

    async def _look(self) -> None:
        hold = self._control.holding.hold
        row = await self._store.get(hold.last) if hold is not None else None
        if hold is None or row is None:
            return
        if row.state != WATCHED:
            if self._control.revision >= row.end_revision:
                self._control.release(hold, widen=row.state == PROMOTED)
            return
        canary = Canary(Rules(**row.rules), frozenset(row.edges), row.create_time.timestamp())
        acknowledged = self._take_receipts(canary, hold, row)
        decision = canary.decide(datetime.now(UTC).timestamp())
        if decision.action is not Action.ROLL_BACK:
            await self._take_evidence(canary, hold, row)
            decision = canary.decide(datetime.now(UTC).timestamp())
        await self._act(decision, hold, row, acknowledged)

    def _take_receipts(self, canary: Canary, hold: Hold, row: CanaryRow) -> set[str]:
        """Tell *canary* what its edges say; returns which of them have just acknowledged."""
        tracked = self._receipts.of(hold.last)
        for receipt in tracked.receipts.values() if tracked is not None else ():
            for one in receipt.refusals:
                canary.refused(receipt.node, f"{one.type} {one.resource}: {one.error}"[:500])
        here = {
            one.node_id
            for one in self._sessions
            if one.flavour is Flavour.EDGE
            and one.node_id in hold.edges
            and one.plan.acked_revision >= hold.last
        }
        for node in (*row.acknowledged, *here):
            canary.acknowledged(node)
        return here - set(row.acknowledged)

    async def _take_evidence(self, canary: Canary, hold: Hold, row: CanaryRow) -> None:
        try:
            canary.told(await self._evidence.ask(hold, row.create_time, datetime.now(UTC)))
        except Unheard as error:
            canary.untold(str(error))

    async def _act(
        self, decision: Decision, hold: Hold, row: CanaryRow, acknowledged: Collection[str]
    ) -> None:
        if decision.action is Action.WATCH:
            if acknowledged or decision.reason != row.reason:
                await self._store.note(hold.last, acknowledged, decision.reason)
                self._receipts.step()
            return
        state = PROMOTED if decision.action is Action.PROMOTE else ROLLED_BACK
        if await self._writer.end_canary(ACTOR, hold.last, state, decision.reason):
            self._ended.add(1, {"state": state})
            log.info("canary_ended", change=hold.last, state=state, reason=decision.reason)
        self._step.set()
