"""What some edges have first is held back from the others, over restarts and on every replica."""

from datetime import timedelta

import pytest

from gateway import model
from gateway.changes.receipts import Receipts
from gateway.compile.options import EdgeOptions
from gateway.control import Control
from gateway.store.canaries import PROMOTED, CanaryStore
from gateway.store.catalog import CatalogStore
from gateway.xds.feed import Feed, Flavour
from meshkit.postgres import migrate, open_pool


@pytest.fixture
async def replica(postgres):
    """Starts replicas of the gateway's core on one database."""
    async with open_pool(await postgres.database("gateway"), application_name="test") as pool:
        await migrate(pool, "gateway.store.migrations")

        async def start():
            feed = Feed()
            control = Control(
                CatalogStore(pool),
                feed,
                EdgeOptions(),
                receipts=Receipts(),
                poll=timedelta(seconds=60),
                canaries=CanaryStore(pool),
            )
            await control.start()
            return CatalogStore(pool), control, feed

        yield start


def service(name, identity):
    return model.Service(name=f"services/{name}", identity=identity)


def served(feed, node):
    clusters = feed.newest(Flavour.EDGE, node=node).resources.get("CDS", {})
    return {name.removeprefix("services/"): item.version for name, item in clusters.items()}


async def with_canary(store):
    """A service changed and one made, for the edge `one` first."""
    async with store.change("someone") as change:
        await change.put(None, service("a", "x"))
    async with store.change("someone") as change:
        change.have_first(["one"])
        await change.put(await change.get("services/a"), service("a", "y"))
        await change.put(None, service("new", "x"))
        await change.begin_canary({})
    return change.revision


async def test_only_the_first_edges_have_it(replica):
    store, control, feed = await replica()
    await with_canary(store)
    await control.follow()
    first, others = served(feed, "one"), served(feed, "two")
    assert (sorted(first), sorted(others)) == (["a", "new"], ["a"])
    assert first["a"] != others["a"]
    assert control.holds.is_set()


async def test_other_changes_reach_all_meanwhile(replica):
    store, control, feed = await replica()
    await with_canary(store)
    async with store.change("someone") as change:
        await change.put(None, service("b", "x"))
    await control.follow()
    assert sorted(served(feed, "one")) == ["a", "b", "new"]
    assert sorted(served(feed, "two")) == ["a", "b"]


async def test_a_replica_that_starts_holds_it_back_just_the_same(replica):
    store, control, feed = await replica()
    await with_canary(store)
    await control.follow()
    _, started, fresh = await replica()
    assert started.holds.is_set()
    for node in ("one", "two"):
        assert served(fresh, node) == served(feed, node)


async def test_released_all_have_it(replica):
    store, control, feed = await replica()
    await with_canary(store)
    await control.follow()
    async with store.change("someone") as change:
        await change.end_canary(PROMOTED, "seen")
    control.release(control.holding.hold, widen=True)
    assert served(feed, "two") == served(feed, "one")
    assert sorted(served(feed, "two")) == ["a", "new"]
    assert not control.holds.is_set()
    _, started, fresh = await replica()
    assert not started.holds.is_set()
    assert served(fresh, "two") == served(feed, "one")
