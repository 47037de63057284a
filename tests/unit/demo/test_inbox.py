from datetime import UTC, datetime, timedelta
from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from aerofusion.notify.v1.inbox_service_pb2 import InboxMessage, WatchInboxResponse
from meshctl.demo.inbox import Came, Inbox, age_seconds
from meshctl.demo.presence import is_steady, spells
from tests.fixtures.day import calm


def message(seq):
    return WatchInboxResponse(message=InboxMessage(seq=seq), cursor=f"c{seq}")


def caught_up():
    return WatchInboxResponse(caught_up=WatchInboxResponse.CaughtUp(), cursor="c")


def opened(*answers):
    inbox = Inbox()
    inbox.connected()
    return inbox, [inbox.take(answer) for answer in answers]


def test_the_first_call_brings_the_backlog_then_what_is_live():
    _, came = opened(message(4), message(5), caught_up(), message(6))

    assert came == [Came.BACKLOG, Came.BACKLOG, None, Came.LIVE]


def test_after_an_interruption_what_was_missed_is_told_from_what_is_live():
    inbox, _ = opened(message(4), caught_up())

    inbox.connected()
    came = [inbox.take(answer) for answer in (message(5), message(6), caught_up(), message(7))]

    assert inbox.cursor == "c7"
    assert came == [Came.RESUMED, Came.RESUMED, None, Came.LIVE]


def test_a_message_that_changes_is_not_counted_again():
    _, came = opened(message(4), caught_up(), message(4), message(3))

    assert came[2:] == [Came.UPDATED, Came.UPDATED]


def test_a_lost_message_shows_until_it_comes():
    inbox, _ = opened(message(4), caught_up(), message(7))

    assert inbox.missing == {5, 6}

    inbox.take(message(5))
    assert inbox.missing == {6}


def test_a_reset_forgets_what_was_known():
    reset = WatchInboxResponse(reset=WatchInboxResponse.Reset(), cursor="r")
    inbox, _ = opened(message(4), caught_up(), message(9), reset, message(40))

    assert inbox.missing == set()
    assert inbox.newest == 40


@calm
@given(st.integers(min_value=1, max_value=50_000))
def test_messages_in_order_are_never_missing(first):
    inbox, _ = opened(*(message(first + n) for n in range(50)))

    assert inbox.missing == set()


def test_the_age_of_a_message_is_never_negative():
    now = datetime(2026, 1, 1, tzinfo=UTC)
    one = InboxMessage()
    one.create_time.FromDatetime(now - timedelta(seconds=3))

    assert age_seconds(one, lambda: now) == 3.0
    assert age_seconds(one, lambda: now - timedelta(seconds=9)) == 0.0


def test_some_devices_stay_and_some_come_and_go():
    steady = [is_steady(f"p{n}") for n in range(1, 21)]

    assert 0 < sum(steady) < 20


def test_spells_are_around_their_average_and_the_same_each_time():
    def first_hundred():
        return list(
            islice(spells("p1", online=timedelta(seconds=40), offline=timedelta(seconds=8)), 100)
        )

    found = first_hundred()
    assert found == first_hundred()
    for online, offline in found:
        assert timedelta(seconds=20) <= online <= timedelta(seconds=60)
        assert timedelta(seconds=4) <= offline <= timedelta(seconds=12)
    assert len(set(found)) == 100
