"""Changes of many objects at once, on a real PostgreSQL, over the operator's socket."""

import grpc
import pytest
from google.protobuf import json_format

from aerofusion.gateway.v1 import config_service_pb2 as rpc
from aerofusion.gateway.v1 import config_service_pb2_grpc as stubs
from aerofusion.gateway.v1 import object_pb2, revision_pb2
from meshkit.status import from_rpc_error


SHOP = {
    "service": {
        "name": "services/shop",
        "endpoints": [{"address": "127.0.0.1", "port": 5000}],
        "protocol": "PROTOCOL_HTTP1",
    }
}
SITE = {
    "host": {
        "name": "hosts/site",
        "domains": ["shop.example", "*.shop.example"],
        "access": {"public": True},
        "cors_origins": ["https://a.example"],
        "rules": [
            {
                "id": "old",
                "match": {"path_prefix": "/old", "query": [{"name": "a", "present": False}]},
                "redirect": {"prefix": "/new", "status": 301},
            },
            {
                "id": "all",
                "forward": {
                    "destinations": [{"service": "services/shop", "weight": 1}],
                    "retry": {"attempts_max": 2},
                },
                "request_headers": {"set": [{"name": "x-a", "value": "b"}]},
            },
        ],
    }
}
LIMIT = {
    "limit": {
        "name": "limits/site",
        "strength": "STRENGTH_QUOTA",
        "scope": {"hosts": ["hosts/site"]},
        "keys": [{"tenant": True}, {"header": "x-plan"}],
        "requests": 100,
        "interval": "60s",
    }
}
POLICY = {
    "policy": {
        "name": "policies/staff",
        "action": "ACTION_ALLOW",
        "principals": [{"roles": ["staff"], "claims": [{"name": "dept", "values": ["it"]}]}],
        "shadow": True,
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


async def test_objects_of_every_kind_are_kept_as_they_were_told(config):
    done = await apply(config, SITE, POLICY, LIMIT, SHOP)
    assert done.change == f"changes/{done.revision}"
    assert [one.action for one in done.changes] == [revision_pb2.Revision.ACTION_CREATE] * 4
    for told in (SITE, LIMIT, POLICY):
        ((key, content),) = told.items()
        got = await config.GetObject(rpc.GetObjectRequest(name=content["name"]))
        message = getattr(got.object, key)
        assert message.etag
        for field in ("etag", "create_time", "update_time", "revision"):
            message.ClearField(field)
        kept = json_format.MessageToDict(message, preserving_proto_field_name=True)
        for field, value in content.items():
            if field != "rules":
                assert kept[field] == value
    rules = (await config.GetObject(rpc.GetObjectRequest(name="hosts/site"))).object.host.rules
    assert [rule.id for rule in rules] == ["old", "all"]
    assert rules[1].forward.timeout.seconds == 30


async def test_what_is_so_already_makes_no_revision(config):
    first = await apply(config, SHOP, SITE)
    again = await apply(config, SHOP, SITE)
    assert list(again.changes) == []
    assert again.revision == first.revision


async def test_a_change_is_all_or_nothing(config):
    bad = {"host": {**SITE["host"], "domains": ["NOT A DOMAIN"]}}
    error = await refused(apply(config, SHOP, bad))
    assert error.reason == "INVALID_OBJECT"
    assert "host.domains[0]" in error.field_violations
    assert await listed(config) == []


async def test_a_plan_says_what_would_be_and_does_nothing(config):
    await apply(config, SHOP)
    wider = {"service": {**SHOP["service"], "description": "sells"}}
    request = rpc.PlanChangeRequest(change_set=change_set(wider, SITE))
    planned = (await config.PlanChange(request)).changes
    assert [(one.name, one.action) for one in planned] == [
        ("hosts/site", revision_pb2.Revision.ACTION_CREATE),
        ("services/shop", revision_pb2.Revision.ACTION_UPDATE),
    ]
    assert list(planned[1].fields) == ["description"]
    assert await listed(config) == ["services/shop"]


async def test_what_others_need_stays(config):
    await apply(config, SHOP, SITE)
    error = await refused(apply(config, deletes=["services/shop"]))
    assert (error.reason, error.metadata["object"]) == ("OBJECT_IN_USE", "hosts/site")
    await apply(config, deletes=["services/shop", "hosts/site"])
    assert await listed(config) == []
    error = await refused(apply(config, SITE))
    assert error.reason == "OBJECT_MISSING"


async def test_pruning_takes_what_is_not_told(config):
    other = {"service": {**SHOP["service"], "name": "services/other"}}
    await apply(config, SHOP, other, POLICY)
    await apply(config, SHOP, prune=["services/"])
    assert await listed(config) == ["policies/staff", "services/shop"]


async def test_a_grpc_service_moves_between_services_in_one_change(config):
    def offering(name, *offered):
        return {"service": {"name": f"services/{name}", "grpc_services": list(offered)}}

    await apply(config, offering("b", "t.v1.One"), offering("a"))
    await apply(config, offering("a", "t.v1.One"), offering("b"))
    got = await config.GetObject(rpc.GetObjectRequest(name="services/a"))
    assert list(got.object.service.grpc_services) == ["t.v1.One"]


async def test_a_revision_comes_back_and_can_be_compared(config):
    first = await apply(config, SHOP, SITE)
    await apply(config, LIMIT, deletes=[])
    await apply(config, {"service": {**SHOP["service"], "description": "x"}})
    request = rpc.DiffRevisionsRequest(from_revision=first.revision)
    compared = await config.DiffRevisions(request)
    assert [one.name for one in compared.changes] == ["limits/site", "services/shop"]
    back = await config.RollBack(rpc.RollBackRequest(revision=first.revision))
    assert back.change == f"changes/{back.revision}"
    assert await listed(config) == ["hosts/site", "services/shop"]
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
    error = await refused(apply(config, SITE, request_id="r1"))
    assert error.reason == "REQUEST_ID_REUSED"


async def test_an_etag_guards_each_object(config):
    await apply(config, SHOP)
    stale = {"service": {**SHOP["service"], "etag": "1-deadbeef", "description": "x"}}
    assert (await refused(apply(config, stale))).reason == "ETAG_MISMATCH"
