"""Policies about hosts, through a real Envoy: a host is what was connected to, not what is said."""

import asyncio
import ssl

import pytest
import pytest_asyncio

from aerofusion.gateway.v1 import object_pb2
from tests.fixtures.issuers import policy
from tests.fixtures.sites import host, open_sites, to


pytestmark = pytest.mark.asyncio(loop_scope="module")

PASSENGER = {"roles": ["passenger"]}
OPERATOR = {"roles": ["operator"]}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def sites(postgres):
    async with open_sites(postgres) as made:
        await made.website("site")
        await made.mesh.put_service("echo", await made.mesh.echo("0"))
        rules = [{"id": "all", "forward": to("site")}]
        await made.apply(
            made.certificate("web", "shop.example", "*.shop.example"),
            host("shop", rules=rules),
            host("wild", rules=rules, domains=["*.shop.example"]),
            host("api", rules=rules, domains=["api.shop.example"]),
        )
        made.passenger = await made.user()
        yield made


async def put(sites, *policies):
    objects = [object_pb2.Object(policy=one) for one in policies]
    await sites.apply(*objects, prune=["policies/"])


async def status(sites, name, authority="", path="/"):
    """Return the status of a passenger's request on a connection to *name*."""
    trusted = ssl.create_default_context(cadata=sites.ca.root_pem)
    trusted.load_verify_locations(cadata=sites.mesh.bundle_pem.decode())
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", sites.mesh.port, ssl=trusted, server_hostname=name
    )
    lines = [f"GET {path} HTTP/1.1", f"host: {authority or name}", "connection: close"]
    lines += [f"{key}: {value}" for key, value in sites.passenger.items()]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    head = await reader.readline()
    writer.close()
    return int(head.split()[1])


async def test_a_host_is_meant_whatever_port_is_said(sites):
    await put(sites, policy("p", "DENY", PASSENGER, hosts=["hosts/shop"]))
    for authority in ("shop.example", "shop.example:443", "SHOP.example", "shop.example:1"):
        assert await status(sites, "shop.example", authority) == 403, authority
    assert await status(sites, "api.shop.example") == 200
    await put(sites)
    assert await status(sites, "shop.example") == 200


async def test_a_wildcard_means_no_other_hosts_names(sites):
    await put(sites, policy("p", "DENY", PASSENGER, hosts=["hosts/wild"]))
    assert await status(sites, "a.shop.example") == 403
    assert await status(sites, "b.shop.example", "a.shop.example:8") == 403
    assert await status(sites, "api.shop.example") == 200
    assert await status(sites, "shop.example") == 200


async def test_an_allow_of_one_host_opens_no_other_by_the_name_that_is_said(sites):
    await put(
        sites,
        policy("api", "ALLOW", PASSENGER, hosts=["hosts/api"]),
        policy("wild", "ALLOW", OPERATOR, hosts=["hosts/wild"]),
        policy("echo", "ALLOW", OPERATOR, services=["services/echo"]),
    )
    assert await status(sites, "api.shop.example") == 200
    assert await status(sites, "a.shop.example") == 403
    assert await status(sites, "a.shop.example", "api.shop.example") == 403
    ticks = "/echo/v1/ticks/x"
    assert await status(sites, "localhost", path=ticks) == 403
    assert await status(sites, "localhost", "api.shop.example", path=ticks) == 403
