"""Changes of many objects at once, on a real PostgreSQL, over the operator's socket."""

import asyncio

import grpc
import pytest
from google.protobuf import json_format

from aerofusion.gateway.v1 import (
    change_service_pb2,
    change_service_pb2_grpc,
    object_pb2,
    revision_pb2,
)
from aerofusion.gateway.v1 import config_service_pb2 as rpc
from aerofusion.gateway.v1 import config_service_pb2_grpc as stubs
from meshkit.status import from_rpc_error


SHOP = {
    "service": {
        "name": "services/shop",
        "grpc_services": ["t.v1.Shop"],
        "endpoints": [
            {"address": "127.0.0.1", "port": 5000, "locality": {"zone": "a"}, "priority": 1}
        ],
        "load_balancing": {"policy": "POLICY_RING_HASH", "hash_key": {"cookie": "basket"}},
        "outlier_detection": {"consecutive_errors": 3, "base_ejection_time": "2s"},
    }
}
NEW = {"service": {"name": "services/new", "grpc_services": ["t.v1.New"]}}
CANARY = {
    "route": {
        "name": "services/shop/routes/canary",
        "match": {"grpc_service": "t.v1.Shop", "headers": [{"name": "x-a", "present": True}]},
        "destinations": [{"service": "services/new", "weight": 1}],
        "mirrors": [{"service": "services/shop", "percent": 12.5}],
        "retry": {"attempts_max": 2, "per_try_timeout": "1s", "hedge": True},
        "request_headers": {"set": [{"name": "x-a", "value": "b"}], "remove": ["x-c"]},
    }
}
POLICY = {
    "policy": {
        "name": "policies/staff",
        "action": "ACTION_ALLOW",
        "principals": [{"roles": ["staff"], "claims": [{"name": "dept", "values": ["it"]}]}],
    }
}


def change_set(*objects, **fields):
    return rpc.ChangeSet(
        objects=[json_format.ParseDict(one, object_pb2.Object()) for one in objects], **fields
    )


@pytest.fixture
async def config(operator):
    return stubs.ConfigServiceStub(operator)


async def apply(config, *objects, request_id="", **fields):
    return await config.ApplyChange(
        rpc.ApplyChangeRequest(change_set=change_set(*objects, **fields), request_id=request_id)
    )


async def refused(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


async def listed(config, prefix=""):
    response = await config.ListObjects(rpc.ListObjectsRequest(prefix=prefix))
    return [getattr(one, one.WhichOneof("kind")).name for one in response.objects]


async def test_objects_are_kept_as_they_were_told(config):
    done = await apply(config, CANARY, SHOP, NEW)
    assert done.change == f"changes/{done.revision}"
    assert [one.action for one in done.changes] == [revision_pb2.Revision.ACTION_CREATE] * 3
    for told in (SHOP, CANARY):
        ((key, content),) = told.items()
        got = await config.GetObject(rpc.GetObjectRequest(name=content["name"]))
        message = getattr(got.object, key)
        assert message.etag
        kept = json_format.MessageToDict(message, preserving_proto_field_name=True)
        for field in ("name", "match", "destinations", "mirrors", "retry", "request_headers"):
            assert kept.get(field) == content.get(field)
    assert kept["mirrors"] == [{"service": "services/shop", "percent": 12.5}]


async def test_objects_of_other_kinds_are_kept_as_they_were_given(config):
    await apply(config, POLICY)
    found = await config.GetObject(rpc.GetObjectRequest(name="policies/staff"))
    kept = json_format.MessageToDict(found.object, preserving_proto_field_name=True)["policy"]
    assert {name: kept[name] for name in POLICY["policy"]} == POLICY["policy"]


async def test_what_is_so_already_makes_no_revision(config):
    first = await apply(config, SHOP, NEW, CANARY)
    again = await apply(config, SHOP, NEW, CANARY)
    assert list(again.changes) == []
    assert again.revision == first.revision


async def test_a_change_is_all_or_nothing(config):
    bad = {"service": {**NEW["service"], "grpc_services": ["not a name"]}}
    error = await refused(apply(config, SHOP, bad))
    assert error.reason == "INVALID_SERVICE"
    assert "service.grpc_services[0]" in error.field_violations
    assert await listed(config) == []


async def test_a_plan_says_what_would_be_and_does_nothing(config):
    await apply(config, SHOP)
    wider = {"service": {**SHOP["service"], "description": "sells"}}
    request = rpc.PlanChangeRequest(change_set=change_set(wider, NEW))
    planned = (await config.PlanChange(request)).changes
    assert [(one.name, one.action) for one in planned] == [
        ("services/new", revision_pb2.Revision.ACTION_CREATE),
        ("services/shop", revision_pb2.Revision.ACTION_UPDATE),
    ]
    assert list(planned[1].fields) == ["description"]
    assert await listed(config) == ["services/shop"]


async def test_what_others_need_stays(config):
    await apply(config, SHOP, NEW, CANARY)
    error = await refused(apply(config, deletes=["services/new"]))
    needing = (error.reason, error.metadata["object"])
    assert needing == ("OBJECT_IN_USE", "services/shop/routes/canary")
    await apply(config, deletes=["services/new", "services/shop/routes/canary"])
    assert await listed(config) == ["services/shop"]
    error = await refused(apply(config, CANARY))
    assert error.reason == "SERVICE_NOT_FOUND"


async def test_pruning_takes_what_is_not_told(config):
    await apply(config, SHOP, NEW, CANARY)
    await apply(config, SHOP, prune=["services/"])
    assert await listed(config) == ["services/shop"]


async def test_a_grpc_service_moves_between_services_in_one_change(config):
    def offering(name, *offered):
        return {"service": {"name": f"services/{name}", "grpc_services": list(offered)}}

    await apply(config, offering("b", "t.v1.One"), offering("a"))
    await apply(config, offering("a", "t.v1.One"), offering("b"))
    got = await config.GetObject(rpc.GetObjectRequest(name="services/a"))
    assert list(got.object.service.grpc_services) == ["t.v1.One"]


async def test_a_revision_comes_back_and_can_be_compared(config):
    first = await apply(config, SHOP, NEW, CANARY)
    await apply(config, {"service": {"name": "services/more"}})
    await apply(config, {"service": {**SHOP["service"], "description": "x"}})
    request = rpc.DiffRevisionsRequest(from_revision=first.revision)
    compared = await config.DiffRevisions(request)
    assert [one.name for one in compared.changes] == ["services/more", "services/shop"]
    back = await config.RollBack(rpc.RollBackRequest(revision=first.revision))
    assert back.change == f"changes/{back.revision}"
    assert await listed(config) == ["services/new", "services/shop", "services/shop/routes/canary"]
    compared = await config.DiffRevisions(
        rpc.DiffRevisionsRequest(from_revision=first.revision, to_revision=back.revision)
    )
    assert list(compared.changes) == []
    error = await refused(config.RollBack(rpc.RollBackRequest(revision=10_000)))
    assert error.reason == "REVISION_NOT_FOUND"


async def test_a_repeated_request_changes_nothing(config):
    first = await apply(config, SHOP, request_id="r1")
    await apply(config, deletes=["services/shop"])
    again = await apply(config, SHOP, request_id="r1")
    assert again.revision == first.revision
    assert await listed(config) == []
    error = await refused(apply(config, NEW, request_id="r1"))
    assert error.reason == "REQUEST_ID_REUSED"


async def test_an_etag_guards_each_object(config):
    await apply(config, SHOP)
    stale = {"service": {**SHOP["service"], "etag": "1-deadbeef", "description": "x"}}
    assert (await refused(apply(config, stale))).reason == "ETAG_MISMATCH"


async def test_a_canary_that_no_edge_could_have_is_refused(config):
    request = rpc.ApplyChangeRequest(change_set=change_set(SHOP), canary=rpc.Canary(percent=10))
    assert (await refused(config.ApplyChange(request))).reason == "CANARY_WITHOUT_EDGES"
    request.canary.percent = 100
    assert (await refused(config.ApplyChange(request))).reason == "INVALID_CHANGE"
    assert await listed(config) == []


async def test_a_canary_without_evidence_is_never_promoted_and_says_why(config, operator):
    changes = change_service_pb2_grpc.ChangeServiceStub(operator)
    request = rpc.ApplyChangeRequest(
        change_set=change_set(SHOP), canary=rpc.Canary(edges=["edge"], bake_time={"seconds": 1})
    )
    made = (await config.ApplyChange(request)).change

    async def change():
        asked = change_service_pb2.GetChangeRequest(name=made)
        return (await changes.GetChange(asked)).change

    async with asyncio.timeout(20):
        while True:
            if "has not acknowledged it" in (await change()).reason:
                break
            await asyncio.sleep(0.02)  # polls
    assert (await change()).state == change_service_pb2.Change.STATE_CANARY
    mended = {"service": {**SHOP["service"], "grpc_services": ["t.v1.Other"]}}
    assert (await refused(apply(config, mended))).reason == "CANARY_IN_PROGRESS"
    await apply(config, deletes=["services/shop"])
    assert (await change()).state == change_service_pb2.Change.STATE_ROLLED_BACK
    assert (await change()).reason.startswith("undone by ")
    await apply(config, mended)


async def test_a_service_takes_over_what_another_offered_that_goes_with_the_same_change(config):
    await apply(config, SHOP, NEW)
    heir = {"service": {**SHOP["service"], "name": "services/heir"}}
    done = await apply(config, heir, deletes=["services/shop"])
    assert [(one.name, one.action) for one in done.changes] == [
        ("services/heir", revision_pb2.Revision.ACTION_CREATE),
        ("services/shop", revision_pb2.Revision.ACTION_DELETE),
    ]
    assert await listed(config) == ["services/heir", "services/new"]
