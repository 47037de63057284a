"""WatchRange: first the whole, then only what is new."""

import asyncio
import contextlib
import time

import grpc
import pytest
import pytest_asyncio
from google.protobuf.duration_pb2 import Duration

from aerofusion.telemetry.v1 import dashboard_service_pb2 as rpc
from meshkit.status import from_rpc_error


pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(240),  # The first start on a machine compiles.
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(started):
    return (await started())[0]


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


async def test_the_whole_range_comes_first_and_then_only_what_is_new(service):
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


async def test_a_sample_is_told_as_soon_as_it_is_acknowledged(service):
    await service.send("gates", 1)
    async with watching(service, "gates") as call:
        await until(call, lambda update: 1 in values(update))
        await service.send("gates", 1234)

        assert await until(call, lambda update: 1234 in values(update))


async def test_a_query_that_cannot_be_read_is_refused(service):
    async with watching(service, "up", "1+") as call:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()

    assert from_rpc_error(caught.value).reason == "QUERY_INVALID"


async def test_a_query_without_an_answer_says_so_and_goes_on(service):
    await service.send("a", 1)
    query = 'label_replace(a, "__name__", "", "", "") + on() group_left() (a or label_replace(a, "x", "y", "", ""))'
    async with watching(service, query, "a") as call:
        found = await until(call, lambda update: update.query == 0 and update.problem)
        assert "QUERY_FAILED" in found.problem
        assert await until(call, lambda update: update.query == 1 and 1 in values(update))


async def test_a_range_of_too_many_steps_is_refused(service):
    call = service.dashboards.WatchRange(
        rpc.WatchRangeRequest(queries=["up"], step=seconds(1), range=seconds(2001))
    )
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()

    assert from_rpc_error(caught.value).reason == "INVALID_FIELD"
