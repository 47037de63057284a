"""The live inbox: nothing is missed, whatever happens to the stream."""

import asyncio
import contextlib
from dataclasses import replace
from datetime import timedelta

import grpc
import pytest

from aerofusion.notify.v1 import inbox_service_pb2 as pb
from aerofusion.notify.v1 import recipient_service_pb2 as recipient_pb
from tests.contract.notifier.conftest import TENANT, WITHIN_S
from tests.contract.notifier.test_intake import refused


ADA = f"{TENANT}/recipients/ada"


class Device:
    """What an app does with the stream: keeps each message as it last came, and the cursor."""

    def __init__(self) -> None:
        self.messages: dict[str, pb.InboxMessage] = {}
        self.cursor = ""
        self.events: list[str] = []

    def take(self, answer: pb.WatchInboxResponse) -> str:
        event = answer.WhichOneof("event")
        self.events.append(event)
        if event == "message":
            self.messages[answer.message.name] = answer.message
        if event == "reset":
            self.messages.clear()
        self.cursor = answer.cursor
        return event

    async def follow(self, call, until) -> None:
        async with asyncio.timeout(WITHIN_S):
            while not until(self):
                answer = await call.read()
                assert answer is not grpc.aio.EOF, "the stream ended"
                self.take(answer)

    def watch(self, client, **asked):
        request = pb.WatchInboxRequest(parent=ADA, cursor=self.cursor, **asked)
        return client.inbox.WatchInbox(request)


def seqs(device: Device) -> list[int]:
    return sorted(m.seq for m in device.messages.values())


@pytest.fixture
async def ada(client):
    await client.add_template()
    await client.add_recipient("ada", channels=["inapp"])
    return client


async def tell(client, number: int) -> None:
    for _ in range(number):
        await client.settled((await client.notify("ada")).name)


async def test_messages_come_live_and_a_silent_stream_beats(ada):
    device = Device()
    call = device.watch(ada)
    await device.follow(call, lambda d: "caught_up" in d.events)

    await tell(ada, 2)
    await device.follow(call, lambda d: len(d.messages) == 2)
    await device.follow(call, lambda d: d.events[-1] == "heartbeat")

    assert seqs(device) == [1, 2]
    call.cancel()


async def test_a_stream_resumes_behind_its_cursor_without_gap_or_repeat(ada):
    device = Device()
    await tell(ada, 2)
    call = device.watch(ada)
    await device.follow(call, lambda d: "caught_up" in d.events)
    call.cancel()
    await tell(ada, 3)

    device.events.clear()
    call = device.watch(ada)
    await device.follow(call, lambda d: "caught_up" in d.events)
    call.cancel()

    assert device.events == ["message"] * 3 + ["caught_up"]
    assert seqs(device) == [1, 2, 3, 4, 5]


async def test_reading_on_one_device_shows_on_the_other(ada):
    await tell(ada, 2)
    device = Device()
    call = device.watch(ada)
    await device.follow(call, lambda d: "caught_up" in d.events)

    answer = await ada.inbox.MarkRead(pb.MarkReadRequest(parent=ADA, names=[f"{ADA}/messages/1"]))
    await device.follow(call, lambda d: d.messages[f"{ADA}/messages/1"].HasField("read_time"))
    call.cancel()
    all_read = await ada.inbox.MarkRead(pb.MarkReadRequest(parent=ADA, through_seq=99))

    assert answer.unread_count == 1
    assert all_read.unread_count == 0


async def test_a_superseded_message_tells_its_device_so(ada):
    device = Device()
    call = device.watch(ada)
    for version in (1, 2):
        made = await ada.notify("ada", subject_key="gate", subject_version=version)
        await ada.settled(made.name)

    await device.follow(call, lambda d: any(m.superseded for m in d.messages.values()))
    await device.follow(call, lambda d: len(d.messages) == 2)
    call.cancel()

    shown = [m for m in device.messages.values() if not m.superseded]
    assert [m.subject_version for m in shown] == [2]


async def test_a_list_and_a_stream_join_without_a_seam(ada):
    await tell(ada, 3)
    listed = await ada.messages("ada", page_size=2)
    rest = await ada.messages("ada", page_size=2, page_token=listed.next_page_token)
    await tell(ada, 1)

    device = Device()
    device.cursor = listed.cursor
    call = device.watch(ada)
    await device.follow(call, lambda d: "caught_up" in d.events)
    call.cancel()

    assert [m.seq for m in (*listed.messages, *rest.messages)] == [3, 2, 1]
    assert seqs(device) == [4]


async def test_an_inbox_made_anew_resets_its_devices(ada):
    await tell(ada, 2)
    device = Device()
    call = device.watch(ada)
    await device.follow(call, lambda d: "caught_up" in d.events)
    call.cancel()
    await ada.recipients.DeleteRecipient(recipient_pb.DeleteRecipientRequest(name=ADA))
    await ada.add_recipient("ada", channels=["inapp"])
    await tell(ada, 1)

    device.events.clear()
    call = device.watch(ada)
    await device.follow(call, lambda d: "caught_up" in d.events)
    call.cancel()

    assert device.events == ["reset", "message", "caught_up"]
    assert seqs(device) == [1]


async def test_a_backlog_is_as_long_as_asked_for_and_no_longer(ada):
    await tell(ada, 4)
    device = Device()

    call = device.watch(ada, backlog_max=2)
    await device.follow(call, lambda d: "caught_up" in d.events)
    call.cancel()

    assert seqs(device) == [3, 4]


@pytest.mark.parametrize("cursor", ["%%%", "bm90IGpzb24", "WyJhIiwtMV0", "WzEsMl0"])
async def test_a_foreign_cursor_is_refused(ada, cursor):
    async def read():
        call = ada.inbox.WatchInbox(pb.WatchInboxRequest(parent=ADA, cursor=cursor))
        await call.read()

    code, reason, _ = await refused(read())

    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_CURSOR")


async def test_an_unknown_inbox_is_not_found(client):
    async def read():
        await client.inbox.WatchInbox(pb.WatchInboxRequest(parent=ADA)).read()

    code, reason, _ = await refused(read())

    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "RECIPIENT_NOT_FOUND")


async def test_more_streams_than_allowed_are_refused_with_a_time_to_come_back(start, settings):
    async with start(replace(settings, streams_max=1)) as client:
        await client.add_recipient("ada", channels=["inapp"])
        first = client.inbox.WatchInbox(pb.WatchInboxRequest(parent=ADA))
        await first.read()

        async def read():
            await client.inbox.WatchInbox(pb.WatchInboxRequest(parent=ADA)).read()

        code, reason, _ = await refused(read())
        first.cancel()

    assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS")


async def test_an_old_stream_ends_well_and_goes_on_with_its_cursor(start, settings):
    async with start(replace(settings, stream_age=timedelta(seconds=1))) as client:
        await client.add_template()
        await client.add_recipient("ada", channels=["inapp"])
        device = Device()
        call = device.watch(client)
        async with asyncio.timeout(WITHIN_S):
            async for answer in call:
                device.take(answer)
        await tell(client, 1)
        again = device.watch(client)
        await device.follow(again, lambda d: len(d.messages) == 1)
        again.cancel()

    assert await call.code() == grpc.StatusCode.OK


async def test_streams_end_at_once_when_the_server_stops(run_serve, start, settings):
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(
            start(replace(settings, shutdown_grace=timedelta(seconds=60)))
        )
        await client.add_recipient("ada", channels=["inapp"])
        call = client.inbox.WatchInbox(pb.WatchInboxRequest(parent=ADA))
        await call.read()
        # Leaving stops the server, and would fail after 15 s if it waited for the stream.
    assert call.done() or await call.code() is not None
