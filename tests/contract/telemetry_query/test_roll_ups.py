"""Long ranges are answered from roll-ups, and as from samples; the store and the head are real."""

# ruff: noqa: S608 - what is put in are numbers

import asyncio
import math
import random
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pytest

from telemetry.head.extract import Columns
from telemetry.head.head import Head
from telemetry.head.source import HeadSource
from telemetry.promql.engine import Engine
from telemetry.promql.labels import make
from telemetry.query.source import StoreSource
from telemetry.store.model import STALE_NAN_BITS
from telemetry.store.reader import Reader
from telemetry.store.rollups import COARSE_MS, FINE_MS, Roller
from telemetry.store.sessions import Sessions


BASE_MS = 1_795_737_600_000
HOURS = 7
END_MS = BASE_MS + HOURS * COARSE_MS
STALE = np.array([STALE_NAN_BITS], np.uint64).view(np.float64)[0]
QUERIES = (
    "rate(c_total[1h])",
    "sum(increase(c_total[2h]))",
    "resets(c_total[1h])",
    "sum_over_time(c_total[1h])",
    "avg_over_time(c_total[3h])",
    "min_over_time(c_total[1h])",
    "max_over_time(c_total[1h])",
    "count_over_time(c_total[1h])",
    "first_over_time(c_total[1h])",
    "last_over_time(c_total[1h])",
    "delta(c_total[1h])",
    "c_total",
)


@dataclass
class Asked:
    """A source that notes what it reads."""

    of: object
    reads: list

    @property
    def widths_ms(self):
        return self.of.widths_ms

    def rolled(self, span):
        found = self.of.rolled(span)
        self.reads.append(found)
        return found

    def select(self, *given, **options):
        self.reads.append(None)
        return self.of.select(*given, **options)


@dataclass
class Plain:
    """Only the samples of a source."""

    of: object

    def select(self, *given, **options):
        return self.of.select(*given, **options)


def samples_of(chance, start_ms=BASE_MS, end_ms=END_MS):
    """A counter each 15 s or so, with resets, gaps, markers and NaN: (ms, value) each."""
    at, value = start_ms, 0.0
    while at < end_ms:
        value = 0.0 if chance.random() < 0.01 else value + chance.randrange(20)
        yield at, value
        odd = chance.random()
        if odd < 0.005:
            yield at + 1, STALE
        elif odd < 0.01:
            yield at + 1, math.nan
        at += 1_000_000 if chance.random() < 0.01 else chance.randrange(14_000, 16_000)


@pytest.fixture
async def sessions(tmp_path):
    async with Sessions.open(tmp_path / "store") as opened:
        yield opened


async def name(sessions, series_id, number, kind="counter"):
    await sessions.insert(
        "INSERT INTO series (tenant, name, metric, series_id, labels, kind, otlp_name) VALUES"
        f" ('', 'c_total', 1, {series_id}, map('__name__', 'c_total', 'n', '{number}'),"
        f" '{kind}', 'c')"
    )


async def insert(sessions, series_id, samples, segment=1):
    bits = [int(np.float64(value).view(np.uint64)) for _, value in samples]
    await sessions.insert(
        "INSERT INTO samples (metric, series_id, ts_ms, value, segment)"
        f" SELECT 1, {series_id}, s.1, reinterpretAsFloat64(toUInt64(s.2)), {segment} FROM"
        f" (SELECT arrayJoin(arrayZip({[at for at, _ in samples]}, {bits})) AS s)"
    )


def stored(sessions):
    return StoreSource(
        reader=Reader(sessions),
        loop=asyncio.get_running_loop(),
        tenant="",
        timeout=timedelta(seconds=20),
    )


async def roll(sessions, now_ms=END_MS):
    await Roller(sessions, clock=lambda: now_ms / 1000).roll()


def points(answer):
    return {
        (one.labels, int(ts)): float(value)
        for one in answer.series
        for ts, value in zip(one.ts, one.values, strict=True)
    }


async def answers(source, query, grid):
    """What is answered from roll-ups, what from samples, and what was read for the first."""
    asked = Asked(source, [])
    found = await asyncio.to_thread(Engine(source=asked).range, query, *grid)
    wanted = await asyncio.to_thread(Engine(source=Plain(source)).range, query, *grid)
    return points(found), points(wanted), asked.reads


def same(found, wanted):
    assert found.keys() == wanted.keys()
    assert wanted
    for key, value in wanted.items():
        assert found[key] == pytest.approx(value, rel=1e-9, abs=1e-9, nan_ok=True), key


@pytest.mark.parametrize("seed", range(3))
async def test_what_is_rolled_up_gives_the_answers_of_its_samples(sessions, seed):
    chance = random.Random(seed)
    for number in (1, 2):
        await name(sessions, number, number)
        await insert(sessions, number, list(samples_of(chance)))
    # One that goes on under another id, as after an update, and one that began a while ago.
    await name(sessions, 3, 3)
    await name(sessions, 4, 3)
    middle = BASE_MS + 4 * COARSE_MS - 1_000_000
    await insert(sessions, 3, list(samples_of(chance, end_ms=middle)))
    await insert(sessions, 4, list(samples_of(chance, start_ms=middle + 2_000)))
    await name(sessions, 5, 5)
    await insert(sessions, 5, list(samples_of(chance, start_ms=END_MS - 100_000)))
    await roll(sessions)

    for query in QUERIES:
        for step in (COARSE_MS, 2 * COARSE_MS, FINE_MS):
            found, wanted, reads = await answers(stored(sessions), query, (BASE_MS, END_MS, step))
            same(found, wanted)
            assert reads
            assert reads[0] is not None


@pytest.mark.parametrize("rolled_up", [True, False])
async def test_late_samples_are_in_the_answers_rolled_up_or_not(sessions, rolled_up):
    chance = random.Random(7)
    samples = list(samples_of(chance))
    late = [one for one in samples if chance.random() < 0.2]
    await name(sessions, 1, 1)
    await insert(sessions, 1, [one for one in samples if one not in late])
    await roll(sessions)
    chance.shuffle(late)
    await insert(sessions, 1, late, segment=2)
    if rolled_up:
        await roll(sessions)

    for query in QUERIES:
        found, wanted, _ = await answers(stored(sessions), query, (BASE_MS, END_MS, COARSE_MS))
        same(found, wanted)


@pytest.mark.parametrize("hours", [1, 2, HOURS])
async def test_a_series_that_has_only_come_late_is_in_the_answers(sessions, hours):
    await roll(sessions)
    await name(sessions, 1, 1)
    begin = END_MS - hours * COARSE_MS
    await insert(sessions, 1, [(at, 1.0) for at in range(begin, END_MS + 1, 2 * FINE_MS)], 2)

    for query in QUERIES:
        found, wanted, _ = await answers(stored(sessions), query, (BASE_MS, END_MS, 2 * FINE_MS))
        same(found, wanted)


async def test_one_long_window_is_read_from_roll_ups_and_its_edges_from_samples(sessions):
    await name(sessions, 1, 1)
    await insert(sessions, 1, list(samples_of(random.Random(3))))
    await roll(sessions)
    at = END_MS - 123_456

    for query in ("rate(c_total[5h])", "avg_over_time(c_total[6h] offset 7m)"):
        asked = Asked(stored(sessions), [])
        found = await asyncio.to_thread(Engine(source=asked).instant, query, at)
        plain = Engine(source=Plain(stored(sessions)))
        same(points(found), points(await asyncio.to_thread(plain.instant, query, at)))
        assert asked.reads[0] is not None


async def test_ids_that_share_labels_and_time_are_read_from_samples(sessions):
    chance = random.Random(4)
    for series_id in (1, 2):
        await name(sessions, series_id, 1)
        await insert(sessions, series_id, list(samples_of(chance)))
    await roll(sessions)

    for query in ("rate(c_total[1h])", "c_total"):
        found, wanted, reads = await answers(stored(sessions), query, (BASE_MS, END_MS, COARSE_MS))
        same(found, wanted)
        assert reads[-1] is None


async def test_what_isnt_rolled_up_yet_comes_from_memory(sessions):
    seam = END_MS - COARSE_MS
    samples = list(samples_of(random.Random(5)))
    await name(sessions, 1, 1)
    await insert(sessions, 1, samples)
    await roll(sessions, seam)
    head = Head(1 << 20)
    head.name((1, 1), "", make({"__name__": "c_total", "n": "1"}))
    head.name((1, 9), "", make({"__name__": "c_total", "n": "new"}))
    recent = [(1, *one) for one in samples if one[0] > seam - FINE_MS]
    recent += [(9, at, value) for _, at, value in recent if at > seam + FINE_MS]
    head.take(
        Columns(
            ids=np.array([series_id for series_id, _, _ in recent], np.uint64),
            ts_ms=np.array([at for _, at, _ in recent], np.int64),
            values=np.array([value for _, _, value in recent]),
        )
    )
    head.begin(seam - FINE_MS)
    source = HeadSource(head=head, store=stored(sessions), tenant="")

    for query in QUERIES:
        found, wanted, reads = await answers(source, query, (BASE_MS, END_MS, COARSE_MS))
        same(found, wanted)
        assert reads[0] is not None
    # What memory has is read from memory.
    _, _, reads = await answers(source, "rate(c_total[5m])", (seam, END_MS, FINE_MS))
    assert reads[0] is None
