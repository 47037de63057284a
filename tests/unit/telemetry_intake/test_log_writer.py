import asyncio
from datetime import timedelta

import pytest

from meshkit.errors import Overloaded
from telemetry.log.records import Record, read, seal
from telemetry.log.segments import Numbers, Segment, leftovers, mend
from telemetry.log.writer import LogLimits, LogWriter
from telemetry.scan.shapes import Signal


NEVER = timedelta(hours=1)


@pytest.fixture
async def start(tmp_path):
    tasks = []

    def start(**limits):
        writer = LogWriter(tmp_path, LogLimits(**{"segment_age": NEVER, **limits}))
        tasks.append(asyncio.ensure_future(writer.run()))
        return writer

    yield start
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_what_is_appended_is_in_the_file_in_order(start, tmp_path):
    writer = start()
    for n in range(5):
        await writer.append(Signal.LOGS, seal(bytes([n]), "", 1), 1)

    (segment,) = leftovers(tmp_path)
    data = segment.path.read_bytes()
    assert [data[one.body] for one in read(data)] == list(range(5))
    assert writer.log_bytes == len(data)


async def test_many_appends_at_once_share_a_write(start):
    writer = start(segment_rows=100)

    await asyncio.gather(*(writer.append(Signal.LOGS, seal(b"x", "", 1), 1) for _ in range(100)))
    segment = await writer.closed.get()

    assert segment.rows == 100
    assert writer.closed.empty()


async def test_signals_have_segments_of_their_own(start):
    writer = start()
    for signal in Signal:
        await writer.append(signal, seal(b"x", "", 1), 1)

    await writer.close_segments()

    closed = [writer.closed.get_nowait() for _ in Signal]
    assert {segment.signal for segment in closed} == set(Signal)
    assert len({segment.number for segment in closed}) == len(Signal)


async def test_a_segment_is_closed_when_it_is_old(start):
    writer = start(segment_age=timedelta(milliseconds=20))

    await writer.append(Signal.LOGS, seal(b"x", "", 1), 7)

    assert (await writer.closed.get()).rows == 7


async def test_a_released_segment_is_gone_and_makes_room(start):
    writer = start(segment_rows=1, log_bytes_max=100)
    record = seal(b"x" * 40, "", 1)
    await writer.append(Signal.LOGS, record, 1)
    segment = await writer.closed.get()
    with pytest.raises(Overloaded) as refused:
        await writer.append(Signal.LOGS, record, 1)

    writer.release(segment)
    await writer.append(Signal.LOGS, record, 1)

    assert refused.value.reason == "LOG_FULL"
    assert not segment.path.exists()


async def test_too_much_waiting_is_refused_at_once(start):
    writer = start(waiting_bytes_max=100)

    first, second = await asyncio.gather(
        *(writer.append(Signal.LOGS, seal(b"x" * 30, "", 1), 1) for _ in range(2)),
        return_exceptions=True,
    )

    assert first is None
    assert second.reason == "INTAKE_FULL"


async def test_a_packed_record_waits_with_the_request_it_was_made_of(start):
    writer = start(waiting_bytes_max=1_000)
    record = seal(b"x" * 30, "", 1, packed=True)

    first, second = await asyncio.gather(
        *(writer.append(Signal.METRICS, record, 1, request_bytes=600) for _ in range(2)),
        return_exceptions=True,
    )
    await writer.append(Signal.METRICS, record, 1, request_bytes=600)

    assert first is None
    assert second.reason == "INTAKE_FULL"
    assert writer.log_bytes == 2 * len(record)


def test_numbers_are_never_used_twice_whatever_was_deleted(tmp_path):
    first = Numbers(tmp_path)
    taken = [first.take() for _ in range(1_500)]
    second = Numbers(tmp_path)

    assert taken == sorted(set(taken))
    assert second.take() > taken[-1]


def damaged(tmp_path):
    good = seal(b"good", "", 1)
    folder = tmp_path / Signal.LOGS
    folder.mkdir()
    path = folder / "0000000001.pb"
    path.write_bytes(good + b"\0\0\0" + good + good[:10])
    return Segment(signal=Signal.LOGS, number=1, path=path), good


def test_a_write_that_never_finished_is_cut_and_other_damage_is_kept(tmp_path):
    segment, good = damaged(tmp_path)

    mended = mend(segment, tmp_path / "quarantine", newest=True)

    assert segment.path.read_bytes() == mended.data == good * 2
    assert (mended.cut_bytes, mended.quarantined_bytes) == (10, 3)
    assert all(isinstance(one, Record) for one in mended.records)
    (kept,) = (tmp_path / "quarantine").iterdir()
    assert kept.read_bytes() == b"\0\0\0"


def test_damage_at_the_end_of_a_closed_segment_is_kept_too(tmp_path):
    segment, good = damaged(tmp_path)

    mended = mend(segment, tmp_path / "quarantine", newest=False)

    assert (mended.cut_bytes, mended.quarantined_bytes) == (0, 13)
    assert {kept.read_bytes() for kept in (tmp_path / "quarantine").iterdir()} == {
        b"\0\0\0",
        good[:10],
    }
