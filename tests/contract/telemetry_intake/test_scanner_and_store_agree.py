"""What the scanner lets in, ClickHouse loads: the same rows, the same series, the same values."""

# ruff: noqa: S608 - numbers

import contextlib
import json
import math
import random
import struct
import time

import chdb
import numpy as np
import pytest

from meshkit.errors import InvalidInput
from telemetry.load import span_rows
from telemetry.load.rows import Rows, joined, write
from telemetry.load.statements import insert
from telemetry.log.records import seal
from telemetry.scan.batch import no_exemplars
from telemetry.scan.hashing import int_hash, xxhash64
from telemetry.scan.scanner import Scanner
from telemetry.scan.shapes import AS_ROWS, Signal
from telemetry.scan.sink import HISTOGRAM_COLUMNS, SAMPLE_COLUMNS, Count, Sample
from telemetry.store.model import STALE_NAN_BITS
from telemetry.store.sessions import Sessions
from tests.contract.telemetry_intake import otlp_requests


MUTANTS = 600
STALE = struct.unpack("<d", struct.pack("<Q", STALE_NAN_BITS))[0]


@pytest.fixture
async def sessions(tmp_path):
    async with Sessions.open(tmp_path / "store") as opened:
        yield opened


@pytest.fixture
def load(sessions, tmp_path):
    """Load requests received at one time as one segment; returns the rows written."""

    async def load(signal, number, requests, received_ns, tenant=""):
        file = tmp_path / "segment.pb"
        if signal in AS_ROWS:
            scanner = Scanner()
            scans = [scanner.judge(signal, one, received_ns, tenant) for one in requests]
            files = write(joined([one.batch for one in scans]), file)
            return sum([await sessions.load(one.insert(number)) for one in files])
        file.write_bytes(b"".join(seal(one, tenant, received_ns) for one in requests))
        return await sessions.load(insert(signal, number, file))

    return load


@pytest.mark.parametrize("tenant", ["", "lounge"])
@pytest.mark.parametrize("signal", otlp_requests.REQUESTS)
async def test_every_kind_of_item_makes_the_rows_that_were_counted(signal, tenant, load, sessions):
    now = time.time_ns()
    request = otlp_requests.REQUESTS[signal](now)

    scan = Scanner().judge(signal, request, now, tenant)
    rows = await load(signal, 1, [request], now, tenant)

    assert rows == scan.rows > 0


async def test_series_have_the_same_ids_in_the_scanner_and_in_the_store(load, sessions):
    now = time.time_ns()
    request = otlp_requests.metrics(now)

    scan = Scanner().judge(Signal.METRICS, request, now, "lounge")
    await load(Signal.METRICS, 1, [request], now, "lounge")

    found = await sessions.query(
        "SELECT DISTINCT metric, series_id FROM samples"
        " UNION DISTINCT SELECT metric, series_id FROM histograms",
        "RowBinary",
    )
    pairs = {tuple(row) for row in np.frombuffer(found, np.uint64).reshape(-1, 2).tolist()}
    assert pairs == {(one.metric, one.series_id) for one in scan.new_series}


async def test_points_are_refused_each_for_its_reason(load):
    now = time.time_ns()

    scan = Scanner().judge(Signal.METRICS, otlp_requests.metrics(now), now)

    assert scan.refused == {
        Count.TIME: 1,
        Count.NO_VALUE: 1,
        Count.NO_NAME: 1,
        Count.TEMPORALITY: 1,
        Count.SCALE: 1,
        Count.BUCKETS: 1,
    }
    assert scan.items == 16
    assert scan.stored == 10


@pytest.mark.parametrize("signal", otlp_requests.REQUESTS)
async def test_mutants_that_are_let_in_load_whole(signal, load):
    """One bad message spoils a segment, so this is what stands before the loader."""
    now = time.time_ns()
    chance = random.Random(4)
    request = otlp_requests.REQUESTS[signal](now)
    scanner = Scanner()
    let_in, rows = [], 0
    for _ in range(MUTANTS):
        mutant = otlp_requests.mutated(chance, request)
        try:
            scan = scanner.judge(signal, mutant, now)
        except InvalidInput:
            continue
        let_in.append(mutant)
        rows += scan.rows

    assert MUTANTS // 20 < len(let_in) < MUTANTS
    assert await load(signal, 1, let_in, now) == rows


async def test_spans_are_loaded_as_clickhouse_itself_reads_them(sessions, tmp_path):
    """Of whatever is let in: the file of columns makes the very rows that the log's bytes make."""
    now = time.time_ns()
    chance = random.Random(6)
    scanner = Scanner()
    requests = [otlp_requests.many_spans(chance, now) for _ in range(40)]
    mutants = [
        otlp_requests.mutated(chance, chance.choice([*requests[:4], otlp_requests.traces(now)]))
        for _ in range(MUTANTS)
    ]
    for mutant in mutants:
        with contextlib.suppress(InvalidInput):
            scanner.judge(Signal.TRACES, mutant, now)
            requests.append(mutant)
    segment = tmp_path / "segment.pb"
    segment.write_bytes(b"".join(seal(one, chance.choice(["", "lounge"]), now) for one in requests))
    columns = span_rows.beside(segment)
    span_rows.write(segment, columns)

    wanted = await sessions.load(insert(Signal.TRACES, 1, segment))
    rows = await sessions.load(span_rows.load_of(columns, 2))

    assert rows == wanted > 500
    assert len(requests) > 40 + MUTANTS // 20
    by_bytes, by_columns = [
        await sessions.query(
            f"SELECT * EXCEPT segment FROM spans WHERE segment = {number} ORDER BY _part_offset",
            "RowBinary",
        )
        for number in (1, 2)
    ]
    assert by_columns == by_bytes


async def test_hashes_are_clickhouses(sessions):
    text = b"hello world, this is a long text of more than 32 bytes!!"
    lengths = [0, 1, 3, 4, 7, 8, 12, 31, 32, 33, len(text)]
    answer = await sessions.query(
        f"WITH '{text.decode()}' AS s"
        f" SELECT arrayMap(n -> xxHash64(substring(s, 1, n)), {lengths}),"
        " arrayMap(n -> intHash64(toUInt64(n)), [0, 5, 18446744073709551615])",
        "JSONCompactEachRow",
    )
    data = np.frombuffer(text, np.uint8)

    ours = [
        [int(xxhash64(data, 0, length)) for length in lengths],
        [int(int_hash(np.uint64(n))) for n in (0, 5, 2**64 - 1)],
    ]

    assert json.loads(answer) == ours


async def test_values_come_back_from_the_table_bit_for_bit(sessions, tmp_path):
    chance = random.Random(5)
    values = [struct.unpack("<d", chance.randbytes(8))[0] for _ in range(5_000)]
    values += [
        chance.randrange(-(10**15), 10**15) / 10 ** chance.randrange(13) for _ in range(5_000)
    ]
    values += [0.0, -0.0, 1e22, math.inf, -math.inf, float(2**53), 0.1 + 0.2]
    wanted = np.array([*values, STALE], np.float64).view(np.uint64)
    columns = np.zeros((SAMPLE_COLUMNS, len(wanted)), np.uint64)
    columns[Sample.SERIES] = np.arange(1, len(wanted) + 1)
    # Of today: what is older than is kept may be gone by the time it is asked for.
    columns[Sample.TIME] = columns[Sample.SERIES] + np.uint64(time.time_ns() // 10**6)
    columns[Sample.VALUE] = wanted
    rows = Rows(
        samples=columns,
        histograms=np.zeros((HISTOGRAM_COLUMNS, 0), np.uint64),
        buckets=np.zeros(0),
        exemplars=[no_exemplars()],
    )
    for file in write(rows, tmp_path / "segment"):
        assert await sessions.load(file.insert(1)) == len(wanted)

    found = await sessions.query("SELECT number FROM samples ORDER BY ts_ms", "RowBinary")

    assert np.frombuffer(found, np.uint64).tolist() == wanted.tolist()


async def test_rows_of_earlier_versions_are_read_as_they_were_written(tmp_path):
    with chdb_session(tmp_path / "store") as store:
        store.query(
            "CREATE TABLE samples (metric UInt64, series_id UInt64, ts_ms Int64, value Float64,"
            " segment UInt32) ENGINE = MergeTree ORDER BY (metric, series_id, ts_ms)"
        )
        store.query("INSERT INTO samples VALUES (1, 2, 3, 0.25, 1)")

    async with Sessions.open(tmp_path / "store") as sessions:
        found = await sessions.query("SELECT number, start_ms FROM samples", "TSV")

    assert found.decode().split() == ["0.25", "0"]


@contextlib.contextmanager
def chdb_session(folder):
    session = chdb.connect(str(folder))
    yield session
    session.close()
