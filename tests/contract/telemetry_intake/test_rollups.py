"""Roll-ups come to what the samples come to, also when those come late."""

# ruff: noqa: S608 - what is put in are numbers

import random

import numpy as np
import pytest

from telemetry.store import rollups
from telemetry.store.model import STALE_NAN_BITS, Series
from telemetry.store.rolled import Stretch, read_rollups
from telemetry.store.rollups import COARSE_MS, FINE_MS, TABLES, Roller
from telemetry.store.sessions import Sessions


BASE_MS = 1_795_737_600_000
SERIES = Series(labels=(("__name__", "c"),), kind="counter", keys=((1, 7),))


@pytest.fixture
async def sessions(tmp_path):
    async with Sessions.open(tmp_path / "store") as opened:
        yield opened


def counter(chance, hours):
    """A counter each 15 s or so, with resets, gaps and a stale marker: (ms, value) each."""
    at, value = BASE_MS, 0.0
    while at < BASE_MS + hours * COARSE_MS:
        value = 0.0 if chance.random() < 0.01 else value + chance.randrange(20)
        yield at, value
        at += 400_000 if chance.random() < 0.01 else chance.randrange(14_000, 16_000)


async def insert(sessions, samples, segment, series=7):
    times = [at for at, _ in samples]
    values = [value for _, value in samples]
    await sessions.insert(
        "INSERT INTO samples (metric, series_id, ts_ms, value, segment)"
        f" SELECT 1, {series}, s.1, s.2, {segment} FROM"
        f" (SELECT arrayJoin(arrayZip({times}, {values})) AS s)"
    )


COLUMNS = ("count", "sum", "min", "max", "first", "last", "first_ms", "last_ms", "resets", "fell")


def expected(samples, step_ms):
    """End of each window to what `COLUMNS` are."""
    found = {}
    for at, value in sorted(samples):
        end = -(-at // step_ms) * step_ms
        one = found.setdefault(end, [0, 0.0, np.inf, -np.inf, value, value, at, at, 0, 0.0])
        if value < one[5]:
            one[8], one[9] = one[8] + 1, one[9] + one[5]
        one[0] += 1
        one[1] += value
        one[2], one[3] = min(one[2], value), max(one[3], value)
        one[5], one[7] = value, at
    return found


async def rolled(sessions, step_ms, columns=COLUMNS):
    span = Stretch(step_ms=step_ms, after_ms=0, until_ms=2**50)
    blocks = await read_rollups(sessions, [SERIES], [span], columns)
    ends, *rows = (
        np.concatenate([block[name] for block in blocks]).tolist() for name in ("end_ms", *columns)
    )
    return dict(zip(ends, map(list, zip(*rows, strict=True)), strict=True))


@pytest.mark.parametrize("seed", range(3))
async def test_windows_hold_what_their_samples_come_to(sessions, seed):
    samples = list(counter(random.Random(seed), hours=3))
    await insert(sessions, samples, 1)
    roller = Roller(sessions, clock=lambda: BASE_MS / 1000 + 4 * 3600)

    await roller.roll()

    for step_ms in (FINE_MS, COARSE_MS):
        found, wanted = await rolled(sessions, step_ms), expected(samples, step_ms)
        assert found.keys() == wanted.keys()
        for end, row in wanted.items():
            assert found[end] == pytest.approx(row, rel=1e-12)


async def test_many_rows_are_rolled_up_a_part_of_the_series_at_a_time(sessions, monkeypatch):
    for series in range(1, 8):
        samples = list(counter(random.Random(series), hours=2))
        await insert(sessions, samples, series, series=series)
    tables = {step_ms: f"{TABLES[step_ms]} FINAL" for step_ms in (FINE_MS, COARSE_MS)}
    dumps = []

    for rows in (4_000_000, 20):
        monkeypatch.setattr(rollups, "_ROWS_AT_ONCE", rows)
        for table in (*TABLES.values(), "rolled"):
            await sessions.execute(f"TRUNCATE TABLE {table}")
        await Roller(sessions, clock=lambda: BASE_MS / 1000 + 3 * 3600).roll()
        dumps.append(
            [
                await sessions.execute(
                    f"SELECT * EXCEPT version FROM {one} ORDER BY series_id, end_ms"
                )
                for one in tables.values()
            ]
        )

    whole, parts = dumps
    assert parts == whole
    fine, coarse = (len(one.splitlines()) for one in whole)
    assert fine > 20 * 7
    assert coarse >= 2 * 7


async def test_samples_that_come_in_any_order_make_the_same_windows(sessions):
    chance = random.Random(5)
    samples = list(counter(chance, hours=2))
    late = [one for one in samples if chance.random() < 0.2]
    await insert(sessions, [one for one in samples if one not in late], 1)
    roller = Roller(sessions, clock=lambda: BASE_MS / 1000 + 3 * 3600)
    await roller.roll()
    chance.shuffle(late)
    await insert(sessions, late, 2)

    await roller.roll()

    for step_ms in (FINE_MS, COARSE_MS):
        found, wanted = await rolled(sessions, step_ms), expected(samples, step_ms)
        for end, row in wanted.items():
            assert found[end] == pytest.approx(row, rel=1e-12), end


async def test_only_windows_that_are_over_are_rolled_up_and_markers_count_for_nothing(sessions):
    await insert(sessions, [(BASE_MS + 1, 1.0), (BASE_MS + FINE_MS + 1, 5.0)], 1)
    await sessions.insert(
        "INSERT INTO samples (metric, series_id, ts_ms, value, segment)"
        f" SELECT 1, 7, {BASE_MS + 2}, reinterpretAsFloat64(toUInt64({STALE_NAN_BITS})), 1"
    )
    times = iter([BASE_MS + FINE_MS + 59_000, BASE_MS + FINE_MS + 61_000])
    roller = Roller(sessions, clock=lambda: next(times) / 1000)

    await roller.roll()
    before = await rolled(sessions, FINE_MS)
    await roller.roll()

    assert before == {}
    columns = ("count", "sum", "min", "max", "last_ms", "ended")
    assert await rolled(sessions, FINE_MS, columns) == {
        BASE_MS + FINE_MS: [1, 1.0, 1.0, 1.0, BASE_MS + 1, 1]
    }


async def test_what_was_there_before_there_were_roll_ups_is_rolled_up(sessions):
    month = 30 * 24 * COARSE_MS
    await insert(sessions, [(BASE_MS - month + 1, 3.0), (BASE_MS - month + 2, 1.0)], 1)

    await Roller(sessions, clock=lambda: BASE_MS / 1000).roll()

    columns = ("count", "first", "last", "resets", "fell")
    wanted = [2, 3.0, 1.0, 1, 3.0]
    assert await rolled(sessions, FINE_MS, columns) == {BASE_MS - month + FINE_MS: wanted}
    assert await rolled(sessions, COARSE_MS, columns) == {BASE_MS - month + COARSE_MS: wanted}


async def test_values_that_are_no_numbers_are_rolled_up_as_promql_takes_them(sessions):
    await insert(sessions, [(BASE_MS + 1, 2.0), (BASE_MS + 3, 1.0)], 1)
    await sessions.insert(
        "INSERT INTO samples (metric, series_id, ts_ms, value, segment)"
        f" VALUES (1, 7, {BASE_MS + 2}, nan, 1), (1, 7, {BASE_MS + FINE_MS + 2}, nan, 1)"
    )

    await Roller(sessions, clock=lambda: BASE_MS / 1000 + 7200).roll()

    columns = ("min", "max", "sum", "resets")
    fine = await rolled(sessions, FINE_MS, columns)
    assert fine[BASE_MS + FINE_MS] == pytest.approx([1.0, 2.0, np.nan, 0], nan_ok=True)
    assert fine[BASE_MS + 2 * FINE_MS] == pytest.approx([np.nan] * 3 + [0], nan_ok=True)
    coarse = await rolled(sessions, COARSE_MS, columns)
    assert coarse[BASE_MS + COARSE_MS] == pytest.approx([1.0, 2.0, np.nan, 0], nan_ok=True)
