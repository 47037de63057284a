"""Group commit: who waits, who goes together, and who pays for whose fault."""

import asyncio

import pytest

from meshkit.errors import Overloaded, Unavailable
from syncd.limits import Limits
from syncd.model import Batch, Head, Mutation, Result, Status
from syncd.store.cells import Applied
from syncd.writer import Writer


class Tables:
    """Applies groups when let, and remembers them."""

    def __init__(self):
        self.groups = []
        self.free = asyncio.Event()
        self.free.set()
        self.fault = lambda batches: None

    async def apply(self, space_key, batches):
        await self.free.wait()
        error = self.fault(batches)
        if error:
            raise error
        self.groups.append([batch.device for batch in batches])
        results = [
            [Result(number=m.number, status=Status.APPLIED, seq=1) for m in batch.mutations]
            for batch in batches
        ]
        return Applied(results, Head(space_key=space_key, seq=1, state_hash=0), 0, 0.0)


def batch(device, count=1):
    mutations = [Mutation(number=n, base_seq=0, hlc=0, operations=()) for n in range(1, count + 1)]
    return Batch(device=device, mutations=tuple(mutations))


@pytest.fixture
async def tables():
    return Tables()


async def submit(tables, *batches, **limits):
    """Submit the first, then the rest while it is under way; return what each got."""
    committed = []
    async with asyncio.TaskGroup() as tasks:
        writer = Writer(tables, Limits(**limits), tasks, lambda head, _: committed.append(head))
        tables.free.clear()
        waiting = []
        for each in batches:
            waiting.append(asyncio.ensure_future(writer.submit(7, each)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        tables.free.set()
        outcome = await asyncio.gather(*waiting, return_exceptions=True)
    assert len(committed) == len(tables.groups)
    return outcome


async def test_what_comes_while_one_group_is_under_way_makes_up_the_next(tables):
    outcome = await submit(tables, *(batch(f"d{n}") for n in range(6)))
    assert tables.groups[0] == ["d0"]
    assert tables.groups[1:] == [[f"d{n}" for n in range(1, 6)]]
    assert all(results[0].status is Status.APPLIED for results, _ in outcome)


async def test_a_group_holds_no_more_mutations_than_it_may(tables):
    await submit(tables, *(batch(f"d{n}", 4) for n in range(4)), write_group_max=8)
    assert tables.groups == [["d0"], ["d1", "d2"], ["d3"]]


async def test_a_full_queue_refuses_work_instead_of_waiting(tables):
    outcome = await submit(tables, *(batch(f"d{n}", 4) for n in range(4)), write_queue_max=8)
    assert [isinstance(each, Overloaded) for each in outcome] == [False, False, False, True]


async def test_a_lost_database_fails_the_group_with_a_reason(tables):
    tables.fault = lambda _: Unavailable("POSTGRES_UNAVAILABLE", "away")
    outcome = await submit(tables, batch("a"), batch("b"))
    assert [error.reason for error in outcome] == ["POSTGRES_UNAVAILABLE"] * 2


async def test_one_that_breaks_the_group_fails_alone(tables):
    def fault(batches):
        return ValueError("poison") if any(b.device == "bad" for b in batches) else None

    tables.fault = fault
    outcome = await submit(tables, batch("a"), batch("b"), batch("bad"), batch("c"))
    assert [isinstance(each, ValueError) for each in outcome] == [False, False, True, False]


async def test_whoever_gives_up_waiting_leaves_the_others_their_results(tables):
    async with asyncio.TaskGroup() as tasks:
        writer = Writer(tables, Limits(), tasks, lambda *_: None)
        tables.free.clear()
        impatient = asyncio.ensure_future(writer.submit(7, batch("a")))
        patient = asyncio.ensure_future(writer.submit(7, batch("b")))
        await asyncio.sleep(0)
        impatient.cancel()
        tables.free.set()
        results, _ = await patient
    assert results[0].status is Status.APPLIED
