"""A change reaches one edge first: two real Envoys, and our own telemetry."""

import asyncio
import base64
import json

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
from meshctl import exits
from meshkit.status import from_rpc_error
from tests.fixtures.cli import meshctl
from tests.fixtures.echo import SERVICE, descriptor_set
from tests.fixtures.edge import free_port


pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

WITHIN_S = 90
FAILING = {
    "name": "services/echo/routes/canary",
    "match": {"grpc_service": SERVICE},
    "direct_response": {"status": 418},
}
"""Seen at once, and no server error."""

UNRESOLVED = {"name": "services/bad", "endpoints": [{"address": "fe80::1%nope", "port": 1}]}
"""A zone id makes an address that we take and Envoy doesn't."""


def echo_at(port):
    """Return the echo service, with one endpoint."""
    return {
        "service": {
            "name": "services/echo",
            "identity": "echo",
            "grpc_services": [SERVICE],
            "json_prefixes": ["echo"],
            "descriptor_set": base64.b64encode(descriptor_set()).decode(),
            "endpoints": [{"address": "127.0.0.1", "port": port}],
        }
    }


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def as_it_was(mesh):
    """The echo service without routes, on both edges."""
    listed = await mesh.config.ListObjects(
        config_service_pb2.ListObjectsRequest(prefix="services/echo/routes/")
    )
    if listed.objects:
        await applied(mesh, deletes=[one.route.name for one in listed.objects])
    await until_status(mesh.first, 200)
    await until_status(mesh.second, 200)


async def applied(mesh, *objects, canary=None, deletes=()):
    request = config_service_pb2.ApplyChangeRequest(
        change_set=config_service_pb2.ChangeSet(
            objects=[json_format.ParseDict(one, object_pb2.Object()) for one in objects],
            deletes=deletes,
        )
    )
    if canary is not None:
        json_format.ParseDict(canary, request.canary)
    return await mesh.config.ApplyChange(request)


async def change_of(mesh, name):
    request = change_service_pb2.GetChangeRequest(name=name)
    return (await mesh.changes.GetChange(request)).change


async def until(holds):
    async with asyncio.timeout(WITHIN_S):
        while True:
            if await holds():
                return
            await asyncio.sleep(0.02)  # polls


async def until_status(caller, status):
    async def holds():
        return await caller.status() == status

    await until(holds)


async def until_state(mesh, name, state):
    async def holds():
        return (await change_of(mesh, name)).state == state

    await until(holds)
    return await change_of(mesh, name)


async def ended(mesh, name):
    """Follow a change to its end."""
    async with asyncio.timeout(WITHIN_S):
        async for step in mesh.changes.WatchChange(
            change_service_pb2.WatchChangeRequest(name=name)
        ):
            last = step.change
    return last


def canary(**fields):
    return {"edges": ["edge"], "bake_time": "2s", **fields}


async def test_a_change_that_proves_itself_reaches_the_others(mesh):
    made = await applied(mesh, {"route": FAILING}, canary=canary())
    await until_status(mesh.first, 418)
    assert await mesh.second.status() == 200
    change = await change_of(mesh, made.change)
    assert change.state == change_service_pb2.Change.STATE_CANARY
    assert [one.node for one in change.receipts] == ["edge"]
    change = await ended(mesh, made.change)
    assert change.state == change_service_pb2.Change.STATE_ACTIVE
    assert "requests at the first edges" in change.reason
    await until_status(mesh.second, 418)
    assert sorted(one.node for one in change.receipts) == ["edge", "edge-2"]


async def test_changes_of_the_same_objects_wait_for_its_end_and_others_do_not(mesh):
    made = await applied(mesh, {"route": FAILING}, canary=canary(bake_time="3600s"))
    other = {"service": {"name": "services/other", "grpc_services": ["t.v1.Other"]}}
    for wanted in (
        {"route": {**FAILING, "direct_response": {"status": 400}}},
        {"service": {"name": "services/echo", "grpc_services": []}},
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await applied(mesh, wanted)
        assert from_rpc_error(caught.value).reason in {"CANARY_IN_PROGRESS", "SERVICE_IN_USE"}
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await applied(mesh, other, canary=canary())
    assert from_rpc_error(caught.value).reason == "CANARY_IN_PROGRESS"
    done = await applied(mesh, other)
    change = await ended(mesh, done.change)
    assert sorted(one.node for one in change.receipts) == ["edge", "edge-2"]
    assert await mesh.second.status() == 200
    await applied(mesh, deletes=["services/other"])
    # Whoever makes it what it was ends it.
    await applied(mesh, deletes=[FAILING["name"]])
    change = await until_state(mesh, made.change, change_service_pb2.Change.STATE_ROLLED_BACK)
    assert change.reason.startswith("undone by ")


async def test_a_refusal_at_the_first_edge_rolls_it_back_at_once(mesh):
    made = await applied(mesh, {"service": UNRESOLVED}, canary=canary(bake_time="3600s"))
    change = await ended(mesh, made.change)
    assert change.state == change_service_pb2.Change.STATE_ROLLED_BACK
    assert "edge refuses it" in change.reason
    (receipt,) = change.receipts
    assert [one.object for one in receipt.refusals] == ["services/bad"]
    with pytest.raises(grpc.aio.AioRpcError):
        await mesh.config.GetObject(config_service_pb2.GetObjectRequest(name="services/bad"))
    history = await mesh.catalog.ListRevisions(
        catalog_service_pb2.ListRevisionsRequest(page_size=1)
    )
    assert history.revisions[0].actor == "gateway/canary"


async def test_server_errors_at_the_first_edge_roll_it_back(mesh):
    made = await applied(mesh, echo_at(free_port()), canary=canary(bake_time="3600s"))
    await until_status(mesh.first, 503)
    failed = 0
    async with asyncio.timeout(WITHIN_S):
        while await mesh.first.status() == 503:
            failed += 1
            assert await mesh.second.status() == 200
            await asyncio.sleep(0.01)  # paces
    change = await until_state(mesh, made.change, change_service_pb2.Change.STATE_ROLLED_BACK)
    assert "server errors at the first edges" in change.reason
    assert failed >= 19


async def test_a_first_edge_that_is_slow_rolls_it_back(mesh):
    made = await applied(mesh, echo_at(mesh.slow.port), canary=canary(bake_time="3600s"))
    async with asyncio.timeout(WITHIN_S):
        while (await change_of(mesh, made.change)).state == change_service_pb2.Change.STATE_CANARY:
            assert await asyncio.gather(mesh.first.status(), mesh.second.status()) == [200, 200]
    change = await change_of(mesh, made.change)
    assert change.state == change_service_pb2.Change.STATE_ROLLED_BACK
    assert "ms at the first edges" in change.reason
    assert mesh.slow.calls >= 20


async def test_meshctl_follows_it_to_its_end_and_says_why(mesh, tmp_path):
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(json.dumps(FAILING))
    bad.write_text(json.dumps(UNRESOLVED))
    words = ("--canary", "edge", "--bake", "2s", "--yes")
    done = await meshctl(mesh.gateway_socket, "apply", "-f", str(good), *words)
    assert done.code == exits.OK, done.err
    assert "is active" in done.out
    assert "requests at the first edges" in done.out
    assert "edge-2: acknowledged" in done.out
    done = await meshctl(mesh.gateway_socket, "apply", "-f", str(bad), *words)
    assert done.code == exits.FAILED
    assert "was rolled back (edge refuses it" in done.err
    history = await meshctl(mesh.gateway_socket, "history", "--limit", "1", "--json")
    assert history.json[0]["actor"] == "gateway/canary"


async def test_without_telemetry_nothing_is_promoted_and_the_change_says_so(mesh):
    await mesh.telemetry.aclose()
    made = await applied(mesh, {"route": FAILING}, canary=canary(bake_time="1s"))
    await until_status(mesh.first, 418)

    async def said():
        return "telemetry is away" in (await change_of(mesh, made.change)).reason

    await until(said)
    assert (await change_of(mesh, made.change)).state == change_service_pb2.Change.STATE_CANARY
    assert await mesh.second.status() == 200
    await applied(mesh, deletes=[FAILING["name"]])
    await until_state(mesh, made.change, change_service_pb2.Change.STATE_ROLLED_BACK)
