"""The server's end of a session, event by event."""

import pytest

from syncd import protocol
from syncd.model import Batch, Head, Mutation
from syncd.protocol import Read, SessionMachine, State


def machine(**changed):
    settings = {
        "subscriptions_max": 2,
        "batch_mutations_max": 3,
        "heartbeat_s": 15.0,
        "age_max_s": 100.0,
        "now": 0.0,
    }
    return SessionMachine(**{**settings, **changed})


def opened(*, head=5, key=7, name="s", cursor=(0, 0), session=None):
    session = session or welcomed()
    (asked,) = session.on_subscribe(name, *cursor)
    session.on_opened(asked, space_key=key, head=head, version=1)
    return session


def welcomed():
    session = machine()
    session.on_hello("d", "", 1)
    session.on_claimed("s-1", resumed=False)
    return session


def batch(count=1):
    mutation = Mutation(number=1, base_seq=0, hlc=0, operations=())
    return Batch(device="d", mutations=(mutation,) * count)


BEFORE_HELLO = {
    "subscribe": lambda session: session.on_subscribe("s", 0, 0),
    "unsubscribe": lambda session: session.on_unsubscribe(7),
    "push": lambda session: session.on_push(7, batch()),
}


@pytest.mark.parametrize("what", BEFORE_HELLO)
def test_nothing_comes_before_hello(what):
    session = machine()
    assert BEFORE_HELLO[what](session) == [protocol.Goodbye("HELLO_EXPECTED", come_back=False)]
    assert session.state is State.CLOSED


def test_a_second_hello_ends_the_session():
    assert welcomed().on_hello("d", "", 1) == [protocol.Goodbye("FRAME_INVALID", come_back=False)]


def test_goodbye_is_said_once_and_nothing_after_it():
    session = opened()
    first = session.close("SERVER_STOPPING", come_back=True)
    assert first == [protocol.Release(7), protocol.Goodbye("SERVER_STOPPING", come_back=True)]
    assert session.close("TAKEN_OVER") == []
    assert session.on_tick(1000.0) == []
    assert session.next_read() is None


@pytest.mark.parametrize(
    ("cursor", "read"),
    [
        ((0, 0), Read(7, 0, reset=False)),
        ((7, 3), Read(7, 3, reset=False)),
        ((7, 5), Read(7, 5, reset=False)),
        ((7, 6), Read(7, 0, reset=True)),
        ((6, 3), Read(7, 0, reset=True)),
    ],
    ids=["nothing yet", "behind", "up to date", "from the future", "another life"],
)
def test_a_cursor_is_taken_up_only_if_it_belongs_to_this_life(cursor, read):
    assert opened(cursor=cursor).next_read() == read


def test_whoever_is_up_to_date_is_sent_a_proof_once():
    session = opened(cursor=(7, 5))
    read = session.next_read()
    session.on_sent(read, 5, 99)
    assert session.next_read() is None
    session.on_head(7, 6, 1)
    assert session.next_read() == Read(7, 5, reset=False)


def test_a_slow_device_skips_to_the_newest_state():
    session = opened(cursor=(7, 5))
    session.on_sent(session.next_read(), 5, 99)
    for head in range(6, 100):
        session.on_head(7, head, 1)
    read = session.next_read()
    session.on_sent(read, 99, 99)
    assert read == Read(7, 5, reset=False)
    assert session.next_read() is None


def test_a_busy_space_takes_turns_with_the_others():
    session = opened(key=7, name="busy")
    opened(key=8, name="quiet", session=session)
    first = session.next_read()
    session.on_sent(first, 3, None)
    session.on_head(7, 50, 1)
    assert [first.space_key, session.next_read().space_key] == [7, 8]


def test_what_was_read_for_an_older_subscription_is_not_sent():
    session = opened(cursor=(7, 3))
    read = session.next_read()
    (asked,) = session.on_subscribe("s", 7, 1)
    effects = session.on_opened(asked, space_key=7, head=5, version=1)
    assert effects == [protocol.Release(7), protocol.Subscribed(7)]
    assert not session.wants(read)
    session.on_sent(read, 5, 99)
    assert session.next_read() == Read(7, 1, reset=False)


def test_too_many_spaces_are_refused_one_by_one():
    session = opened(key=7, name="one")
    opened(key=8, name="two", session=session)
    assert session.on_subscribe("three", 0, 0) == [
        protocol.Unsubscribed("three", "SPACES_TOO_MANY")
    ]
    assert session.on_subscribe("one", 0, 0) == [protocol.Open("one", 0, 0)]


def test_spaces_that_are_being_opened_count_too():
    session = welcomed()
    session.on_subscribe("one", 0, 0)
    (asked,) = session.on_subscribe("two", 0, 0)
    assert session.on_subscribe("three", 0, 0)[0].reason == "SPACES_TOO_MANY"
    session.on_not_opened(asked, "SPACE_NOT_FOUND")
    assert session.on_subscribe("three", 0, 0) == [protocol.Open("three", 0, 0)]


@pytest.mark.parametrize(
    ("key", "count", "reason"),
    [(8, 1, "SPACE_NOT_FOLLOWED"), (7, 0, "MUTATIONS_MISSING"), (7, 4, "BATCH_TOO_LARGE")],
)
def test_a_push_that_cannot_be_is_refused_and_the_session_goes_on(key, count, reason):
    session = opened()
    assert session.on_push(key, batch(count)) == [protocol.PushRefused(key, reason)]
    assert session.on_push(7, batch()) == [protocol.Apply(7, batch())]


def test_a_heartbeat_comes_when_nothing_else_did_and_proves_what_is_up_to_date():
    session = opened(cursor=(7, 5))
    session.on_sent(session.next_read(), 5, 99)
    session.said(10.0)
    assert session.wait_s(20.0) == 5.0
    assert session.on_tick(24.9) == []
    proof = Head(space_key=7, seq=5, state_hash=99)
    assert session.on_tick(25.0) == [protocol.Heartbeat((proof,))]


def test_an_old_stream_is_rotated():
    session = opened()
    session.said(99.0)
    assert session.wait_s(99.0) == 1.0
    assert session.on_tick(100.0)[-1] == protocol.Goodbye("SESSION_ROTATED", come_back=True)


def test_a_newer_version_of_the_space_is_told_once():
    session = opened()
    assert session.on_head(7, 5, 2) == [protocol.Subscribed(7)]
    assert session.on_head(7, 5, 2) == []


def test_a_space_that_opens_after_goodbye_is_let_go():
    session = welcomed()
    (asked,) = session.on_subscribe("s", 0, 0)
    session.close("TAKEN_OVER")
    assert session.on_opened(asked, space_key=7, head=5, version=1) == [protocol.Release(7)]
