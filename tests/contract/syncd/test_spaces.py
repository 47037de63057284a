"""Spaces are made, changed and removed, once and with reasons."""

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from aerofusion.sync.v1 import space_pb2
from aerofusion.sync.v1 import space_service_pb2 as contract
from tests.contract.syncd.conftest import BOARD, PASSENGER, TENANT, board, reason, token


def creating(space_id="board-jfk", space=None, **rest):
    space = board() if space is None else space
    return contract.CreateSpaceRequest(parent=TENANT, space_id=space_id, space=space, **rest)


async def refused(call) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return reason(caught.value)


async def test_a_space_has_numbered_fields_a_key_and_an_etag(syncd):
    space = (await syncd.spaces().CreateSpace(creating())).space
    assert space.name == BOARD
    assert [field.number for field in space.schema.fields] == list(range(1, 8))
    assert {field.policy for field in space.schema.fields} == {space_pb2.MERGE_POLICY_LWW}
    assert space.space_key > 0
    assert space.etag
    got = await syncd.spaces().GetSpace(contract.GetSpaceRequest(name=BOARD))
    assert got.space == space


async def test_a_name_is_taken_once_and_a_repeated_request_gets_its_answer_again(syncd):
    first = await syncd.spaces().CreateSpace(creating(request_id="r-1"))
    assert await syncd.spaces().CreateSpace(creating(request_id="r-1")) == first
    assert await refused(syncd.spaces().CreateSpace(creating())) == "SPACE_EXISTS"
    other = creating(space_id="other", request_id="r-1")
    assert await refused(syncd.spaces().CreateSpace(other)) == "REQUEST_ID_REUSED"


def with_field(**field):
    return space_pb2.Space(schema=space_pb2.Schema(fields=[space_pb2.Field(**field)]))


STRING = space_pb2.VALUE_TYPE_STRING
BAD = {
    "SPACE_ID_INVALID": creating(space_id="No_Good"),
    "SCHEMA_SIZE_INVALID": creating(space=space_pb2.Space()),
    "FIELD_NAME_INVALID": creating(space=with_field(name="9", type=STRING)),
    "FIELD_TYPE_MISSING": creating(space=with_field(name="a")),
    "MERGE_POLICY_NOT_IMPLEMENTED": creating(
        space=with_field(name="a", type=STRING, policy=space_pb2.MERGE_POLICY_COUNTER)
    ),
    "FIELD_NAME_TAKEN": creating(
        space=space_pb2.Space(
            schema=space_pb2.Schema(fields=[space_pb2.Field(name="a", type=STRING)] * 2)
        )
    ),
    "ACCESS_ENTRY_INVALID": creating(
        space=space_pb2.Space(
            schema=board().schema, access=space_pb2.AccessPolicy(reader_roles=["No Role"])
        )
    ),
    "TENANT_NAME_INVALID": contract.CreateSpaceRequest(parent="jfk", space_id="a", space=board()),
}


@pytest.mark.parametrize("why", BAD)
async def test_a_space_that_cannot_be_is_refused_with_a_reason(syncd, why):
    assert await refused(syncd.spaces().CreateSpace(BAD[why])) == why


async def test_an_update_with_an_old_etag_is_refused_and_changes_nothing(syncd, flights):
    def renaming(text):
        space = space_pb2.Space(name=BOARD, display_name=text, etag=flights.etag)
        return contract.UpdateSpaceRequest(
            space=space, update_mask=FieldMask(paths=["display_name"])
        )

    updated = (await syncd.spaces().UpdateSpace(renaming("one"))).space
    assert (updated.display_name, updated.schema) == ("one", flights.schema)
    assert await refused(syncd.spaces().UpdateSpace(renaming("two"))) == "ETAG_MISMATCH"
    got = await syncd.spaces().GetSpace(contract.GetSpaceRequest(name=BOARD))
    assert got.space == updated


async def test_a_schema_may_grow_but_not_lose_or_change_a_field(syncd, flights):
    def asking(fields):
        space = space_pb2.Space(name=BOARD, schema=space_pb2.Schema(fields=fields))
        return syncd.spaces().UpdateSpace(contract.UpdateSpaceRequest(space=space))

    fields = list(flights.schema.fields)
    assert await refused(asking(fields[1:])) == "SCHEMA_INCOMPATIBLE"
    changed = space_pb2.Field(name="gate", type=space_pb2.VALUE_TYPE_INTEGER)
    assert await refused(asking([changed, *fields[1:]])) == "SCHEMA_INCOMPATIBLE"
    grown = (await asking([*fields, space_pb2.Field(name="belt", type=STRING)])).space
    assert (grown.schema.version, grown.schema.fields[-1].number) == (2, 8)


async def test_a_mask_that_names_what_cannot_change_is_refused(syncd, flights):
    request = contract.UpdateSpaceRequest(
        space=space_pb2.Space(name=BOARD), update_mask=FieldMask(paths=["head_seq"])
    )
    assert await refused(syncd.spaces().UpdateSpace(request)) == "UPDATE_MASK_INVALID"


async def test_a_deleted_space_is_gone_and_its_name_free_for_another_life(syncd, flights):
    wrong = contract.DeleteSpaceRequest(name=BOARD, etag="1.99")
    assert await refused(syncd.spaces().DeleteSpace(wrong)) == "ETAG_MISMATCH"
    await syncd.spaces().DeleteSpace(contract.DeleteSpaceRequest(name=BOARD, etag=flights.etag))
    gone = syncd.spaces().GetSpace(contract.GetSpaceRequest(name=BOARD))
    assert await refused(gone) == "SPACE_NOT_FOUND"
    again = (await syncd.spaces().CreateSpace(creating())).space
    assert again.space_key != flights.space_key


async def test_a_list_holds_what_the_caller_may_read_page_by_page(syncd):
    for number in range(5):
        await syncd.spaces().CreateSpace(creating(space_id=f"board-{number}"))
    private = board()
    private.access.CopyFrom(space_pb2.AccessPolicy(reader_subjects=["passengers/p1"]))
    await syncd.spaces().CreateSpace(creating(space_id="private", space=private))

    async def names(metadata):
        found, page_token = [], ""
        while True:
            request = contract.ListSpacesRequest(parent=TENANT, page_size=2, page_token=page_token)
            page = await syncd.spaces("edge").ListSpaces(request, metadata=metadata)
            found += [space.name.rpartition("/")[2] for space in page.spaces]
            page_token = page.next_page_token
            if not page_token:
                return found

    boards = [f"board-{number}" for number in range(5)]
    assert await names(PASSENGER) == [*boards, "private"]
    assert await names(token("passengers/p2", "passenger")) == boards


async def test_a_passenger_may_not_make_a_space(syncd):
    call = syncd.spaces("edge").CreateSpace(creating(), metadata=PASSENGER)
    assert await refused(call) == "CALLER_NOT_ALLOWED"


async def test_a_service_may_not_change_a_space_it_may_not_write(syncd, flights):
    space = space_pb2.Space(
        name=BOARD, access=space_pb2.AccessPolicy(reader_roles=["service", "passenger"])
    )
    await syncd.spaces().UpdateSpace(contract.UpdateSpaceRequest(space=space))
    again = syncd.spaces().UpdateSpace(contract.UpdateSpaceRequest(space=space))
    assert await refused(again) == "ACCESS_DENIED"


async def test_a_page_token_of_another_list_is_refused(syncd):
    request = contract.ListSpacesRequest(parent=TENANT, page_token="bm9uZQ")
    assert await refused(syncd.spaces().ListSpaces(request)) == "INVALID_PAGE_TOKEN"
