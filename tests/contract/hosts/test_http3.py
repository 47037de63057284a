"""HTTP/3 on the edge, with a client of its own kind."""

import json

import pytest
import pytest_asyncio

from tests.fixtures.http3 import http3
from tests.fixtures.sites import host, open_sites, to


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def sites(postgres):
    async with open_sites(postgres, edge_http3=True) as made:
        await made.website("shop")
        rules = [
            {"id": "open", "match": {"path_prefix": "/open"}, "access": {"public": True}},
            {"id": "rest"},
        ]
        rules = [{**rule, "forward": to("shop")} for rule in rules]
        await made.apply(
            made.certificate("web", "shop.example", "other.example"), host(rules=rules)
        )
        yield made


async def test_callers_over_tcp_are_told_and_answered_over_udp(sites):
    async with sites.browser() as http, http.get(sites.url("/open")) as answer:
        assert answer.headers["alt-svc"] == f'h3=":{sites.mesh.port}"; ma=86400'
    name = "shop.example"
    async with http3(sites.mesh.port, name, sites.ca.root_pem) as client:
        answer = await client.get(name, "/open?x=1", {"x-aerofusion-claims": "forged"})
        said = json.loads(answer.body)
        assert (answer.status, said["site"], said["path"]) == (200, "shop", "/open?x=1")
        assert "x-aerofusion-claims" not in said["headers"]
        assert (await client.get(name, "/closed")).status == 401
        user = await sites.user()
        said = json.loads((await client.get(name, "/closed", user)).body)
        assert "x-aerofusion-claims" in said["headers"]
        # The same rules as over TCP.
        assert (await client.get("other.example", "/open")).status == 421
        assert (await client.get(name, "/open/../closed")).status == 401


async def test_services_are_there_over_http3_too(sites):
    echo = await sites.mesh.echo("0")
    await sites.mesh.put_service("echo", echo)
    await sites.mesh.settled()
    async with http3(sites.mesh.port, "localhost", sites.mesh.bundle_pem.decode()) as client:
        assert (await client.get("localhost", "/echo/v1/ticks/t?ticks=1")).status == 401
        answer = await client.get("localhost", "/echo/v1/ticks/t?ticks=1", await sites.user())
        assert (answer.status, json.loads(answer.body)["text"]) == (200, "t 0")


async def test_a_new_host_cuts_no_connection_of_either_kind(sites):
    before = await sites.stats("listener_manager")
    rules = [{"id": "all", "access": {"public": True}, "forward": to("shop")}]
    name = "shop.example"
    async with (
        sites.browser() as http,
        http3(sites.mesh.port, name, sites.ca.root_pem) as client,
    ):
        async with http.get(sites.url("/open")) as answer:
            assert answer.status == 200
        assert (await client.get(name, "/open")).status == 200
        opened = await sites.stats("http.hosts.downstream_cx_total")
        await sites.apply(host("other", rules=rules))
        async with http3(sites.mesh.port, "other.example", sites.ca.root_pem) as newcomer:
            assert (await newcomer.get("other.example", "/")).status == 200
        async with http.get(sites.url("/open")) as answer:
            assert answer.status == 200
        assert (await client.get(name, "/open")).status == 200
        assert not client.ended
        total = "http.hosts.downstream_cx_total"
        assert (await sites.stats(total))[total] == opened[total] + 1
    after = await sites.stats("listener_manager")
    for what in ("listener_modified", "listener_in_place_updated"):
        assert after[f"listener_manager.{what}"] == before[f"listener_manager.{what}"] + 2
