"""Limits of hosts at a real Envoy: a host is what was connected to, and a call is counted once."""

import asyncio
import ssl

import pytest
import pytest_asyncio

from aerofusion.gateway.v1 import explain_service_pb2, explain_service_pb2_grpc, limit_service_pb2
from tests.contract.limits.conftest import METHOD, apply, limit, put_gateway
from tests.fixtures.sites import host, open_sites, to


pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

SHOP = {"hosts": ["hosts/shop"]}
WITHIN_S = 40


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def sites(postgres):
    async with open_sites(postgres) as made:
        await made.website("site")
        await made.mesh.put_service("echo", await made.mesh.echo("0"))
        await put_gateway(made.mesh)
        public = {"access": {"public": True}}
        rules = [{"id": "all", "forward": to("site"), **public}]
        await made.apply(
            made.certificate("web", "shop.example", "*.shop.example"),
            host("shop", rules=rules),
            host("wild", rules=rules, domains=["*.shop.example"]),
        )
        yield made


async def status(sites, name, authority="", path="/"):
    """Return the status of a request on a connection to *name*."""
    trusted = ssl.create_default_context(cadata=sites.ca.root_pem)
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", sites.mesh.port, ssl=trusted, server_hostname=name
    )
    # Whoever writes the edge's own header changes nothing.
    lines = [f"GET {path} HTTP/1.1", f"host: {authority or name}", "connection: close"]
    lines += ["x-aerofusion-limit-route: hosts/wild/rules/all"]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    head = await reader.readline()
    writer.close()
    return int(head.split()[1])


@pytest.mark.parametrize("strength", ["local", "strict"])
async def test_what_comes_to_a_host_is_counted_whatever_is_said_and_nothing_else(sites, strength):
    await apply(sites.mesh, limit("shop", strength, 2, scope=SHOP))
    assert await status(sites, "shop.example", "SHOP.example:443") == 200
    assert await status(sites, "shop.example") == 200
    assert await status(sites, "shop.example", path="/other") == 429
    assert await status(sites, "shop.example", "a.shop.example") == 421
    for _ in range(4):
        assert await status(sites, "a.shop.example") == 200
    # By that name the wildcard's connection leads nowhere.
    assert await status(sites, "a.shop.example", "shop.example") == 421
    await apply(sites.mesh)
    assert await status(sites, "shop.example") == 200


@pytest.mark.parametrize("strength", ["local", "strict"])
async def test_a_call_that_is_of_a_host_and_of_a_service_is_counted_once(sites, strength):
    scope = {**SHOP, "services": ["services/echo"], "methods": ["other.v1.Api/Get"]}
    await apply(sites.mesh, limit("both", strength, 3, scope=scope))
    for path in (f"/{METHOD}", "/other.v1.Api/Get", "/"):
        assert await status(sites, "shop.example", path=path) == 200
    assert await status(sites, "shop.example", path=f"/{METHOD}") == 429
    # What is of the service and comes to another host is in the same bucket, but for a local limit:
    # each host is a filter chain of Envoy's, with buckets of its own.
    expected = 200 if strength == "local" else 429
    assert await status(sites, "a.shop.example", path=f"/{METHOD}") == expected
    assert await status(sites, "a.shop.example") == 200


async def test_a_hosts_quota_is_counted_and_kept(sites):
    await apply(
        sites.mesh,
        limit("kept", "quota", 5, scope=SHOP),
        limit("all", "quota", 1000, scope={"services": ["services/echo"]}),
    )
    asked = limit_service_pb2.GetUsageRequest(limit="limits/kept")

    async def told():
        while True:
            for one in (await sites.mesh.limits.GetUsage(asked)).usages:
                return one
            await asyncio.sleep(0.05)  # polls

    allowed = 0
    async with asyncio.timeout(WITHIN_S):
        while (await status(sites, "shop.example")) == 200:
            allowed += 1
        usage = await told()
    assert 0 < usage.parts[0].allowed <= allowed
    assert usage.allowed_per_second_max * 3600 == pytest.approx(5)
    assert await status(sites, "a.shop.example") == 200


async def test_explain_tells_which_limits_of_hosts_count_a_request(sites):
    await apply(
        sites.mesh,
        limit("shop", "local", 5, scope=SHOP),
        limit("wild", "local", 5, scope={"hosts": ["hosts/wild"]}),
        limit("asked", "strict", 5, scope=SHOP),
        limit("shared", "quota", 5, scope=SHOP),
    )
    stub = explain_service_pb2_grpc.ExplainServiceStub(sites.mesh.operator)
    told = {}
    for name in ("shop.example", "a.shop.example"):
        call = explain_service_pb2.CallDescription(
            method="GET", path="/", host=name, server_name=name
        )
        answer = await stub.Explain(explain_service_pb2.ExplainRequest(call=call))
        told[name] = {one.object for one in answer.steps if one.object.startswith("limits/")}
    assert told == {
        "shop.example": {"limits/shop", "limits/asked", "limits/shared"},
        "a.shop.example": {"limits/wild"},
    }
