"""WatchRange: first the whole, then only what is new."""

import asyncio
import contextlib
import time

import grpc
import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration

from aerofusion.telemetry.v1 import dashboard_service_pb2 as rpc
from meshkit.errors import Overloaded
from meshkit.status import from_rpc_error
from telemetry.dashboards.hub import Hub, HubLimits, Key
from telemetry.head.extract import Columns
from telemetry.head.head import Head
from telemetry.promql.labels import make
from telemetry.query.queries import Queries
from telemetry.store.reader import Reader
from telemetry.store.sessions import Sessions


pytestmark = pytest.mark.timeout(240)  # The first start on a machine compiles.


def seconds(number):
    return Duration(seconds=number)


@contextlib.asynccontextmanager
async def watching(service, *queries, **options):
    call = service.dashboards.WatchRange(
        rpc.WatchRangeRequest(queries=queries, step=seconds(1), range=seconds(60), **options)
    )
    try:
        yield call
    finally:
        call.cancel()


async def until(call, wanted, within_s=60):
    """The first update that is as wanted."""
    async with asyncio.timeout(within_s):
        async for message in call:
            for update in message.updates:
                if wanted(update):
                    return update
    raise AssertionError("the stream has ended")


def values(update):
    return [value for one in (*update.series, *update.newest) for value in one.values]


async def test_the_whole_range_comes_first_and_then_only_what_is_new(running):
    async with running() as service:
        now = time.time_ns()
        for back in range(30, 0, -1):
            await service.send("lanes", back, at_ns=now - back * 10**9)
        await service.found("lanes")
        async with watching(service, "lanes") as call:
            first = await until(call, lambda update: True)
            assert first.full
            assert sum(len(one.values) for one in first.series) >= 25

            following = await until(call, lambda update: update.series)
            assert not following.full
            assert sum(len(one.values) for one in following.series) < 40


async def test_a_sample_is_told_as_soon_as_it_is_acknowledged(running):
    async with running() as service:
        await service.send("lanes", 1)
        async with watching(service, "lanes") as call:
            await until(call, lambda update: 1 in values(update))
            await service.send("lanes", 1234)

            assert await until(call, lambda update: 1234 in values(update))


async def test_a_query_that_cannot_be_read_is_refused(running):
    async with running() as service, watching(service, "up", "1+") as call:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()

    assert from_rpc_error(caught.value).reason == "QUERY_INVALID"


async def test_a_query_without_an_answer_says_so_and_goes_on(running):
    async with running() as service:
        await service.send("a", 1)
        query = 'label_replace(a, "__name__", "", "", "") + on() group_left() (a or label_replace(a, "x", "y", "", ""))'
        async with watching(service, query, "a") as call:
            found = await until(call, lambda update: update.query == 0 and update.problem)
            assert "QUERY_FAILED" in found.problem
            assert await until(call, lambda update: update.query == 1 and 1 in values(update))


async def test_a_range_of_too_many_steps_is_refused(running):
    async with running() as service:
        call = service.dashboards.WatchRange(
            rpc.WatchRangeRequest(queries=["up"], step=seconds(1), range=seconds(2001))
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()

    assert from_rpc_error(caught.value).reason == "INVALID_FIELD"


@pytest.fixture
async def queries(tmp_path):
    async with Sessions.open(tmp_path / "store") as sessions:
        asked = Queries(Reader(sessions))
        yield asked
        asked.close()


async def test_equal_queries_of_many_watchers_are_evaluated_for_all_at_once(queries):
    hub = Hub(queries, clock=lambda: 1_000_000 * 10**9)
    key = Key("", "vector(1)", 1000, 60_000)
    followers = [hub.follow([key]) for _ in range(100)]
    running = asyncio.ensure_future(hub.run())
    try:
        async with asyncio.timeout(20):
            first = await asyncio.gather(*(anext(one) for one in followers))
        assert all(updates[0].full for updates in first)
        assert len(first[0][0].series[0].values) == 61
        assert 1 <= hub.evaluations <= 2  # the whole range, and what is newest
    finally:
        running.cancel()
        for one in followers:
            await one.aclose()


async def test_queries_beyond_the_bound_are_refused(queries):
    hub = Hub(queries, limits=HubLimits(watches_max=1))
    follower = hub.follow([Key("", "a", 1000, 60_000), Key("", "b", 1000, 60_000)])
    with pytest.raises(Overloaded) as caught:
        await anext(follower)

    assert caught.value.reason == "TOO_MANY_WATCHES"


async def test_only_queries_whose_samples_have_come_are_evaluated_between_steps(tmp_path):
    hour_ms = 3_600_000
    now = 1_000_000 * hour_ms + 60_000
    head = Head(1 << 20)
    for number, name in enumerate(("lanes", "gates")):
        head.name((1, number + 1), "", make({"__name__": name}))
    head.begin(now - hour_ms)
    async with Sessions.open(tmp_path / "store") as sessions:
        asked = Queries(Reader(sessions), head=head)
        hub = Hub(asked, news=head.news, clock=lambda: now * 1_000_000)
        following = hub.follow([Key("", name, hour_ms, hour_ms) for name in ("lanes", "gates")])
        running = asyncio.ensure_future(hub.run())
        try:
            async with asyncio.timeout(60):
                await told(following, head, now, {0: 1.0, 1: 2.0})
                before = hub.evaluations
                await told(following, head, now, {0: 3.0})
                assert hub.evaluations == before + 1
                await told(following, head, now, {1: 4.0})
                assert hub.evaluations == before + 2
        finally:
            running.cancel()
            await following.aclose()
            asked.close()


async def told(following, head, now, values_of):
    """Give samples to series by their numbers, and wait until each was told."""
    head.take(
        Columns(
            ids=np.array(list(values_of), np.uint64) + np.uint64(1),
            ts_ms=np.full(len(values_of), now),
            values=np.array(list(values_of.values())),
        )
    )
    missing = dict(values_of)
    async for updates in following:
        for one in updates:
            if missing.get(one.query) in [float(v) for p in one.newest for v in p.values]:
                del missing[one.query]
        if not missing:
            return
