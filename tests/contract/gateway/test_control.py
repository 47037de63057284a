"""What a change made here is published without a look at the database, unless one came between."""

import asyncio
import contextlib
from datetime import timedelta

import pytest

from gateway import control as module
from gateway import model
from gateway.changes.receipts import Receipts
from gateway.compile.options import EdgeOptions
from gateway.control import Control
from gateway.store.catalog import CatalogStore
from gateway.xds.feed import Feed, Flavour
from meshkit.postgres import migrate, open_pool


@pytest.fixture
async def pool(postgres):
    async with open_pool(await postgres.database("gateway"), application_name="test") as made:
        await migrate(made, "gateway.store.migrations")
        yield made


@pytest.fixture
def store(pool):
    return CatalogStore(pool)


@pytest.fixture
def feed():
    return Feed()


@pytest.fixture
async def control(store, feed):
    made = Control(store, feed, EdgeOptions(), receipts=Receipts(), poll=timedelta(seconds=60))
    await made.start()
    task = asyncio.create_task(made.run())
    yield made
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def create(store, *names):
    """Make services in one change; returns its revisions."""
    async with store.change("someone") as change:
        for name in names:
            await change.put(None, model.Service(name=f"services/{name}", identity="x"))
    return change.made


async def reaches(feed, *names):
    """Wait until exactly these are served."""
    changed = asyncio.Event()
    unwatch = feed.watch(Flavour.EDGE, changed.set)
    async with asyncio.timeout(5):
        while feed.newest(Flavour.EDGE).resources.get("CDS", {}).keys() != {
            f"services/{name}" for name in names
        }:
            changed.clear()
            await changed.wait()
    unwatch()


async def test_what_follows_the_newest_is_taken_as_it_comes(pool, store, feed, control):
    made = [*await create(store, "a"), *await create(store, "b", "c")]
    pool.terminate()  # It isn't asked.
    control.take(made[:1])
    control.take(made[1:])
    await reaches(feed, "a", "b", "c")
    assert control.revision == 3


async def test_what_is_taken_is_what_the_database_would_tell(store, control, feed):
    made = await create(store, "a")
    assert made == await store.after(0, 10)


async def test_a_gap_is_filled_from_the_database(store, feed, control):
    await create(store, "a")
    control.take(await create(store, "b"))
    await reaches(feed, "a", "b")


async def test_a_hint_of_something_new_makes_it_look(store, feed, control):
    await create(store, "a")
    control.hint(b"1")
    await reaches(feed, "a")
    await create(store, "b")
    control.hint(b"")
    await reaches(feed, "a", "b")


async def test_a_hint_of_what_is_known_makes_nobody_look(store, feed, control):
    control.take(await create(store, "a"))
    await reaches(feed, "a")
    await create(store, "b")
    control.hint(b"1")
    for _ in range(20):
        await asyncio.sleep(0.01)  # polls
    assert control.revision == 1


async def test_too_many_at_once_are_read_from_the_database(store, feed, control, monkeypatch):
    monkeypatch.setattr(module, "OURS_MAX", 2)
    control.take(await create(store, "a", "b", "c"))
    await reaches(feed, "a", "b", "c")


async def test_a_large_change_is_published_whole(store, feed, control, monkeypatch):
    monkeypatch.setattr(module, "REVISIONS_AT_ONCE", 2)
    seen = []
    feed.watch(Flavour.EDGE, lambda: seen.append(len(feed.newest(Flavour.EDGE).resources["CDS"])))
    made = [*await create(store, "a", "b", "c"), *await create(store, "d")]
    control.take(made)
    await reaches(feed, "a", "b", "c", "d")
    assert seen == [3, 4]


async def test_keys_are_published_while_the_database_is_away(pool, feed, control):
    before = feed.newest(Flavour.EDGE)
    changed = asyncio.Event()
    feed.watch(Flavour.EDGE, changed.set)
    pool.terminate()
    control.poke()
    control.set_jwks('{"keys": []}')
    async with asyncio.timeout(5):
        await changed.wait()
    assert feed.newest(Flavour.EDGE).resources["ECDS"] != before.resources["ECDS"]


async def test_one_change_may_write_an_object_more_than_once(store):
    async with store.change("someone") as change:
        first = await change.put(None, model.Service(name="services/a", identity="x"))
        second = await change.put(first, model.Service(name="services/a", identity="y"))
        await change.delete(second)
        await change.put(None, model.Service(name="services/a", identity="z"))
    assert [one.action for one in await store.after(0, 10)] == [
        "create",
        "update",
        "delete",
        "create",
    ]
    found = await store.get("services/a")
    assert (found.value.identity, found.revision) == ("z", 4)


async def test_within_a_change_questions_see_what_it_made(store):
    async with store.change("someone") as change:
        service = model.Service(name="services/a", identity="x", grpc_services=("t.A", "t.B"))
        assert await change.count("service") == 0
        stored = await change.put(None, service)
        assert await change.count("service") == 1
        assert await change.offering(["t.B", "t.C"], but="services/b") == [("t.B", "services/a")]
        assert await change.offering(["t.B"], but="services/a") == []
        route = model.Route(
            name="services/a/routes/r",
            grpc_service="t.A",
            destinations=(model.Destination(service="services/b", weight=1),),
            mirrors=(model.Mirror(service="services/c"),),
        )
        await change.put(None, route)
        assert await change.referring("services/b") == [route.name]
        assert await change.referring("services/c") == [route.name]
        assert [one.value for one in await change.routes_of("services/a")] == [route]
        assert await change.names("services/a/") == [route.name]
        await change.delete(stored)
        assert await change.get("services/a") is None
        assert await change.names("services/") == [route.name]
