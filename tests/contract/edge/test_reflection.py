"""A service that tells its descriptors itself."""

import asyncio
import time

import pytest
import pytest_asyncio

from tests.fixtures.edge import bearer, edge


pytestmark = pytest.mark.asyncio(loop_scope="module")

WITHIN_S = 5.0
GIVEN_UP_S = 30.0
REFLECTING = {"descriptor_set": b"", "reflect": True}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def mesh(postgres):
    async with edge(postgres) as made:
        made.servers = [await made.echo("0"), await made.echo("1")]
        yield made


async def served_as_json(mesh):
    """Seconds until a JSON call is answered."""
    began = time.monotonic()
    headers = dict(bearer(await mesh.token()))
    async with mesh.http() as http, asyncio.timeout(GIVEN_UP_S):
        while True:
            answer = await http.post("/echo/v1/echo", json={"text": "hi"}, headers=headers)
            if answer.status == 200:
                assert (await answer.json())["text"] == "hi"
                return time.monotonic() - began
            await asyncio.sleep(0.02)  # polls


async def test_a_service_that_reflects_has_a_json_api_within_five_seconds(mesh):
    await mesh.put_service("echo", mesh.servers[0], **REFLECTING)
    assert await served_as_json(mesh) <= WITHIN_S


async def test_it_keeps_it_when_its_replicas_move_and_when_none_is_left(mesh):
    await mesh.put_service("echo", mesh.servers[1], **REFLECTING)
    await mesh.settled()
    await served_as_json(mesh)
    await mesh.put_service("echo", **REFLECTING)
    await mesh.settled()
    async with mesh.http() as http:
        headers = dict(bearer(await mesh.token()))
        answer = await http.post("/echo/v1/echo", json={"text": "hi"}, headers=headers)
        assert answer.status == 503  # It is known as JSON still, and nobody is there.


async def test_a_server_with_another_identity_is_not_believed(mesh):
    await mesh.put_service("echo", json_prefixes=["nowhere"], grpc_services=[])
    other = await mesh.echo("0", service="other")
    await mesh.put_service("other", other, **REFLECTING, identity="else")
    await mesh.settled()
    async with mesh.http() as http:
        headers = dict(bearer(await mesh.token()))
        for _ in range(20):
            answer = await http.post("/echo/v1/echo", json={"text": "hi"}, headers=headers)
            assert answer.status == 404
            await asyncio.sleep(0.1)  # paces
