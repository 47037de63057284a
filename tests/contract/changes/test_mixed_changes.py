"""A short run of the bench's mixed changes: no request fails, no stream is cut."""

import asyncio

import pytest

from bench.areas.gateway.mixed import run
from bench.mixed.kinds import KINDS


CHANGES = 60
CHANGE_RATE = 20
CALL_RATE = 50
"""Few: the full load is the bench's, on a machine of its own."""


@pytest.mark.timeout(300)
async def test_no_change_of_any_kind_fails_a_request_or_cuts_a_stream():
    outcome = await asyncio.to_thread(
        run, changes=CHANGES, change_rate=CHANGE_RATE, call_rate=CALL_RATE
    )
    assert outcome.failures == {}
    assert outcome.cut == []
    assert outcome.listener_updates == 0
    assert set(outcome.turns) == {kind.name for kind in KINDS}
    assert min(outcome.turns.values()) >= 1
    assert sum(outcome.turns.values()) >= CHANGES
    assert len(outcome.samples) >= CHANGES
