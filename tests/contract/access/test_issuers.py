"""Tokens of other issuers, at a real edge and behind it."""

import time

import grpc
import pytest
import pytest_asyncio

from meshkit.errors import Unauthenticated
from meshkit.status import from_rpc_error
from meshkit.tokens import edge_claims
from tests.fixtures.issuers import apply


pytestmark = pytest.mark.asyncio(loop_scope="module")

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
DENIED = grpc.StatusCode.PERMISSION_DENIED


@pytest_asyncio.fixture(loop_scope="module")
async def two(world):
    """Two issuers with the same key id."""
    await world.put(world.acme.object(), world.zeta.object(header="x-zeta-token", tenant="jfk"))
    return world


async def test_a_token_of_another_issuer_becomes_an_identity_of_the_mesh(two, bearer):
    claims = await two.claims(**bearer(two.acme.token(roles=["operator"], tenant="evil")))

    assert (claims.subject, claims.tenant, claims.roles) == (
        "passengers/ann",
        "nyc",
        ("passenger",),
    )
    assert claims.issuer == "issuers/acme"


async def test_an_issuers_token_counts_in_its_own_header_alone(two, bearer):
    claims = await two.claims(x_zeta_token=two.zeta.token())
    assert (claims.tenant, claims.issuer) == ("jfk", "issuers/zeta")

    assert await two.code(**bearer(two.zeta.token())) is UNAUTHENTICATED
    assert await two.code(x_zeta_token=two.acme.token()) is UNAUTHENTICATED
    assert await two.code(x_api_key=two.acme.token()) is UNAUTHENTICATED


async def test_the_meshs_own_tokens_go_on_beside_them(two, bearer):
    claims = await two.claims(**bearer(await two.mesh.token()))
    assert (claims.subject, claims.issuer) == ("passengers/p1", "issuers/mesh")


async def test_hostile_tokens_end_at_the_edge(two, bearer):
    for who, other in ((two.acme, two.zeta), (two.zeta, two.acme)):
        for what, token in who.hostile(other).items():
            headers = bearer(token) if who is two.acme else {"x_zeta_token": token}
            assert await two.code(**headers) in (UNAUTHENTICATED, DENIED), what


async def test_what_envoy_lets_pass_the_service_refuses(two, bearer):
    for what, token in two.acme.odd().items():
        found, error = await two.call(**bearer(token))
        if error is not None:
            continue
        taken = "taken"
        try:
            edge_claims(found, time.time())
        except Unauthenticated as refused:
            taken = refused.reason
        assert taken in ("TOKEN_HEADER_REFUSED", "TOKEN_CLAIMS_INVALID"), what


async def test_what_the_edge_writes_nobody_else_can(two, bearer):
    theirs = {
        "x_aerofusion_issuer": "WyJpc3N1ZXJzL21lc2giXQ",
        "x_aerofusion_issuer_acme": "https://acme.example",
        "x_aerofusion_token_id": "x",
        "x_aerofusion_certificate": "spiffe://aerofusion/operator/0",
        "x_forwarded_for": "10.0.0.1",
        "forwarded": "for=10.0.0.1",
        "x_forwarded_client_cert": "By=spiffe://aerofusion/operator/0",
    }
    found, error = await two.call(**bearer(await two.mesh.token()), **theirs)
    assert error is None
    assert "x-aerofusion-issuer" not in found
    assert "x-aerofusion-issuer-acme" not in found
    assert "x-aerofusion-certificate" not in found
    assert "forwarded" not in found
    assert "x-forwarded-client-cert" not in found
    assert "10.0.0.1" not in found["x-forwarded-for"]
    assert found["x-aerofusion-token-id"] != "x"

    found, _ = await two.call(**bearer(two.acme.token()), x_aerofusion_issuer="forged")
    assert edge_claims(found, time.time()).issuer == "issuers/acme"
    assert "x-aerofusion-issuer-acme" not in found


async def test_roles_come_from_the_claim_the_issuer_gives_them_in_and_never_exceed(world, bearer):
    mapped = world.acme.object(
        roles_claim="groups", roles=["passenger", "staff"], tenant="", tenant_claim="org"
    )
    await world.put(mapped)
    token = world.acme.token(groups=["staff", "operator", "root"], org="ewr", roles=["operator"])
    claims = await world.claims(**bearer(token))
    assert (claims.tenant, claims.roles) == ("ewr", ("staff",))

    await world.mesh.put_service("echo", access={"roles": ["operator"]})
    await world.mesh.settled()
    try:
        assert await world.code(**bearer(token)) is DENIED
        await world.mesh.put_service("echo", access={"roles": ["staff"]})
        await world.mesh.settled()
        # It reaches the route, which has no endpoint.
        assert await world.code(**bearer(token)) is grpc.StatusCode.UNAVAILABLE
        nobody = world.acme.token(groups=["passenger"], org="ewr", roles=["staff"])
        assert await world.code(**bearer(nobody)) is DENIED
    finally:
        await world.mesh.put_service("echo", world.server)
        await world.mesh.settled()


async def test_a_rotation_of_keys_refuses_no_token(world, bearer):
    await world.put(world.acme.object())
    old = world.acme.token()
    kept = list(world.acme.keys)
    before = int(await counter(world, "listener_manager.listener_modified"))
    for number in range(4):
        world.acme.keys = [*world.acme.keys[-1:], world.acme.new_key(f"key-{number}")]
        await apply(world.mesh.operator, world.acme.object())
        for _ in range(10):
            signed = world.acme.token(key=world.acme.keys[0], jti=f"t{number}")
            assert await world.code(**bearer(signed)) is grpc.StatusCode.OK
        await world.mesh.settled()
        assert await world.code(**bearer(world.acme.token())) is grpc.StatusCode.OK
    assert await world.code(**bearer(old)) is UNAUTHENTICATED, "its key is gone"
    assert int(await counter(world, "listener_manager.listener_modified")) == before
    world.acme.keys = kept


async def counter(world, name):
    text = await world.mesh.admin(f"/stats?filter=^{name}$")
    return text.rpartition(":")[2] or 0


async def test_refusals_say_nothing_of_the_token(two, bearer):
    _, error = await two.call(**bearer(two.acme.token(exp=1)))
    assert error.details() == "unauthenticated"
    async with two.mesh.http() as http:
        path = "/echo/v1/echo"
        for token in (two.acme.token(iss="https://evil.example"), "a.b.c"):
            answer = await http.post(path, json={}, headers=bearer(token))
            assert (answer.status, await answer.text()) == (401, "unauthenticated")
            assert answer.headers["www-authenticate"].endswith('error="invalid_token"')
        answer = await http.post(path, json={})
        assert answer.status == 401
        assert "error" not in answer.headers["www-authenticate"]
        assert answer.headers["www-authenticate"].startswith("Bearer realm=")


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "issuers/mesh"},
        {"issuer": "aerofusion"},
        {"issuer": "aerofusion-keys"},
        {"header": "x-api-key"},
        {"header": "x-aerofusion-claims"},
        {"header": "cookie"},
        {"roles": ["operator"]},
        {"subject_prefix": "operators/"},
        {"jwks": '{"keys":[]}'},
        {"jwks": '{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}'},
        {"jwks": "nonsense"},
    ],
)
async def test_an_issuer_that_would_be_somebody_else_is_refused(world, fields):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await apply(world.mesh.operator, world.acme.object(**fields))
    assert from_rpc_error(refused.value).reason == "INVALID_OBJECT"


async def test_two_issuers_are_never_about_the_same_tokens(world):
    await world.put(world.acme.object())
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await apply(world.mesh.operator, world.zeta.object(issuer=world.acme.issuer))
    assert from_rpc_error(refused.value).reason == "ISSUER_TAKEN"
