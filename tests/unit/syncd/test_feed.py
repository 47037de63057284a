"""What is read and encoded once for many, and how hints and polls find news."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from meshkit.errors import Unavailable
from syncd.feed import Feeds
from syncd.store.changes import changes_of
from tests.scenarios.syncd.simulator import KEY, Server


class Tables:
    """One space, whose reads are counted and can be held up."""

    def __init__(self):
        self.space = replace(Server().space(), head_seq=5)
        self.reads = 0
        self.looks = 0
        self.free = asyncio.Event()
        self.free.set()
        self.fault = None

    async def by_keys(self, keys):
        self.looks += 1
        if self.fault:
            raise self.fault
        return {KEY: self.space} if self.space and KEY in keys else {}

    async def after(self, space_key, seq):
        self.reads += 1
        await self.free.wait()
        return self.space, changes_of(self.space, after=seq, end=self.space.head_seq)


def feeds(tables, *, poll=60.0, cache_bytes_max=1000):
    return Feeds(
        tables,
        tables,
        lambda changes, reset: b"%d-%d%s" % (changes.from_seq, changes.to_seq, b"!" * reset),
        coalesce=timedelta(0),
        poll=timedelta(seconds=poll),
        cache_bytes_max=cache_bytes_max,
    )


async def test_a_thousand_sessions_at_one_place_cost_one_read():
    tables = Tables()
    followed = feeds(tables)
    followed.follow(tables.space, lambda: None)
    tables.free.clear()
    asking = [asyncio.ensure_future(followed.frame(KEY, 3, reset=False)) for _ in range(1000)]
    await asyncio.sleep(0)
    tables.free.set()
    frames = await asyncio.gather(*asking)
    assert {id(frame.data) for frame in frames} == {id(frames[0].data)}
    await followed.frame(KEY, 3, reset=False)
    assert tables.reads == 1


async def test_a_frame_that_ends_before_the_head_is_read_anew_merged():
    tables = Tables()
    followed = feeds(tables)
    followed.follow(tables.space, lambda: None)
    assert (await followed.frame(KEY, 3, reset=False)).data == b"3-5"
    tables.space = replace(tables.space, head_seq=9)
    followed.follow(tables.space, lambda: None)
    assert (await followed.frame(KEY, 3, reset=False)).data == b"3-9"
    assert tables.reads == 2


async def test_a_reset_is_another_frame():
    tables = Tables()
    followed = feeds(tables)
    plain = await followed.frame(KEY, 0, reset=False)
    assert plain.data != (await followed.frame(KEY, 0, reset=True)).data


async def test_whoever_asked_first_may_leave_without_taking_the_others_along():
    tables = Tables()
    followed = feeds(tables)
    tables.free.clear()
    first, second = (asyncio.ensure_future(followed.frame(KEY, 3, reset=False)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    tables.free.set()
    assert (await second).data == b"3-5"
    assert tables.reads == 1


async def test_the_cache_is_bounded_by_bytes():
    tables = Tables()
    followed = feeds(tables, cache_bytes_max=6)
    for after in (0, 1, 2, 0):
        await followed.frame(KEY, after, reset=False)
    assert tables.reads == 4, "three bytes each: the first had to go"


async def woken(tables, followed, cause):
    wake = asyncio.Event()
    feed = followed.follow(tables.space, wake.set)
    wake.clear()
    watching = asyncio.ensure_future(followed.watch())
    cause()
    await wake.wait()
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    return feed


async def test_a_hint_makes_the_watcher_look_and_wake():
    tables = Tables()
    followed = feeds(tables)

    def cause():
        tables.space = replace(tables.space, head_seq=6)
        followed.hint(KEY)

    assert (await woken(tables, followed, cause)).head == 6


async def test_a_poll_finds_what_no_hint_told():
    tables = Tables()
    followed = feeds(tables, poll=0.01)

    def cause():
        tables.space = replace(tables.space, head_seq=6)

    assert (await woken(tables, followed, cause)).head == 6


async def test_a_space_that_is_gone_wakes_too():
    tables = Tables()
    followed = feeds(tables)
    known = tables.space

    def cause():
        tables.space = None
        followed.hint(KEY)

    wake = asyncio.Event()
    feed = followed.follow(known, wake.set)
    watching = asyncio.ensure_future(followed.watch())
    wake.clear()
    cause()
    await wake.wait()
    watching.cancel()
    assert feed.gone


async def test_the_watcher_outlives_a_database_that_is_away():
    tables = Tables()
    followed = feeds(tables, poll=0.01)
    tables.fault = Unavailable("POSTGRES_UNAVAILABLE", "away")

    def cause():
        followed.hint(KEY)
        asyncio.get_running_loop().call_later(0.05, come_back)

    def come_back():
        tables.fault = None
        tables.space = replace(tables.space, head_seq=6)

    assert (await woken(tables, followed, cause)).head == 6
    assert tables.looks > 1


async def test_whoever_leaves_is_woken_no_more():
    tables = Tables()
    followed = feeds(tables)
    woken = []
    wake = lambda: woken.append(1)  # noqa: E731
    followed.follow(tables.space, wake)
    followed.leave(KEY, wake)
    followed.leave(KEY, wake)
    assert followed.get(KEY) is None
    followed.hint(KEY)
    assert woken == []


async def test_a_read_that_fails_fails_for_all_who_wait_and_is_tried_again():
    tables = Tables()
    followed = feeds(tables)
    tables.free.clear()

    async def broken(space_key, seq):
        raise Unavailable("POSTGRES_UNAVAILABLE", "away")

    good, tables.after = tables.after, broken
    for _ in range(2):
        with pytest.raises(Unavailable):
            await followed.frame(KEY, 3, reset=False)
    tables.after = good
    tables.free.set()
    assert (await followed.frame(KEY, 3, reset=False)).to_seq == 5
