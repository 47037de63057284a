"""What became of changes: the gRPC service."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING, Any, Final

from aerofusion.gateway.v1 import change_service_pb2 as rpc
from aerofusion.gateway.v1 import change_service_pb2_grpc
from gateway.changes import blame
from gateway.store.canaries import PROMOTED, WATCHED
from meshkit.errors import InvalidInput, NotFound, Overloaded


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection
    from datetime import datetime

    from gateway.changes.receipts import Receipt, Receipts, Tracked
    from gateway.model import Catalog
    from gateway.store.catalog import CatalogStore
    from gateway.store.rows import ChangeMade
    from gateway.xds.ads import Session
    from gateway.xds.feed import Feed

    Context = Any

SERVICE: Final = "aerofusion.gateway.v1.ChangeService"
WATCH_S: Final = 600.0
OBJECTS_MAX: Final = 1_000
ERROR_LENGTH_MAX: Final = 1_000
REFUSALS_MAX: Final = 100

_NAME = re.compile(r"changes/([1-9][0-9]{0,17})")
_STATES: Final = {
    "watched": rpc.Change.STATE_CANARY,
    "rolled_back": rpc.Change.STATE_ROLLED_BACK,
}


class ChangeService(change_service_pb2_grpc.ChangeServiceServicer):
    """Changes, their receipts, and the proxies, for operators."""

    def __init__(
        self,
        store: CatalogStore,
        receipts: Receipts,
        feed: Feed,
        *,
        sessions: Collection[Session],
        catalog: Callable[[], Catalog],
        checked: Callable[[], int],
    ) -> None:
        """*checked* returns the newest revision that has passed the preflight."""
        self._store = store
        self._receipts = receipts
        self._feed = feed
        self._sessions = sessions
        self._catalog = catalog
        self._checked = checked

    async def GetChange(  # noqa: N802
        self, request: rpc.GetChangeRequest, context: Context
    ) -> rpc.GetChangeResponse:
        return rpc.GetChangeResponse(change=self._change(await self._made(request.name)))

    async def WatchChange(  # noqa: N802
        self, request: rpc.WatchChangeRequest, context: Context
    ) -> AsyncIterator[rpc.WatchChangeResponse]:
        made = await self._made(request.name)
        wake = asyncio.Event()
        unwatch = self._receipts.watch(wake.set)
        if unwatch is None:
            raise Overloaded(
                "TOO_MANY_WATCHERS", "As many follow changes as this replica takes; try later."
            )
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WATCH_S):
                    async for change in self._steps(made, wake):
                        yield rpc.WatchChangeResponse(change=change)
        finally:
            unwatch()

    async def ListEdges(  # noqa: N802
        self, request: rpc.ListEdgesRequest, context: Context
    ) -> rpc.ListEdgesResponse:
        sessions = sorted(self._sessions, key=lambda one: (one.node_id, one.connect_time))
        return rpc.ListEdgesResponse(edges=[self._edge(one) for one in sessions])

    async def _made(self, name: str) -> ChangeMade:
        match = _NAME.fullmatch(name)
        if match is None:
            raise InvalidInput(
                "INVALID_NAME",
                "A change has the name changes/{revision}.",
                field_violations={"name": "not the name of a change"},
            )
        made = await self._store.change_of(int(match[1]))
        if made is None:
            raise NotFound("CHANGE_NOT_FOUND", f"There is no {name}.", name=name)
        return made

    async def _steps(self, made: ChangeMade, wake: asyncio.Event) -> AsyncIterator[rpc.Change]:
        """Yield the change as it stands, and again whenever that differs, until it is done."""
        shown = rpc.Change()
        while True:
            wake.clear()
            if made.canary == WATCHED:
                made = await self._made(f"changes/{made.last}")  # Has it ended?
            tracked = self._receipts.of(made.last)
            published = tracked is not None or made.last <= self._checked()
            done = published and (tracked is None or not self._receipts.pending(tracked))
            held = tracked is not None and tracked.held and made.canary == PROMOTED
            done = done and made.canary != WATCHED and not held
            change = self._change(made)
            if change != shown:
                shown = change
                yield change
            if done:
                return
            await wake.wait()
            made = await self._store.change_of(made.last) or made

    def _change(self, made: ChangeMade) -> rpc.Change:
        tracked = self._receipts.of(made.last)
        change = rpc.Change(
            name=f"changes/{made.last}",
            first_revision=made.first,
            revision=made.last,
            actor=made.actor,
            objects=made.objects[:OBJECTS_MAX],
            state=self._state(made, tracked),
            reason=made.reason,
        )
        change.create_time.FromDatetime(made.create_time)
        if tracked is not None:
            for _, receipt in sorted(tracked.receipts.items()):
                change.receipts.append(self._receipt(receipt, made))
        return change

    def _state(self, made: ChangeMade, tracked: Tracked | None) -> rpc.Change.State.ValueType:
        if made.canary == PROMOTED and tracked is not None and tracked.held:
            return rpc.Change.STATE_CANARY  # This replica's others are about to get it.
        if made.canary in _STATES:
            return _STATES[made.canary]
        if tracked is None:
            if made.last > self._checked():
                return rpc.Change.STATE_PREFLIGHT
            return rpc.Change.STATE_ACTIVE
        if any(one.refusals for one in tracked.receipts.values()):
            return rpc.Change.STATE_REJECTED
        if self._receipts.pending(tracked):
            return rpc.Change.STATE_ROLLING_OUT
        return rpc.Change.STATE_ACTIVE

    def _receipt(self, receipt: Receipt, made: ChangeMade) -> rpc.Receipt:
        message = rpc.Receipt(
            node=receipt.node,
            unaffected=receipt.unaffected,
            refusals=[
                self._refusal(one.type, one.resource, one.error, made.objects)
                for one in receipt.refusals
            ],
        )
        for field in ("send_time", "acknowledge_time", "warm_time", "serve_time"):
            time: datetime | None = getattr(receipt, field)
            if time is not None:
                getattr(message, field).FromDatetime(time)
        return message

    def _refusal(
        self, kind: str, resource: str, error: str, objects: tuple[str, ...]
    ) -> rpc.Refusal:
        return rpc.Refusal(
            object=blame.object_of(kind, resource, self._catalog(), objects),
            field=blame.field_of(error),
            type=kind,
            resource=resource,
            error=error[:ERROR_LENGTH_MAX],
        )

    def _edge(self, session: Session) -> rpc.Edge:
        message = rpc.Edge(
            node=session.node_id,
            peer=session.peer,
            flavour=session.flavour.value,
            user_agent=session.user_agent,
            revision=session.plan.acked_revision,
            refusals=[
                self._refusal(
                    one.refusal.kind.key, one.refusal.resource.name, one.refusal.error, ()
                )
                for one in self._feed.verdicts[session.flavour].refused()[:REFUSALS_MAX]
                if one.node_id == session.node_id
            ],
        )
        message.connect_time.FromDatetime(session.connect_time)
        return message
