"""Sessions over real streams: native and for browsers, resumed, ended and healed."""

import asyncio
import contextlib
import random
from datetime import timedelta

import grpc
import pytest

from aerofusion.sync.v1 import frames_pb2 as frames
from aerofusion.sync.v1 import space_pb2, space_service_pb2
from aerofusion.sync.v1 import sync_service_pb2 as contract
from syncd.app import serve
from syncd.settings import Settings
from tests.contract.syncd.conftest import (
    BOARD,
    PASSENGER,
    TENANT,
    Running,
    batch,
    create_board,
    reason,
    setting,
    started,
    token,
)


class Device:
    """The device's end of a native session."""

    def __init__(self, call):
        self.call = call

    async def say(self, **frame):
        await self.call.write(contract.SessionRequest(frame=frames.ClientFrame(**frame)))

    async def hear(self, kind):
        """The next frame, which must be of this kind."""
        response = await self.call.read()
        assert response is not grpc.aio.EOF, f"the stream ended instead of {kind}"
        assert response.frame.WhichOneof("frame") == kind, response
        return getattr(response.frame, kind)

    async def greet(self, device="phone-1", session_id=""):
        await self.say(hello=frames.Hello(device_id=device, session_id=session_id, protocol=1))
        return await self.hear("welcome")

    async def follow(self, space=BOARD, cursor=None):
        await self.say(subscribe=frames.Subscribe(space=space, cursor=cursor))
        return await self.hear("subscribed")


@contextlib.asynccontextmanager
async def session(syncd, metadata=PASSENGER, service="edge"):
    call = syncd.sync(service).Session(metadata=metadata)
    try:
        yield Device(call)
    finally:
        call.cancel()


async def push(syncd, *mutations, device="flightinfo-0"):
    request = contract.PushRequest(space=BOARD, device_id=device, batch=batch(*mutations))
    return (await syncd.sync().Push(request)).ack


async def test_a_change_reaches_a_following_device_as_a_few_bytes(syncd, flights):
    await push(syncd, setting(1, gate="A1", delay_minutes=0))
    async with session(syncd) as device:
        assert not (await device.greet()).resumed
        subscribed = await device.follow()
        assert (subscribed.space, subscribed.writable) == (BOARD, False)
        first = await device.hear("delta")
        assert (first.from_seq, first.to_seq) == (0, 1)
        ack = await push(syncd, setting(2, base_seq=1, delay_minutes=25))
        second = await device.hear("delta")
        assert (second.from_seq, second.to_seq) == (1, 2)
        assert second.state_hash == ack.head.state_hash
        assert list(frames.Columns.FromString(second.columns).integers) == [25]
        assert second.ByteSize() < 64


async def test_a_device_that_is_up_to_date_gets_a_proof_and_no_cells(syncd, flights):
    ack = await push(syncd, setting(1, gate="A1"))
    async with session(syncd) as device:
        await device.greet()
        await device.follow(cursor=frames.Cursor(space_key=flights.space_key, seq=1))
        delta = await device.hear("delta")
        assert (delta.from_seq, delta.to_seq, delta.columns) == (1, 1, b"")
        assert delta.state_hash == ack.head.state_hash


async def test_a_device_pushes_in_its_session_and_sees_its_own_change(syncd, flights):
    async with session(syncd, token("services/ops", "service")) as device:
        await device.greet()
        assert (await device.follow()).writable
        await device.hear("delta")
        request = frames.Push(space_key=flights.space_key, batch=batch(setting(1, gate="A1")))
        await device.say(push=request)
        heard = {}
        while len(heard) < 2:
            response = await device.call.read()
            heard[response.frame.WhichOneof("frame")] = response.frame
        assert heard["ack"].ack.results[0].seq == 1
        assert heard["ack"].ack.head.state_hash == heard["delta"].delta.state_hash


async def test_a_reader_s_push_is_refused_and_the_session_goes_on(syncd, flights):
    async with session(syncd) as device:
        await device.greet()
        await device.follow()
        await device.hear("delta")
        request = frames.Push(space_key=flights.space_key, batch=batch(setting(1, gate="A1")))
        await device.say(push=request)
        assert (await device.hear("refused")).reason == "ACCESS_DENIED"
        await push(syncd, setting(1, gate="A1"))
        assert (await device.hear("delta")).to_seq == 1


async def test_a_browser_listens_and_pushes_with_the_same_session_id(syncd, flights):
    operator = token("services/ops", "service")
    request = contract.ListenRequest(
        hello=frames.Hello(device_id="browser-1", protocol=1),
        subscriptions=[frames.Subscribe(space=BOARD)],
    )
    call = syncd.sync("edge").Listen(request, metadata=operator)
    device = Device(call)
    session_id = (await device.hear("welcome")).session_id
    await device.hear("subscribed")
    await device.hear("delta")
    answer = await syncd.sync("edge").Push(
        contract.PushRequest(
            space=BOARD,
            device_id="browser-1",
            session_id=session_id,
            batch=batch(setting(1, gate="A1")),
        ),
        metadata=operator,
    )
    heard = {}
    while len(heard) < 2:
        response = await call.read()
        heard[response.frame.WhichOneof("frame")] = response.frame
    assert heard["ack"].ack == answer.ack
    assert heard["delta"].delta.to_seq == 1
    call.cancel()


async def test_both_streams_carry_the_same_bytes(syncd, flights):
    await push(syncd, setting(1, gate="A1"))
    request = contract.ListenRequest(
        hello=frames.Hello(device_id="browser-1", protocol=1),
        subscriptions=[frames.Subscribe(space=BOARD)],
    )
    listening = Device(syncd.sync("edge").Listen(request, metadata=PASSENGER))
    for kind in ("welcome", "subscribed"):
        await listening.hear(kind)
    async with session(syncd) as native:
        await native.greet()
        await native.follow()
        assert await native.hear("delta") == await listening.hear("delta")
    listening.call.cancel()


async def test_a_session_is_taken_up_again_and_its_old_stream_ended(syncd, flights):
    async with session(syncd) as old, session(syncd) as new:
        first = await old.greet()
        second = await new.greet(session_id=first.session_id)
        assert (second.session_id, second.resumed) == (first.session_id, True)
        assert (await old.hear("goodbye")).reason == "TAKEN_OVER"


async def test_another_device_can_t_take_over_a_session(syncd, flights):
    async with session(syncd) as mine, session(syncd, token("passengers/p2", "passenger")) as other:
        first = await mine.greet()
        second = await other.greet("phone-2", session_id=first.session_id)
        assert not second.resumed
        assert second.session_id != first.session_id


MISUSE = {
    "HELLO_EXPECTED": frames.ClientFrame(subscribe=frames.Subscribe(space=BOARD)),
    "PROTOCOL_UNKNOWN": frames.ClientFrame(hello=frames.Hello(device_id="d", protocol=9)),
    "DEVICE_ID_INVALID": frames.ClientFrame(hello=frames.Hello(device_id="a b", protocol=1)),
    "FRAME_INVALID": frames.ClientFrame(),
}


@pytest.mark.parametrize("why", MISUSE)
async def test_misuse_ends_the_session_with_a_reason(syncd, why):
    async with session(syncd) as device:
        await device.call.write(contract.SessionRequest(frame=MISUSE[why]))
        goodbye = await device.hear("goodbye")
        assert goodbye.reason == why
        assert not goodbye.HasField("retry_after")
        assert await device.call.read() is grpc.aio.EOF


async def test_a_space_that_is_not_there_is_named_and_the_others_are_followed(syncd, flights):
    async with session(syncd) as device:
        await device.greet()
        await device.say(subscribe=frames.Subscribe(space=f"{TENANT}/spaces/nowhere"))
        assert (await device.hear("unsubscribed")).reason == "SPACE_NOT_FOUND"
        assert (await device.follow()).space_key == flights.space_key


async def test_a_listener_to_nothing_is_refused(syncd):
    request = contract.ListenRequest(hello=frames.Hello(device_id="d", protocol=1))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await syncd.sync("edge").Listen(request, metadata=PASSENGER).read()
    assert reason(caught.value) == "SUBSCRIPTIONS_INVALID"


async def test_a_deleted_space_is_followed_no_more(syncd, flights):
    async with session(syncd) as device:
        await device.greet()
        await device.follow()
        await device.hear("delta")
        await syncd.spaces().DeleteSpace(space_service_pb2.DeleteSpaceRequest(name=BOARD))
        assert (await device.hear("unsubscribed")).reason == "SPACE_DELETED"


async def test_whoever_loses_permission_gets_nothing_more(syncd, flights):
    async with session(syncd) as device:
        await device.greet()
        await device.follow()
        await device.hear("delta")
        changed = space_pb2.Space(
            name=BOARD,
            etag=flights.etag,
            access=space_pb2.AccessPolicy(reader_roles=["device"], writer_roles=["service"]),
        )
        await syncd.spaces().UpdateSpace(space_service_pb2.UpdateSpaceRequest(space=changed))
        assert (await device.hear("unsubscribed")).reason == "ACCESS_REVOKED"


async def test_a_new_field_is_told_before_its_first_value(syncd, flights):
    async with session(syncd) as device:
        await device.greet()
        await device.follow()
        await device.hear("delta")
        schema = flights.schema
        schema.fields.add(name="belt", type=space_pb2.VALUE_TYPE_STRING)
        changed = space_pb2.Space(name=BOARD, schema=schema)
        await syncd.spaces().UpdateSpace(space_service_pb2.UpdateSpaceRequest(space=changed))
        told = await device.hear("subscribed")
        assert (told.schema.version, told.schema.fields[-1].name) == (2, "belt")
        await push(syncd, setting(1, belt="7"))
        assert (await device.hear("delta")).to_seq == 1


async def test_a_silent_stream_carries_heartbeats_with_proofs(run_serve, ca, dsn):
    async with started(run_serve, ca, dsn, heartbeat=timedelta(seconds=0.1)) as syncd:
        await create_board(syncd)
        ack = await push(syncd, setting(1, gate="A1"))
        async with session(syncd) as device:
            await device.greet()
            await device.follow()
            await device.hear("delta")
            heartbeat = await device.hear("heartbeat")
            assert list(heartbeat.heads) == [ack.head]


async def test_a_stream_that_has_lasted_long_enough_is_rotated(run_serve, ca, dsn):
    short = timedelta(seconds=1)
    async with (
        started(run_serve, ca, dsn, session_age_max=short) as syncd,
        session(syncd) as device,
    ):
        await device.greet()
        goodbye = await device.hear("goodbye")
        assert goodbye.reason == "SESSION_ROTATED"
        assert goodbye.HasField("retry_after")


async def test_a_stopping_server_says_goodbye_and_when_to_come_back(run_serve, ca, dsn):
    settings = Settings(postgres_dsn=dsn)
    async with run_serve(serve, settings, workload=ca.workload("syncd")) as port:
        syncd = Running(ca, port)
        device = Device(syncd.sync("edge").Session(metadata=PASSENGER))
        await device.greet()
    goodbye = await device.hear("goodbye")
    assert (goodbye.reason, goodbye.HasField("retry_after")) == ("SERVER_STOPPING", True)
    await syncd.close()


async def test_two_replicas_tell_each_other_over_the_bus(run_serve, ca, dsn, nats_server):
    slow = {"poll": timedelta(seconds=60), "nats_url": nats_server.url}
    async with (
        started(run_serve, ca, dsn, **slow) as one,
        started(run_serve, ca, dsn, **slow) as other,
    ):
        await create_board(one)
        async with session(other) as device:
            await device.greet()
            await device.follow()
            await device.hear("delta")
            # Until both are connected a hint may be lost, so changes go on until one arrives.
            hearing = asyncio.ensure_future(device.hear("delta"))
            number = 0
            while not hearing.done():
                number += 1
                await push(one, setting(number, gate=f"A{number}"))
            assert (await hearing).to_seq >= 1


async def test_without_a_bus_a_poll_finds_what_another_replica_wrote(run_serve, ca, dsn):
    async with started(run_serve, ca, dsn) as one, started(run_serve, ca, dsn) as other:
        await create_board(one)
        async with session(other) as device:
            await device.greet()
            await device.follow()
            await device.hear("delta")
            await push(one, setting(1, gate="A1"))
            assert (await device.hear("delta")).to_seq == 1


async def test_a_slow_device_gets_one_merged_delta_instead_of_a_queue(syncd, flights):
    picture = random.Random(1).randbytes(60_000)
    async with session(syncd) as device:
        await device.greet()
        await device.follow()
        for number in range(1, 201):
            await push(syncd, setting(number, picture=picture + str(number).encode()))
        deltas = []
        while not deltas or deltas[-1].to_seq < 200:
            deltas.append(await device.hear("delta"))
        assert max(x.to_seq - x.from_seq for x in deltas) > 50, "what it didn't take was merged"
        assert [x.from_seq for x in deltas[1:]] == [x.to_seq for x in deltas[:-1]]
