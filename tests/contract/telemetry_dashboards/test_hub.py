"""The hub behind WatchRange: what many watch is evaluated once, and only where something came."""

import asyncio

import numpy as np
import pytest

from meshkit.errors import Overloaded
from telemetry.dashboards.hub import Hub, HubLimits, Key
from telemetry.head.extract import Columns
from telemetry.head.head import Head
from telemetry.promql.labels import make
from telemetry.query.queries import Queries
from telemetry.store.reader import Reader
from telemetry.store.sessions import Sessions


pytestmark = pytest.mark.timeout(240)  # The first start on a machine compiles.


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
