"""API keys and revocations, over the API and at a real edge."""

import contextlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import grpc
import pytest

from aerofusion.gateway.v1 import key_service_pb2 as rpc
from gateway.access import keys as access_keys
from meshkit.status import from_rpc_error


pytestmark = pytest.mark.asyncio(loop_scope="module")

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
DENIED = grpc.StatusCode.PERMISSION_DENIED
OK = grpc.StatusCode.OK
ROOT = Path(__file__).parent.parent.parent.parent


async def create(world, **fields):
    wanted = {"subject": "services/shop", "tenant": "nyc", "roles": ["service"], **fields}
    made = await world.keys.CreateKey(rpc.CreateKeyRequest(key=rpc.ApiKey(**wanted)))
    return made.key, made.text


def token_id(key):
    return key.name.partition("/")[2]


async def refused(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value).reason


async def test_a_key_is_an_identity_and_goes_no_further_than_the_edge(world):
    _, text = await create(world, scopes=["flights.read"])
    await world.until(OK, x_api_key=text)
    claims = await world.claims(x_api_key=text)
    assert (claims.subject, claims.tenant, claims.roles) == ("services/shop", "nyc", ("service",))
    found, _ = await world.call(x_api_key=text)
    assert "x-api-key" not in found
    assert text not in str(found)


async def test_neither_passes_for_the_other(world, bearer):
    _, text = await create(world)
    await world.until(OK, x_api_key=text)
    bare = text.removeprefix("afk_")
    assert await world.code(**bearer(text)) is UNAUTHENTICATED
    assert await world.code(**bearer(bare)) is UNAUTHENTICATED
    assert await world.code(x_api_key=bare) is UNAUTHENTICATED
    token = await world.mesh.token()
    assert await world.code(x_api_key=token) is UNAUTHENTICATED
    assert await world.code(x_api_key=f"afk_{token}") is UNAUTHENTICATED


async def test_a_key_that_comes_beside_a_token_is_not_passed_on(world, bearer):
    _, text = await create(world)
    token = await world.mesh.token()
    found, error = await world.call(**bearer(token), x_api_key=text)
    assert error is None
    assert "x-api-key" not in found


async def test_what_is_revoked_is_refused_whoever_signed_it(world, bearer):
    await world.put(world.acme.object())
    key, text = await create(world)
    theirs = world.acme.token(jti="theirs-1")
    ours = await world.mesh.token()
    claims = await world.claims(**bearer(ours))
    for credentials, one in (
        ({"x_api_key": text}, token_id(key)),
        (bearer(ours), claims.token_id),
        (bearer(theirs), "theirs-1"),
    ):
        await world.until(OK, **credentials)
        made = await world.keys.RevokeToken(rpc.RevokeTokenRequest(token_id=one, reason="leaked"))
        assert made.revocation.actor == "spiffe://aerofusion/operator/local"
        await world.until(DENIED, **credentials)
    assert await world.code(**bearer(world.acme.token(jti="theirs-2"))) is OK
    assert await world.code(**bearer(await world.mesh.token())) is OK

    again = await world.keys.RevokeToken(rpc.RevokeTokenRequest(token_id=token_id(key)))
    assert again.revocation.reason == "leaked", "repeating it does nothing"


async def test_keys_and_revocations_are_listed_newest_first_in_pages(world):
    made = [await create(world, subject="services/pages", description=str(n)) for n in range(5)]
    names = [key.name for key, _ in made]
    request = rpc.ListApiKeysRequest(subject="services/pages", page_size=2)
    seen, texts = [], str([text for _, text in made])
    while True:
        page = await world.keys.ListApiKeys(request)
        seen += [one.name for one in page.keys]
        assert not any(one in str(page) for one in texts.split("'") if len(one) > 50)
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert seen == names[::-1]

    for key, _ in made[:3]:
        await world.keys.RevokeToken(rpc.RevokeTokenRequest(token_id=token_id(key)))
    listing = rpc.ListRevocationsRequest(page_size=2)
    first = await world.keys.ListRevocations(listing)
    listing.page_token = first.next_page_token
    second = await world.keys.ListRevocations(listing)
    ids = [one.token_id for one in (*first.revocations, *second.revocations)]
    assert ids[:3] == [token_id(key) for key, _ in made[2::-1]]
    left = await world.keys.ListApiKeys(rpc.ListApiKeysRequest(subject="services/pages"))
    assert [one.HasField("revoke_time") for one in left.keys] == [False, False, True, True, True]


@pytest.mark.parametrize(
    "fields",
    [
        {"subject": "root"},
        {"subject": "passengers/p1", "roles": ["operator"]},
        {"roles": []},
        {"roles": ["staff"]},
        {"tenant": "NYC"},
        {"scopes": ["a b"]},
        {"scopes": ["a", "a"]},
        {"description": "x" * 501},
        {"expire_time": datetime.now(UTC) + timedelta(days=732)},
        {"expire_time": datetime.now(UTC) - timedelta(days=1)},
    ],
)
async def test_a_key_that_cannot_be_is_refused(world, fields):
    assert await refused(create(world, **fields)) == "KEY_REQUEST_INVALID"


@pytest.mark.parametrize("one", ["", "a b", "x" * 201])
async def test_what_is_no_token_id_is_not_revoked(world, one):
    request = rpc.RevokeTokenRequest(token_id=one)
    assert await refused(world.keys.RevokeToken(request)) == "KEY_REQUEST_INVALID"


async def test_both_are_bounded(world, monkeypatch):
    monkeypatch.setattr(access_keys, "KEYS_MAX", 0)
    monkeypatch.setattr(access_keys, "REVOCATIONS_MAX", 0)
    assert await refused(create(world)) == "TOO_MANY_KEYS"
    request = rpc.RevokeTokenRequest(token_id="one-too-many")
    assert await refused(world.keys.RevokeToken(request)) == "TOO_MANY_REVOCATIONS"


async def test_only_operators_make_keys(world, bearer):
    async with world.mesh.channel() as channel:
        method = "/aerofusion.gateway.v1.KeyService/CreateKey"
        call = channel.unary_unary(method)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"", metadata=tuple(bearer(await world.mesh.token()).items()))
        assert caught.value.code() in (UNAUTHENTICATED, DENIED, grpc.StatusCode.UNIMPLEMENTED)


async def test_no_text_of_a_key_stands_anywhere(world):
    """Tables, logs, what Envoy was told and what the relay keeps: none has a key in it."""
    made = [await create(world, subject="services/secret") for _ in range(3)]
    await world.until(OK, x_api_key=made[-1][1])
    await world.keys.RevokeToken(rpc.RevokeTokenRequest(token_id=token_id(made[0][0])))
    await world.until(DENIED, x_api_key=made[0][1])
    signatures = [text.rpartition(".")[2] for _, text in made]
    places = {
        "tables": await dump(world.dsn),
        "configuration": await world.mesh.admin("/config_dump?include_eds"),
    }
    for one in world.mesh.folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # The relay tidies its shelf meanwhile.
            if one.is_file():
                places[str(one)] = one.read_bytes().decode("latin-1")
    goldens = [*(ROOT / "tests" / "golden").rglob("*.yaml")]
    assert places["tables"].count("services/secret") >= 3
    for where, text in places.items():
        assert not any(one in text for one in signatures), where
    assert not any("afk_ey" in one.read_text() for one in goldens)


async def dump(dsn):
    """Every row of every table, as text."""
    connection = await asyncpg.connect(dsn)
    try:
        names = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname='public'")
        rows = []
        for name in names:
            found = await connection.fetch(f'SELECT to_jsonb(t) AS row FROM "{name[0]}" t')  # noqa: S608  its own tables
            rows += [str(one["row"]) for one in found]
        return json.dumps(rows)
    finally:
        await connection.close()
