"""Answers of the ClickHouse in this process, which stay where ClickHouse has put them."""

# ruff: noqa: S608 - numbers of ours

import asyncio
import gc

import numpy as np
import pytest

from meshkit.errors import Unavailable
from telemetry.store.sessions import Sessions


ROWS = 2_000_000


async def test_an_answer_stays_as_it_is_whatever_is_asked_after_it(tmp_path):
    async with Sessions.open(tmp_path / "store") as sessions:
        answer = await sessions.batches(f"SELECT number FROM numbers({ROWS})")
        parts = [batch.column("number").to_numpy() for batch in answer]
        del answer
        gc.collect()
        for turn in range(1, 6):
            other = await sessions.batches(f"SELECT number + {turn} AS n FROM numbers({ROWS})")
            assert sum(len(batch) for batch in other) == ROWS

        assert (np.concatenate(parts) == np.arange(ROWS)).all()
    assert (np.concatenate(parts) == np.arange(ROWS)).all()


async def test_an_answer_without_rows_has_its_columns(tmp_path):
    async with Sessions.open(tmp_path / "store") as sessions:
        answer = await sessions.batches("SELECT number FROM numbers(0)")

        assert answer.schema.names == ["number"]
        assert answer.read_all().num_rows == 0


async def test_a_store_is_closed_whole_however_often_its_queries_are_cut_off(tmp_path):
    """A session left open would keep this process from ever opening another store."""
    slow = "SELECT sum(sleepEachRow(0.1)) FROM numbers(10)"
    async with Sessions.open(tmp_path / "one") as sessions:
        asking = [asyncio.create_task(sessions.query(slow, "CSV")) for _ in range(3)]
        await asyncio.sleep(0)  # lets them begin
        for _ in range(2):
            for one in asking:
                one.cancel()
            await asyncio.sleep(0)  # lets them hear of it

    assert [str(one.exception()) for one in asking if not one.cancelled()] == []
    with pytest.raises(Unavailable, match="closed"):
        await sessions.query("SELECT 1", "CSV")
    async with Sessions.open(tmp_path / "two") as sessions:
        assert await sessions.query("SELECT 1", "CSV") == b"1\n"
