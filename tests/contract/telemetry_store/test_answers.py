"""Answers of the ClickHouse in this process, which stay where ClickHouse has put them."""

# ruff: noqa: S608 - numbers of ours

import gc

import numpy as np

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
