"""Paging over log records whose times may be equal."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshkit.errors import InvalidInput
from telemetry.query.log_pages import SAME_TIME_MAX, read_page
from telemetry.store.model import LogQuery, LogRecord


def record(time_ns, number):
    return LogRecord(
        time_ns=time_ns,
        service="s",
        instance="0",
        severity=9,
        severity_text="",
        event="",
        body=str(number),
        trace_id=b"",
        span_id=b"",
        scope="",
        attributes={},
        resource={},
    )


def searching(records, seed):
    """A store that gives records of one time in another order each time."""
    chance = random.Random(seed)

    async def search(query):
        found = [r for r in records if query.start_ns <= r.time_ns < query.end_ns]
        chance.shuffle(found)
        found.sort(key=lambda r: -r.time_ns)
        return found[: query.limit]

    return search


@settings(deadline=None)
@given(st.lists(st.integers(1, 6), max_size=30), st.integers(1, 7), st.integers())
async def test_every_record_comes_once_newest_first(times, size, seed):
    records = [record(time_ns, number) for number, time_ns in enumerate(times)]
    query = LogQuery(start_ns=0, end_ns=100)
    search = searching(records, seed)
    seen, after = [], None
    while True:
        page, after = await read_page(search, query, size, after)
        seen += page
        if after is None:
            break
        assert len(page) == size
    assert sorted(r.body for r in seen) == sorted(r.body for r in records)
    assert [r.time_ns for r in seen] == sorted(times, reverse=True)


async def test_too_many_records_of_one_time_are_refused():
    records = [record(5, number) for number in range(SAME_TIME_MAX + 1)]
    with pytest.raises(InvalidInput) as caught:
        await read_page(searching(records, 0), LogQuery(start_ns=0, end_ns=100), 10, None)
    assert caught.value.reason == "TOO_MANY_RECORDS_AT_ONCE"
