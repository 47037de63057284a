"""The flight boards on a real syncd: what the day's own service relies on."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from aerofusion.sync.v1 import sync_service_pb2, sync_service_pb2_grpc
from meshctl.demo.board import change_of
from meshctl.demo.counts import Counts
from meshctl.demo.day import AIRPORTS
from meshctl.demo.edge import Edge
from meshctl.demo.publishers import BoardPublisher, Meters
from meshctl.demo.replay import Clock, Replay
from meshctl.demo.tenant import Tenant
from meshctl.demo.timeline import events_of
from syncd.app import serve
from syncd.settings import Settings
from tests.fixtures.day import small_day


CLOCK = Clock(
    simulated=datetime(2013, 3, 8, 9, tzinfo=UTC), real=datetime(2026, 1, 1, tzinfo=UTC), speed=144
)


@pytest.fixture(scope="module")
def played():
    day = small_day()
    return list(Replay(day=day, events=events_of(day), loops=1).occurrences())


@pytest.fixture
async def edge(ca, postgres, run_serve):
    dsn = await postgres.database("syncd")
    async with run_serve(serve, Settings(postgres_dsn=dsn), workload=ca.workload("syncd")) as port:
        channel = ca.workload("flightinfo").channel(f"127.0.0.1:{port}", service="syncd")
        async with channel:
            yield Edge(channel, token=lambda: "", call_timeout=timedelta(seconds=10))


@pytest.fixture
async def bases(edge):
    return await Tenant("nyc", edge).prepare_boards()


def publisher(edge, bases, tmp_path, run="r1"):
    counts = Counts(part="flightinfo", folder=tmp_path)
    return BoardPublisher(
        tenant="nyc", run=run, edge=edge, bases=bases, counts=counts, meters=Meters()
    ), counts


async def board(edge, airport):
    stub = sync_service_pb2_grpc.SyncServiceStub(edge.channel)
    answer = await edge.call(
        stub.ListRecords,
        sync_service_pb2.ListRecordsRequest(
            parent=f"tenants/nyc/spaces/board-{airport.lower()}", page_size=1000
        ),
    )
    return {
        record.name.rpartition("/")[2]: {cell.field: cell.value for cell in record.cells}
        for record in answer.records
    }


def expected(occurrences, airport):
    records = {}
    for change in (change_of(o, CLOCK) for o in occurrences):
        if change.airport != airport:
            continue
        if change.fields is None:
            records.pop(change.record, None)
        else:
            records.setdefault(change.record, {}).update(change.fields)
    return records


async def test_boards_show_what_has_happened_so_far(edge, bases, played, tmp_path):
    boards, counts = publisher(edge, bases, tmp_path)
    half = played[: len(played) // 2]

    for one in range(0, len(half), 5):
        await boards.publish(half[one : one + 5], CLOCK)

    assert counts["board_changes"] == len(half)
    for airport in AIRPORTS:
        shown = await board(edge, airport)
        wanted = expected(half, airport)
        assert shown.keys() == wanted.keys()
        for record, fields in wanted.items():
            assert shown[record]["status"].string_value == fields["status"]
            assert shown[record]["gate"].string_value == fields["gate"]
            assert shown[record]["delay_minutes"].integer_value == fields["delay_minutes"]


async def test_a_repeated_batch_changes_nothing(edge, bases, played, tmp_path):
    boards, _ = publisher(edge, bases, tmp_path)
    await boards.publish(played[:20], CLOCK)
    heads = await Tenant("nyc", edge).prepare_boards()
    # As after a crash: a new process with the same run repeats its last batch.
    again, counts = publisher(edge, bases, tmp_path)
    await again.publish(played[:20], CLOCK)

    assert counts["board_changes_refused"] == 0
    assert await Tenant("nyc", edge).prepare_boards() == heads


async def test_a_whole_day_ends_with_empty_boards(edge, bases, played, tmp_path):
    boards, counts = publisher(edge, bases, tmp_path)
    for one in range(0, len(played), 7):
        await boards.publish(played[one : one + 7], CLOCK)

    assert [await board(edge, airport) for airport in AIRPORTS] == [{}, {}, {}]
    assert counts["board_changes_refused"] == 0
    assert counts["departures_late"] == 2


async def test_a_new_run_clears_what_the_last_one_left(edge, bases, played, tmp_path):
    boards, _ = publisher(edge, bases, tmp_path)
    await boards.publish(played[:20], CLOCK)
    tenant = Tenant("nyc", edge)

    await tenant.clear_boards()
    cleared = [await board(edge, airport) for airport in AIRPORTS]
    fresh, counts = publisher(edge, await tenant.prepare_boards(), tmp_path, run="r2")
    await fresh.publish([replace(one) for one in played[:20]], CLOCK)

    assert cleared == [{}, {}, {}]
    assert counts["board_changes_refused"] == 0
    for airport in AIRPORTS:
        assert (await board(edge, airport)).keys() == expected(played[:20], airport).keys()
