"""Phones on a real syncd while its boards change: they come and go, and show what the server has."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from meshctl.demo.counts import Counts
from meshctl.demo.day import AIRPORTS
from meshctl.demo.edge import Edge
from meshctl.demo.phones import Owner, Phone, PhoneMeters
from meshctl.demo.publishers import BoardPublisher, Meters
from meshctl.demo.referee import Referee, Verdict, differing
from meshctl.demo.replay import Clock, Replay
from meshctl.demo.tenant import Tenant
from meshctl.demo.timeline import events_of
from syncd.app import serve
from syncd.settings import Settings
from tests.fixtures.day import small_day


CLOCK = Clock(
    simulated=datetime(2013, 3, 8, 9, tzinfo=UTC), real=datetime(2026, 1, 1, tzinfo=UTC), speed=144
)
PHONES = 8


@pytest.fixture(scope="module")
def played():
    day = small_day()
    return list(Replay(day=day, events=events_of(day), loops=1).occurrences())


@pytest.fixture
async def channel(ca, postgres, run_serve):
    dsn = await postgres.database("syncd")
    settings = Settings(postgres_dsn=dsn, heartbeat=timedelta(seconds=1))
    async with (
        run_serve(serve, settings, workload=ca.workload("syncd")) as port,
        ca.workload("flightinfo").channel(f"127.0.0.1:{port}", service="syncd") as channel,
    ):
        yield channel


@pytest.fixture
def edge(channel):
    return Edge(channel, token=lambda: "", call_timeout=timedelta(seconds=10))


@pytest.fixture
async def publish(edge, tmp_path):
    boards = BoardPublisher(
        tenant="nyc",
        run="r1",
        edge=edge,
        bases=await Tenant("nyc", edge).prepare_boards(),
        counts=Counts(part="flightinfo", folder=tmp_path),
        meters=Meters(),
    )

    async def publish(occurrences):
        for one in range(0, len(occurrences), 3):
            await boards.publish(occurrences[one : one + 3], CLOCK)

    return publish


@pytest.fixture
def meters(tmp_path):
    return PhoneMeters(Counts(part="devices", folder=tmp_path))


@pytest.fixture
async def phones(channel, publish, meters):
    made = [
        Phone(
            Owner(passenger=f"p{n}", tenant="nyc", airports=AIRPORTS, watches_inbox=False),
            token=lambda: "",
            meters=meters,
            online=timedelta(milliseconds=300),
            offline=timedelta(milliseconds=100),
        )
        for n in range(1, PHONES + 1)
    ]
    running = [asyncio.create_task(phone.run(channel)) for phone in made]
    yield made
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def test_boards_on_phones_become_the_servers_though_phones_come_and_go(
    edge, publish, phones, played, meters
):
    referee = Referee("nyc", edge, meters)
    verdicts = []

    async with asyncio.timeout(30):
        await publish(played[:25])
        while meters.counts["went_offline"] < 5 or verdicts.count(Verdict.EQUAL) < 2 * PHONES:
            for airport in AIRPORTS:
                verdicts += await referee.compare(airport, phones)

    assert Verdict.DIFFERENT not in verdicts
    assert meters.counts["converged"] == verdicts.count(Verdict.EQUAL)
    assert meters.counts["changes"] > 0
    assert sum(phone.heals for phone in phones) == 0


async def test_a_board_that_differs_is_noticed(edge, publish, phones, played, meters):
    referee = Referee("nyc", edge, meters)
    await publish(played[:25])
    board = phones[0].boards["LGA"]
    reading = await referee.read("LGA")
    async with asyncio.timeout(30):
        while board.cursor < reading.seq:
            await anext(board.changes())

    assert board.records() == reading.records
    assert differing(board, reading) == []
    reading.records.popitem()
    assert len(differing(board, reading)) == 1


async def test_a_reading_is_the_board_at_one_moment(edge, publish, played, meters):
    referee = Referee("nyc", edge, meters)
    await publish(played[:10])

    reading = await referee.read("JFK")

    assert reading.seq > 0
    assert {fields["flight"] for fields in reading.records.values()} <= {"B6 2", "DL 6"}
    assert all(fields["update_time"].tzinfo is UTC for fields in reading.records.values())
