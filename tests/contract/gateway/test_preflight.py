"""The preflight: a private Envoy takes each change before the edge does."""

import asyncio

import grpc
import pytest
import pytest_asyncio
from google.protobuf import json_format

from aerofusion.gateway.v1 import (
    catalog_service_pb2,
    change_service_pb2,
    config_service_pb2,
    object_pb2,
)
from meshkit.status import from_rpc_error
from tests.fixtures.echo import EchoMessage, EchoStub
from tests.fixtures.edge import bearer, edge


pytestmark = pytest.mark.asyncio(loop_scope="module")

BAD = {
    "service": {
        "name": "services/bad",
        # A zone id makes an address that we take and Envoy doesn't.
        "endpoints": [{"address": "fe80::1%nope", "port": 1}],
    }
}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def mesh(postgres):
    async with edge(postgres) as made:
        made.servers = [await made.echo("0")]
        await made.put_service("echo", made.servers[0])
        await made.start_preflight()
        yield made


def change_set(*objects, **fields):
    return config_service_pb2.ChangeSet(
        objects=[json_format.ParseDict(one, object_pb2.Object()) for one in objects], **fields
    )


async def applied(mesh, *objects, **fields):
    request = config_service_pb2.ApplyChangeRequest(change_set=change_set(*objects, **fields))
    return await mesh.config.ApplyChange(request)


async def finished(mesh, name):
    """Follow a change until every proxy has said what it makes of it."""
    async with asyncio.timeout(15):
        async for step in mesh.changes.WatchChange(
            change_service_pb2.WatchChangeRequest(name=name)
        ):
            done = [
                one.HasField("acknowledge_time") or one.refusals for one in step.change.receipts
            ]
            if len(done) == 2 and all(done):
                return step.change
    raise AssertionError("it never finished")


async def echoed(mesh):
    """Have the edge answer a call; returns the text of the answer."""
    async with mesh.channel() as channel:
        call = EchoStub(channel).Echo(EchoMessage(text="hi"), metadata=bearer(await mesh.token()))
        return (await call).text


async def test_a_good_change_passes_the_preflight_first(mesh):
    made = await mesh.put_service("echo", mesh.servers[0], unary_timeout={"seconds": 9})
    change = await finished(mesh, f"changes/{made.revision}")
    receipts = {one.node: one for one in change.receipts}
    first = receipts["preflight"].acknowledge_time.ToDatetime()
    assert first <= receipts["edge"].send_time.ToDatetime()
    assert await echoed(mesh) == "hi"


async def test_what_the_preflight_refuses_never_reaches_the_edge(mesh):
    before = mesh.log.read_text()
    change = await finished(mesh, (await applied(mesh, BAD)).change)
    receipts = {one.node: one for one in change.receipts}
    (refusal,) = receipts["preflight"].refusals
    assert (refusal.object, refusal.field) == ("services/bad", "endpoints[].address")
    assert not receipts["edge"].refusals
    assert "fe80" not in mesh.log.read_text()[len(before) :]
    assert change.state == change_service_pb2.Change.STATE_REJECTED
    # Mended, it goes through.
    good = {"service": {**BAD["service"], "endpoints": [{"address": "127.0.0.1", "port": 1}]}}
    change = await finished(mesh, (await applied(mesh, good)).change)
    assert change.state == change_service_pb2.Change.STATE_ACTIVE
    await applied(mesh, deletes=["services/bad"])


async def test_a_refused_change_of_what_is_served_leaves_the_edge_as_it_is(mesh):
    before = mesh.log.read_text()
    stored = await mesh.catalog.GetService(
        catalog_service_pb2.GetServiceRequest(name="services/echo")
    )
    bad = stored.service
    del bad.endpoints[:]
    bad.endpoints.add(address="fe80::1%nope", port=1)
    made = await mesh.catalog.UpdateService(catalog_service_pb2.UpdateServiceRequest(service=bad))
    change = await finished(mesh, f"changes/{made.service.revision}")
    receipts = {one.node: one for one in change.receipts}
    (refusal,) = receipts["preflight"].refusals
    assert (refusal.object, refusal.field) == ("services/echo", "endpoints[].address")
    assert not receipts["edge"].refusals
    assert "fe80" not in mesh.log.read_text()[len(before) :]
    assert await echoed(mesh) == "hi"
    # Rolled back, it is what all have.
    await mesh.put_service("echo", mesh.servers[0])
    assert await echoed(mesh) == "hi"


async def test_a_plan_can_be_tried_out(mesh):
    request = config_service_pb2.PlanChangeRequest(change_set=change_set(BAD), preflight=True)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await mesh.config.PlanChange(request)
    error = from_rpc_error(caught.value)
    assert (error.reason, error.metadata["object"]) == ("PREFLIGHT_FAILED", "services/bad")
    good = {"service": {**BAD["service"], "endpoints": []}}
    request = config_service_pb2.PlanChangeRequest(change_set=change_set(good), preflight=True)
    assert len((await mesh.config.PlanChange(request)).changes) == 1
    change = await finished(mesh, (await applied(mesh, good)).change)
    assert change.state == change_service_pb2.Change.STATE_ACTIVE
    await applied(mesh, deletes=["services/bad"])
