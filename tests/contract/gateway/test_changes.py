"""Receipts of changes, from a real Envoy."""

import asyncio

import grpc
import pytest
import pytest_asyncio

from aerofusion.gateway.v1 import catalog_service_pb2, change_service_pb2_grpc, service_pb2
from aerofusion.gateway.v1 import change_service_pb2 as rpc
from meshkit.status import from_rpc_error
from tests.fixtures.edge import edge


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def mesh(postgres):
    async with edge(postgres) as made:
        made.servers = [await made.echo("0"), await made.echo("1")]
        made.changes = change_service_pb2_grpc.ChangeServiceStub(made.operator)
        yield made


async def followed(mesh, revision, enough):
    """Follow a change until *enough* of it is true; returns its states on the way."""
    states = []
    async with asyncio.timeout(15):
        call = mesh.changes.WatchChange(rpc.WatchChangeRequest(name=f"changes/{revision}"))
        async for step in call:
            states.append(step.change)
            if enough(step.change):
                call.cancel()
                break
    return states


def acknowledged(change):
    return bool(change.receipts) and all(
        one.HasField("acknowledge_time") for one in change.receipts
    )


async def test_a_change_is_sent_warm_and_acknowledged(mesh):
    made = await mesh.put_service("echo", mesh.servers[0])
    await mesh.settled()
    (*_, last) = await followed(mesh, made.revision, acknowledged)
    (receipt,) = last.receipts
    assert receipt.node == "edge"
    assert last.objects == ["services/echo"]
    assert last.state == rpc.Change.STATE_ACTIVE
    times = [receipt.send_time, receipt.warm_time, receipt.acknowledge_time]
    assert times == sorted(times, key=lambda time: time.ToDatetime())
    assert last.create_time.ToDatetime() <= receipt.send_time.ToDatetime()


async def test_a_watch_ends_when_every_proxy_has_spoken(mesh):
    made = await mesh.put_service("echo", mesh.servers[0], unary_timeout={"seconds": 8})
    states = await followed(mesh, made.revision, lambda _: False)
    assert states[-1].state == rpc.Change.STATE_ACTIVE
    assert acknowledged(states[-1])


async def test_what_changes_nothing_at_a_proxy_leaves_it_unaffected(mesh):
    await mesh.put_service("echo", mesh.servers[0])
    made = await mesh.put_service("echo", mesh.servers[0], description="only for people")
    await mesh.settled()
    (*_, last) = await followed(mesh, made.revision, acknowledged)
    assert last.receipts[0].unaffected
    assert not last.receipts[0].HasField("send_time")


async def test_a_refusal_names_the_object_and_what_envoy_said(mesh):
    await mesh.put_service("echo", mesh.servers[0])
    # A zone id makes an address that we take and Envoy doesn't.
    bad = service_pb2.Service(
        name="services/bad", endpoints=[service_pb2.Endpoint(address="fe80::1%nope", port=1)]
    )
    made = (await mesh.catalog.UpdateService(_update(bad))).service
    (*_, last) = await followed(mesh, made.revision, _refused)
    (refusal,) = last.receipts[0].refusals
    assert last.state == rpc.Change.STATE_REJECTED
    assert (refusal.object, refusal.field) == ("services/bad", "endpoints[].address")
    assert refusal.error
    edges = (await mesh.changes.ListEdges(rpc.ListEdgesRequest())).edges
    assert [(one.node, one.flavour) for one in edges] == [("edge", "edge")]
    assert edges[0].user_agent.startswith("envoy 1.")
    assert [one.object for one in edges[0].refusals] == ["services/bad"]


async def test_a_change_that_is_not_there_is_not_found(mesh):
    for name, reason in (("changes/999999", "CHANGE_NOT_FOUND"), ("changes/x", "INVALID_NAME")):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await mesh.changes.GetChange(rpc.GetChangeRequest(name=name))
        assert from_rpc_error(caught.value).reason == reason


def _refused(change):
    return any(one.refusals for one in change.receipts)


def _update(service):
    return catalog_service_pb2.UpdateServiceRequest(service=service, allow_missing=True)
