"""Unary pushes and pulls over real PostgreSQL, gRPC and mutual TLS."""

import asyncio

import grpc
import pytest

from aerofusion.sync.v1 import frames_pb2 as frames
from aerofusion.sync.v1 import sync_service_pb2 as contract
from tests.contract.syncd.conftest import (
    BOARD,
    PASSENGER,
    TENANT,
    batch,
    reason,
    setting,
    token,
)


async def push(syncd, *mutations, device="flightinfo-0", space=BOARD, **rest):
    request = contract.PushRequest(space=space, device_id=device, batch=batch(*mutations), **rest)
    return (await syncd.sync().Push(request)).ack


async def records(syncd):
    response = await syncd.sync().ListRecords(contract.ListRecordsRequest(parent=BOARD))
    return {
        record.name.rpartition("/")[2]: {
            cell.field: getattr(cell.value, cell.value.WhichOneof("kind")) for cell in record.cells
        }
        for record in response.records
    }


async def test_what_was_pushed_can_be_read_by_every_kind_of_value(syncd, flights):
    values = {
        "gate": "B2 \N{AIRPLANE}",
        "delay_minutes": -(2**63),
        "load": 0.85,
        "boarding": True,
        "picture": b"\x00\xff",
    }
    ack = await push(syncd, setting(1, **values))
    assert [(r.number, r.status, r.seq) for r in ack.results] == [
        (1, frames.MUTATION_STATUS_APPLIED, 1)
    ]
    assert ack.head.seq == 1
    assert await records(syncd) == {"UA1": values}


async def test_repeating_a_push_gives_the_same_results_and_changes_nothing(syncd, flights):
    first = await push(syncd, setting(1, gate="A1"), setting(2, gate="A2"))
    await push(syncd, setting(1, gate="B1", base_seq=2), device="flightinfo-1")
    again = await push(syncd, setting(1, gate="A1"), setting(2, gate="A2"))
    assert list(again.results) == list(first.results)
    assert (await records(syncd))["UA1"]["gate"] == "B1"


async def test_fifty_pushes_of_one_mutation_at_once_apply_it_once(syncd, flights):
    acks = await asyncio.gather(*(push(syncd, setting(1, gate="A1")) for _ in range(50)))
    assert {ack.results[0].seq for ack in acks} == {1}
    assert {ack.head.seq for ack in acks} == {1}


async def test_a_late_push_does_not_undo_what_its_device_wrote_since(syncd, flights):
    await push(syncd, setting(1, gate="A1"), setting(2, "UA2", gate="A1"), device="desk")
    await push(syncd, setting(2, gate="A1", base_seq=2))
    await push(syncd, setting(3, gate="A1", base_seq=2), device="tower")
    late = setting(1, gate="B2", base_seq=2)
    ack = await push(syncd, late, setting(3, "UA2", gate="B2", base_seq=2))
    assert [r.status for r in ack.results] == [
        frames.MUTATION_STATUS_SUPERSEDED,
        frames.MUTATION_STATUS_APPLIED,
    ]
    assert [one["gate"] for one in (await records(syncd)).values()] == ["A1", "B2"]
    listed = await syncd.sync().ListConflicts(contract.ListConflictsRequest(parent=BOARD))
    assert not listed.conflicts


async def test_pushes_of_many_devices_at_once_all_get_a_seq_of_their_own(syncd, flights):
    acks = await asyncio.gather(
        *(push(syncd, setting(1, f"UA{n}", gate="A1"), device=f"d{n}") for n in range(40))
    )
    assert sorted(ack.results[0].seq for ack in acks) == list(range(1, 41))
    assert len(await records(syncd)) == 40


async def test_a_loser_stands_in_the_journal(syncd, flights):
    await push(syncd, setting(1, gate="A1", hlc=2))
    ack = await push(syncd, setting(1, gate="B1", hlc=1), device="flightinfo-1")
    assert ack.results[0].status == frames.MUTATION_STATUS_SUPERSEDED
    listed = await syncd.sync().ListConflicts(contract.ListConflictsRequest(parent=BOARD))
    (conflict,) = listed.conflicts
    assert (conflict.record, conflict.field, conflict.value.string_value) == ("UA1", "gate", "B1")
    assert (conflict.device_id, conflict.winner_seq) == ("flightinfo-1", 1)
    assert conflict.reason == contract.CONFLICT_REASON_OLDER


async def test_a_removed_record_is_gone_and_may_come_back(syncd, flights):
    await push(syncd, setting(1, gate="A1"))
    removal = frames.Operation(record="UA1", delete=frames.DeleteRecord())
    await push(syncd, frames.Mutation(number=2, base_seq=1, operations=[removal]))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await syncd.sync().GetRecord(contract.GetRecordRequest(name=f"{BOARD}/records/UA1"))
    assert reason(caught.value) == "RECORD_NOT_FOUND"
    await push(syncd, setting(3, gate="A3", base_seq=2))
    assert await records(syncd) == {"UA1": {"gate": "A3"}}


async def test_a_pull_tells_only_what_changed_since_the_cursor(syncd, flights):
    await push(syncd, *(setting(n, f"UA{n}", gate="A1", status="on time") for n in range(1, 51)))
    first = (await syncd.sync().Pull(contract.PullRequest(space=BOARD))).delta
    for number in range(51, 151):
        await push(syncd, setting(number, "UA7", delay_minutes=number, base_seq=50))
    cursor = frames.Cursor(space_key=first.space_key, seq=first.to_seq)
    second = (await syncd.sync().Pull(contract.PullRequest(space=BOARD, cursor=cursor))).delta
    columns = frames.Columns.FromString(second.columns)
    assert (second.from_seq, second.to_seq, second.more) == (50, 150, False)
    assert list(columns.integers) == [150], "a hundred changes of a cell travel as one"
    assert not columns.new_record_ids
    assert len(second.columns) < 20


async def test_pages_of_a_pull_never_part_a_mutation(syncd, flights):
    for number in range(1, 11):
        await push(syncd, setting(number, f"UA{number}", gate="A1", status="late"))
    cursor, pages = frames.Cursor(), []
    while True:
        request = contract.PullRequest(space=BOARD, cursor=cursor, page_size=3)
        delta = (await syncd.sync().Pull(request)).delta
        pages.append((delta.from_seq, delta.to_seq, delta.more))
        cursor = frames.Cursor(space_key=delta.space_key, seq=delta.to_seq)
        if not delta.more:
            break
    assert pages[-1] == (9, 10, False)
    assert [page[0] for page in pages] == list(range(10))
    assert (
        delta.state_hash
        == (await push(syncd, setting(1, "UA1", gate="A1", status="late"))).head.state_hash
    )


async def test_a_cursor_of_another_life_of_the_space_starts_anew(syncd, flights):
    await push(syncd, setting(1, gate="A1"))
    stale = frames.Cursor(space_key=flights.space_key + 1, seq=1)
    delta = (await syncd.sync().Pull(contract.PullRequest(space=BOARD, cursor=stale))).delta
    assert (delta.reset, delta.from_seq, delta.to_seq) == (True, 0, 1)


REFUSALS = {
    "SPACE_NOT_FOUND": {"space": f"{TENANT}/spaces/nowhere"},
    "SPACE_NAME_INVALID": {"space": "board"},
    "DEVICE_ID_INVALID": {"device_id": "a b"},
    "MUTATIONS_MISSING": {"batch": frames.MutationBatch()},
    "BATCH_TOO_LARGE": {"batch": batch(*(setting(n, gate="A") for n in range(1, 502)))},
}


@pytest.mark.parametrize("why", REFUSALS)
async def test_a_push_that_cannot_succeed_says_why(syncd, flights, why):
    good = {"space": BOARD, "device_id": "d", "batch": batch(setting(1, gate="A1"))}
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await syncd.sync().Push(contract.PushRequest(**{**good, **REFUSALS[why]}))
    assert reason(caught.value) == why


REJECTIONS = {
    "FIELD_UNKNOWN": {"colour": "red"},
    "VALUE_TYPE_WRONG": {"gate": 7},
    "VALUE_INVALID": {"load": float("nan")},
    "VALUE_TOO_LARGE": {"gate": "x" * 70_000},
}


@pytest.mark.parametrize("why", REJECTIONS)
async def test_a_bad_mutation_is_rejected_and_the_good_one_beside_it_applied(syncd, flights, why):
    ack = await push(syncd, setting(1, **REJECTIONS[why]), setting(2, gate="A2"))
    assert [result.reason for result in ack.results] == [why, ""]
    assert (await records(syncd)) == {"UA1": {"gate": "A2"}}


async def test_a_message_beyond_the_limit_is_refused_unread(syncd, flights):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await push(syncd, *(setting(n, gate="x" * 60_000) for n in range(1, 101)))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_bytes_that_are_no_message_are_refused_by_name(syncd):
    call = syncd.channel("flightinfo").unary_unary("/aerofusion.sync.v1.SyncService/Push")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"\xff\xff\xff")
    assert reason(caught.value) == "MALFORMED_REQUEST"


async def as_user(syncd, metadata, *, write: bool):
    stub = syncd.sync("edge")
    if write:
        request = contract.PushRequest(
            space=BOARD, device_id="phone-1", batch=batch(setting(1, gate="A1"))
        )
        return await stub.Push(request, metadata=metadata)
    return await stub.Pull(contract.PullRequest(space=BOARD), metadata=metadata)


async def test_a_passenger_reads_the_board_and_may_not_write_it(syncd, flights):
    assert (await as_user(syncd, PASSENGER, write=False)).delta.space_key == flights.space_key
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await as_user(syncd, PASSENGER, write=True)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert reason(caught.value) == "ACCESS_DENIED"


async def test_a_service_s_token_may_write_the_board_through_the_edge(syncd, flights):
    ack = await as_user(syncd, token("services/ops", "service"), write=True)
    assert ack.ack.results[0].status == frames.MUTATION_STATUS_APPLIED


async def test_another_tenant_s_passenger_doesn_t_learn_that_the_space_exists(syncd, flights):
    stranger = token("passengers/p2", "passenger", tenant="elsewhere")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await as_user(syncd, stranger, write=False)
    assert reason(caught.value) == "SPACE_NOT_FOUND"


async def test_a_call_through_the_edge_without_a_token_is_refused(syncd, flights):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await as_user(syncd, (), write=False)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_peer_that_has_no_business_here_is_refused(syncd, flights):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await syncd.sync("telemetry").Pull(contract.PullRequest(space=BOARD))
    assert reason(caught.value) == "CALLER_NOT_ALLOWED"


async def test_a_device_id_belongs_to_the_first_subject_that_used_it(syncd, flights):
    first, second = (token(f"services/{name}", "service") for name in ("ops", "other"))
    await as_user(syncd, first, write=True)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await as_user(syncd, second, write=True)
    assert reason(caught.value) == "DEVICE_NOT_YOURS"
