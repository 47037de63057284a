"""Sessions of browsers at a host: how long they last, and what changes of the sign-in do to them."""

from urllib.parse import parse_qs, urlsplit

import grpc
import pytest
import pytest_asyncio

from aerofusion.gateway.v1 import config_service_pb2
from meshkit.status import from_rpc_error
from tests.fixtures.logins import (
    BRIEF,
    COOKIE,
    SITE,
    claims_of,
    open_logins,
    service,
    signed_in,
    site,
    status,
    until,
)
from tests.fixtures.visitor import Visitor


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def sites(postgres):
    async with open_logins(postgres) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def http(sites):
    async with sites.browser() as made:
        yield made


@pytest.fixture
def visitor(http):
    return Visitor(http)


async def test_a_session_is_refreshed_when_it_ends_and_over_without_a_refresh_token(sites, visitor):
    begun = dict(await signed_in(sites, visitor, BRIEF))
    proof, refresh = COOKIE + "proof", COOKIE + "refresh"
    cookies = visitor.cookies[BRIEF]

    async def ask():
        return await visitor.ask(sites.url("/x", BRIEF))

    answer = await until(ask, lambda _: cookies[proof] != begun[proof])
    assert (answer.status, claims_of(answer).subject) == (200, "passengers/ann")
    assert int(cookies[COOKIE + "expires"]) > int(begun[COOKIE + "expires"])
    del cookies[refresh]
    answer = await until(ask, status(302))
    assert answer.headers["location"].startswith(f"{sites.idp.address}/auth")
    tool = await visitor.ask(sites.url("/x", BRIEF), headers={"accept": "*/*"})
    assert tool.status == 401


async def listener_changes(sites):
    found = await sites.stats("listener_manager.listener_(modified|added|in_place_updated|removed)")
    assert found
    return found


async def test_secrets_are_changed_without_a_cut(sites, visitor, http):
    await signed_in(sites, visitor)
    before, known = await listener_changes(sites), sites.clients
    headers = {**await sites.user(), "accept-encoding": "identity"}
    async with http.get(sites.url("/lines?n=12"), headers=headers) as lines:
        first = await lines.content.readline()
        await sites.apply(site(sites, client_secret="n3w"))
        assert (await visitor.ask(sites.url("/x"))).status == 200, "sessions go on"
        old = Visitor(http, "olga")
        assert (await old.visit(sites.url("/x"))).status == 401, "the provider has the old one yet"
        await sites.idp.set_clients(known[0] | {"client_secret": "n3w"}, known[1])
        assert (await Visitor(http, "olga").visit(sites.url("/x"))).status == 200
        rest = await lines.content.read()
    assert (first, rest.count(b"\n")) == (b'{"line": 0}\n', 11)
    assert await listener_changes(sites) == before
    await sites.apply(site(sites))
    await sites.idp.set_clients(*known)


async def test_another_generation_of_sessions_ends_all_there_are(sites, visitor):
    kept = dict(await signed_in(sites, visitor))
    await sites.apply(site(sites, session_generation=1))
    assert (await visitor.ask(sites.url("/x"))).status == 302
    await sites.apply(site(sites, session_generation=0))
    visitor.cookies[SITE] = kept
    assert (await visitor.ask(sites.url("/x"))).status == 302, "ended is ended"
    visitor.cookies.clear()
    assert (await visitor.visit(sites.url("/x"))).status == 200


async def test_a_sign_in_comes_and_goes_without_a_listener_noticing(sites, visitor, http):
    before = await listener_changes(sites)
    headers = {**await sites.user(), "accept-encoding": "identity"}
    async with http.get(sites.url("/lines?n=8"), headers=headers) as lines:
        await sites.apply(site(sites, signs_in=False))
        assert (await visitor.ask(sites.url("/x"))).status == 401
        await sites.apply(site(sites))
        assert (await visitor.visit(sites.url("/x"))).status == 200
        rest = await lines.content.read()
    assert rest.count(b"\n") == 8
    assert await listener_changes(sites) == before


async def test_a_provider_that_is_away_lets_nobody_in(sites, visitor):
    answer = await visitor.ask(sites.url("/x"))
    state = parse_qs(urlsplit(answer.headers["location"]).query)["state"][0]
    await sites.apply(service(sites, endpoints=[{"address": "127.0.0.1", "port": 1}]))
    try:
        answer = await visitor.ask(sites.url(f"/oauth2/callback?code=c&state={state}"))
        assert answer.status == 401
        assert COOKIE + "proof" not in visitor.cookies[SITE]
    finally:
        await sites.apply(service(sites))


async def test_the_secret_is_shown_to_nobody_and_needed(sites):
    stub = sites.mesh.config
    shown = await stub.ListObjects(config_service_pb2.ListObjectsRequest(page_size=100))
    assert "s3cret" not in str(shown)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await sites.apply(site(sites, "new", client_secret=""))
    error = from_rpc_error(caught.value)
    assert (error.reason, str(error)) == (
        "INVALID_OBJECT",
        "The host can't be: host.login.client_secret: is required.",
    )
    await sites.apply(site(sites, client_secret=""))
    dump = await sites.mesh.admin("/config_dump?include_eds")
    assert "s3cret" not in dump
