"""The device's end of a session: what it says when, and when it gives up on a stream."""

import pytest
from google.protobuf.duration_pb2 import Duration

from aerofusion.sync.v1 import frames_pb2 as frames
from aerofusion_client import Backoff
from aerofusion_client.protocol import ClientMachine, End, Phase, Save, Send
from aerofusion_client.replica import Replica
from aerofusion_client.space import setting


NAME = "tenants/t/spaces/s"


def machine(*, writes=0, writable=True):
    device = ClientMachine("d")
    device.follow(Replica(NAME))
    for _ in range(writes):
        write(device)
    device.on_connected(0.0)
    device.receive(
        frames.ServerFrame(
            welcome=frames.Welcome(session_id="s-1", heartbeat=Duration(seconds=10))
        ),
        0.0,
    )
    subscribed = frames.Subscribed(space=NAME, space_key=7, writable=writable)
    said = device.receive(frames.ServerFrame(subscribed=subscribed), 0.0)
    return device, said


def write(device):
    replica = device.links[NAME].replica
    replica.write([setting("UA1", {"gate": "A1"})], 1)


def pushes(effects):
    return [
        [mutation.number for mutation in effect.frame.push.batch.mutations]
        for effect in effects
        if isinstance(effect, Send) and effect.frame.HasField("push")
    ]


def ack(*numbers, seq=1):
    results = [
        frames.MutationResult(number=n, status=frames.MUTATION_STATUS_APPLIED, seq=seq)
        for n in numbers
    ]
    head = frames.Head(space_key=7, seq=seq)
    return frames.ServerFrame(ack=frames.PushAck(results=results, head=head))


def test_what_waited_is_pushed_as_soon_as_the_space_is_followed():
    _, said = machine(writes=3)
    assert pushes(said) == [[1, 2, 3]]


def test_one_batch_is_on_its_way_at_a_time():
    device, _ = machine(writes=1)
    write(device)
    assert device.on_written(NAME, 1.0) == []
    assert pushes(device.receive(ack(1), 2.0)) == [[2]]


def test_a_push_says_what_is_confirmed():
    device, _ = machine(writes=2)
    write(device)
    (sent,) = [e for e in device.receive(ack(1, 2), 2.0) if isinstance(e, Send)]
    assert sent.frame.push.batch.confirmed_through == 2


def test_what_was_not_answered_is_pushed_again_on_the_next_stream():
    device, _ = machine(writes=2)
    device.on_lost()
    device.on_connected(5.0)
    device.receive(frames.ServerFrame(welcome=frames.Welcome(session_id="s-1")), 5.0)
    subscribed = frames.Subscribed(space=NAME, space_key=7, writable=True)
    assert pushes(device.receive(frames.ServerFrame(subscribed=subscribed), 5.0)) == [[1, 2]]


def test_a_batch_is_bounded():
    _, said = machine(writes=150)
    assert [len(numbers) for numbers in pushes(said)] == [100]


def test_a_reader_pushes_nothing():
    _, said = machine(writes=1, writable=False)
    assert pushes(said) == []


def test_a_refused_push_is_repeated_when_it_may_be():
    device, _ = machine(writes=1)
    refused = frames.PushRefused(
        space_key=7, reason="POSTGRES_UNAVAILABLE", retry_after=Duration(seconds=2)
    )
    assert device.receive(frames.ServerFrame(refused=refused), 10.0) == []
    assert device.on_tick(11.9) == []
    assert device.wait_s(11.0) == 1.0
    assert pushes(device.on_tick(12.0)) == [[1]]


def test_a_push_refused_for_good_is_not_repeated():
    device, _ = machine(writes=1)
    refused = frames.PushRefused(space_key=7, reason="ACCESS_DENIED")
    device.receive(frames.ServerFrame(refused=refused), 10.0)
    assert device.on_tick(20.0) == []
    assert device.links[NAME].refused == "ACCESS_DENIED"


def test_a_space_that_is_not_there_is_asked_for_again_later():
    device, _ = machine()
    gone = frames.Unsubscribed(space=NAME, reason="SPACE_NOT_FOUND")
    device.receive(frames.ServerFrame(unsubscribed=gone), 10.0)
    assert device.on_tick(14.0) == []
    (again,) = device.on_tick(15.0)
    assert again.frame.subscribe.space == NAME


def test_a_silent_server_is_given_up_after_two_and_a_half_heartbeats():
    device, _ = machine()
    assert device.on_tick(24.9) == []
    assert device.on_tick(25.0) == [End("SILENT", None)]


def test_an_ack_that_never_comes_ends_the_stream():
    device, _ = machine(writes=1)
    device.receive(frames.ServerFrame(heartbeat=frames.Heartbeat()), 29.0)
    assert device.on_tick(30.0) == [End("ACK_MISSING", None)]


@pytest.mark.parametrize(
    ("goodbye", "end"),
    [
        (
            frames.Goodbye(reason="SERVER_STOPPING", retry_after=Duration(seconds=1)),
            End("SERVER_STOPPING", 1.0),
        ),
        (frames.Goodbye(reason="TAKEN_OVER"), End("TAKEN_OVER", None)),
    ],
)
def test_goodbye_says_when_to_come_back(goodbye, end):
    device, _ = machine()
    assert device.receive(frames.ServerFrame(goodbye=goodbye), 1.0) == [end]


def test_a_frame_of_a_newer_server_is_passed_over():
    device, _ = machine()
    assert device.receive(frames.ServerFrame(), 1.0) == []
    assert device.phase is Phase.LIVE


def test_columns_that_cannot_be_read_end_the_stream():
    device, _ = machine()
    broken = frames.Delta(space_key=7, to_seq=1, columns=b"\xff\xff", encoding=1)
    assert device.receive(frames.ServerFrame(delta=broken), 1.0) == [End("DELTA_INVALID", None)]


def test_a_copy_that_does_not_heal_is_fetched_less_and_less_often():
    device, _ = machine()
    wrong = frames.Delta(space_key=7, to_seq=1, encoding=1, state_hash=b"\x01" * 16)
    subscribed = frames.Subscribed(space=NAME, space_key=7, writable=True)
    first = device.receive(frames.ServerFrame(delta=wrong), 0.0)
    assert [type(effect) for effect in first] == [Save, Send]
    device.receive(frames.ServerFrame(subscribed=subscribed), 0.0)
    assert [type(e) for e in device.receive(frames.ServerFrame(delta=wrong), 0.0)] == [Save]
    assert device.links[NAME].subscribe_at == 4.0
    assert device.links[NAME].heals == 2


def test_the_wait_before_coming_back_grows_and_is_random():
    backoff = Backoff(first_s=1.0, factor=2.0, most_s=10.0)
    assert [backoff.delay_s(n, 0.5) for n in range(6)] == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
    assert backoff.delay_s(10_000, 0.0) == 0.0
