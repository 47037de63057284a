"""InboxService."""

# ruff: noqa: N802 - methods have the names of the contract

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from aerofusion.notify.v1 import inbox_service_pb2 as pb
from aerofusion.notify.v1 import inbox_service_pb2_grpc as stubs
from meshkit.paging import next_token, page_size, read_token
from notifier import names
from notifier.inbox_stream import CaughtUp, Cursor, Heartbeat, InboxStream, Reset
from notifier.services.owners import check_owner
from notifier.services.wire import Problems, timestamp
from notifier.store.inbox import InboxMessage


if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta

    from notifier.hub import Hub
    from notifier.store.inbox import InboxStore
    from notifier.wakes import Wakes

    Context = Any

READ_NAMES_MAX = 500


class InboxService(stubs.InboxServiceServicer):
    """
    Args:
    stopping: Set when the server drains: streams end at once.
    chance: From 0 up to 1; streams don't all end at the same age.

    """

    def __init__(
        self,
        store: InboxStore,
        hub: Hub,
        wakes: Wakes,
        *,
        stopping: asyncio.Event,
        heartbeat: timedelta,
        stream_age: timedelta,
        clock: Callable[[], datetime],
        chance: Callable[[], float],
    ) -> None:
        self._store = store
        self._hub = hub
        self._wakes = wakes
        self._stopping = stopping
        self._heartbeat_s = heartbeat.total_seconds()
        self._age_s = stream_age.total_seconds()
        self._clock = clock
        self._chance = chance

    async def WatchInbox(  # type: ignore[override]
        self, request: pb.WatchInboxRequest, context: Context
    ) -> None:
        tenant, recipient = names.read("parent", request.parent, "recipients")
        check_owner(tenant, recipient)
        cursor = Cursor.read(request.cursor)
        backlog = page_size(request.backlog_max)
        owner = (tenant, recipient)
        with self._hub.watch(owner) as watch:
            stream = InboxStream(self._store, owner, watch, cursor=cursor, backlog=backlog)
            end = asyncio.get_running_loop().time() + self._age_s * (1 + self._chance() / 5)
            stopping = asyncio.ensure_future(self._stopping.wait())
            try:
                while not self._stopping.is_set() and asyncio.get_running_loop().time() < end:
                    for event, place in await stream.read():
                        await context.write(_event(event, place))
                    if stream.caught_up and not await self._news(watch.changed, stopping):
                        await context.write(_event(Heartbeat(), stream.cursor))
            finally:
                stopping.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await stopping

    async def ListInboxMessages(
        self, request: pb.ListInboxMessagesRequest, context: Context
    ) -> pb.ListInboxMessagesResponse:
        tenant, recipient = names.read("parent", request.parent, "recipients")
        check_owner(tenant, recipient)
        limit = page_size(request.page_size)
        asked = (request.parent, request.unread_only)
        before = read_token(request.page_token, *asked)
        found, unread, head = await self._store.page(
            (tenant, recipient),
            before=int(before) if before.isdigit() else 0,
            unread_only=request.unread_only,
            limit=limit + 1,
        )
        more = len(found) > limit
        found = found[:limit]
        return pb.ListInboxMessagesResponse(
            messages=[to_proto(one) for one in found],
            next_page_token=next_token(str(found[-1].seq), *asked) if more else "",
            unread_count=unread,
            cursor=Cursor(head.epoch, head.change_seq).encode(),
        )

    async def MarkRead(self, request: pb.MarkReadRequest, context: Context) -> pb.MarkReadResponse:
        tenant, recipient = names.read("parent", request.parent, "recipients")
        check_owner(tenant, recipient)
        problems = Problems()
        if len(request.names) > READ_NAMES_MAX:
            problems.add("names", f"at most {READ_NAMES_MAX}")
        if request.through_seq < 0:
            problems.add("through_seq", "must not be negative")
        seqs = []
        for name in request.names[:READ_NAMES_MAX]:
            prefix, _, seq = name.rpartition("/messages/")
            if prefix != request.parent or not seq.isdigit() or len(seq) > 18:
                problems.add("names", f"must be {request.parent}/messages/{{seq}}")
                continue
            seqs.append(int(seq))
        problems.raise_if_any("INVALID_MESSAGES", "The request")
        owner = (tenant, recipient)
        unread, changed = await self._store.mark_read(
            owner, seqs, through=request.through_seq, now=self._clock()
        )
        if changed:
            self._wakes.inboxes([owner])
        return pb.MarkReadResponse(unread_count=unread)

    async def _news(self, changed: asyncio.Event, stopping: asyncio.Future[Any]) -> bool:
        """Wait for a change or the end, at most until a heartbeat is due; False if it is."""
        waiting = asyncio.ensure_future(changed.wait())
        try:
            done, _ = await asyncio.wait(
                {waiting, stopping},
                timeout=self._heartbeat_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            waiting.cancel()
        return bool(done)


def to_proto(m: InboxMessage) -> pb.InboxMessage:
    return pb.InboxMessage(
        name=names.message_name(m.tenant, m.recipient, m.seq),
        seq=m.seq,
        title=m.title,
        text=m.text,
        html=m.html,
        action_url=m.action_url,
        category=int(m.category),  # type: ignore[arg-type]
        locale=m.locale,
        subject_key=m.subject_key,
        subject_version=m.subject_version,
        superseded=m.superseded,
        create_time=timestamp(m.create_time),
        read_time=timestamp(m.read_time),
        useless_after=timestamp(m.useless_after),
        notification=names.notification_name(m.tenant, m.notification),
        labels=m.labels,
    )


def _event(
    event: InboxMessage | Heartbeat | CaughtUp | Reset, cursor: Cursor
) -> pb.WatchInboxResponse:
    made = pb.WatchInboxResponse(cursor=cursor.encode())
    match event:
        case InboxMessage():
            made.message.CopyFrom(to_proto(event))
        case Heartbeat():
            made.heartbeat.SetInParent()
        case CaughtUp():
            made.caught_up.SetInParent()
        case Reset():
            made.reset.SetInParent()
    return made
