"""What the head answers is what the store answers; the engine and the log are real."""

import asyncio
import contextlib
import time
from datetime import timedelta

import numpy as np
import pytest

from telemetry.app import open_pipeline, open_store
from telemetry.head.extract import whole
from telemetry.promql.matchers import Matcher, MatchOp
from telemetry.query.queries import Queries
from telemetry.scan.scanner import Scanner
from telemetry.scan.shapes import Signal
from telemetry.scan.sink import Kind
from telemetry.settings import Settings
from telemetry.store.reader import Reader
from tests.contract.telemetry_intake import otlp_requests


pytestmark = pytest.mark.timeout(600)  # The first start on a machine compiles.


ALL = ((Matcher("__name__", MatchOp.REGEX, ".+"),),)


@contextlib.asynccontextmanager
async def opened(settings):
    async with contextlib.AsyncExitStack() as stack:
        sessions = await stack.enter_async_context(open_store(settings))
        pipeline = await stack.enter_async_context(open_pipeline(settings, sessions, Scanner()))
        queries = Queries(Reader(sessions), head=pipeline.head)
        stack.callback(queries.close)
        async with asyncio.timeout(30):
            await pipeline.head.begun.wait()
        yield sessions, pipeline, queries


async def read(source, start_ms, end_ms):
    found = await asyncio.to_thread(source.select, ALL, start_ms, end_ms, series_max=1000)
    return {
        labels: (
            found.ts[found.offsets[i] : found.offsets[i + 1]].tolist(),
            found.values[found.offsets[i] : found.offsets[i + 1]].view(np.uint64).tolist(),
        )
        for i, labels in enumerate(found.labels)
        if found.offsets[i + 1] > found.offsets[i]
    }


def requests(now_ns):
    """Everything that is loaded, some of it late, twice, or out of order."""
    yield otlp_requests.metrics(now_ns)
    for back_s in (0, 90, 30, 3_600, 30):
        at_ns = now_ns - back_s * 1_000_000_000
        yield otlp_requests.gauges("queue.length", [1.5, float("nan"), -0.0], at_ns)
    yield otlp_requests.metrics(now_ns - 61_000_000_000)


async def test_the_head_holds_what_the_loader_loads(tmp_path):
    now = time.time_ns()
    async with opened(Settings(state_dir=tmp_path)) as (_, pipeline, queries):
        for one in requests(now):
            await pipeline.intake.accept(Signal.METRICS, one)
        await pipeline.loader.flush()
        start, end = now // 1_000_000 - 120_000, now // 1_000_000 + 600_000
        source = queries.source("", timedelta(seconds=10))
        assert source.head.horizon_ms < start
        assert await read(source, start, end) == await read(source.store, start, end) != {}
        # Over the seam, too: an hour ago only the store knows.
        start -= 7_200_000
        assert await read(source, start, end) == await read(source.store, start, end)


async def test_what_is_acknowledged_is_found_before_it_is_loaded(tmp_path):
    settings = Settings(state_dir=tmp_path, segment_age=timedelta(seconds=60))
    now = time.time_ns()
    async with opened(settings) as (_, pipeline, queries):
        await pipeline.intake.accept(Signal.METRICS, otlp_requests.gauges("fresh", [7.0], now))
        answer = await queries.instant("fresh", now // 1_000_000 + 1)
        assert [one.values.tolist() for one in answer.series] == [[7.0]]
        assert pipeline.ledger.rows_loaded[Signal.METRICS] == 0


async def test_a_start_fills_the_head_from_what_was_left(tmp_path):
    settings = Settings(state_dir=tmp_path, head_span=timedelta(minutes=5))
    now = time.time_ns()
    window = now // 1_000_000 - 240_000, now // 1_000_000 + 600_000
    async with opened(settings) as (_, pipeline, queries):
        for one in requests(now):
            await pipeline.intake.accept(Signal.METRICS, one)
        await pipeline.loader.flush()  # Deltas are added up when they are loaded.
        before = await read(queries.source("", timedelta(seconds=10)), *window)
    async with opened(settings) as (_, pipeline, queries):
        source = queries.source("", timedelta(seconds=10))
        assert await read(source, *window) == before != {}
        recent = pipeline.head.read("", ALL, *window, series_max=1000)
        assert recent.horizon_ms < window[0]
        natives = await asyncio.to_thread(source.store.natives, ALL, *window, series_max=1000)
        assert set(recent.labels) == before.keys() - set(natives.labels)
        # A series that only the store knows of by name goes on where it was.
        await pipeline.intake.accept(
            Signal.METRICS, otlp_requests.gauges("queue.length", [5.0], now + 1_000_000_000)
        )
        answer = await queries.instant('queue_length{n="0"}', now // 1_000_000 + 1_500)
        assert [one.values.tolist() for one in answer.series] == [[5.0]]


def test_extracting_finds_what_the_scanner_counted():
    now = time.time_ns()
    for request in requests(now):
        scan = Scanner().judge(Signal.METRICS, request, now)
        columns = whole(scan.batch.samples)
        floats = [one for one in scan.new_series if one.kind is not Kind.EXPONENTIAL]
        expected = {one.series_id for one in floats if not one.delta}
        assert expected == set(columns.ids.tolist())
