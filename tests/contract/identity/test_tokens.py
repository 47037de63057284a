"""Tokens and their keys, over the API."""

import contextlib
import json
from datetime import timedelta

import grpc.aio
import pytest
from google.protobuf import duration_pb2
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from aerofusion.gateway.v1 import identity_pb2, identity_service_pb2
from gateway.store import audit
from meshkit.errors import FailedPrecondition
from meshkit.status import from_rpc_error
from meshkit.tokens import edge_claims
from tests.contract.identity.conftest import running_gateway


async def token(api, **fields) -> str:
    wanted = {"subject": "passengers/p1", "tenant": "demo", "roles": ["passenger"]} | fields
    response = await api.CreateToken(identity_service_pb2.CreateTokenRequest(**wanted))
    return response.token


async def jwks(api) -> KeySet:
    response = await api.GetJwks(identity_service_pb2.GetJwksRequest())
    return KeySet.import_key_set(json.loads(response.jwks_json))


def states(keys) -> dict[str, str]:
    return {key.key_id: identity_pb2.SigningKey.State.Name(key.state) for key in keys}


@contextlib.contextmanager
def refused(reason: str):
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        yield
    assert from_rpc_error(raised.value).reason == reason


async def test_a_token_verifies_with_the_published_keys_and_passes_behind_the_edge(gateway):
    async with gateway.operator() as api:
        signed = await token(api)
        verified = jwt.decode(signed, await jwks(api), algorithms=["ES256"])

    assert verified.header["typ"] == "JWT"
    claims = edge_claims(
        {"authorization": f"Bearer {signed}", "x-aerofusion-claims": signed.split(".")[1]},
        verified.claims["iat"],
    )
    assert (claims.subject, claims.tenant) == ("passengers/p1", "demo")
    assert (
        "spiffe://aerofusion/operator/local",
        "identity.create_token",
        "passengers/p1",
    ) in await gateway.audited()


async def test_a_token_lives_as_long_as_asked_for(gateway):
    async with gateway.operator() as api:
        signed = await token(api, ttl=duration_pb2.Duration(seconds=90))
        verified = jwt.decode(signed, await jwks(api), algorithms=["ES256"])
        assert verified.claims["exp"] - verified.claims["iat"] == 90
        for seconds in (0, -1, 25 * 3_600):
            with refused("TOKEN_REQUEST_INVALID"):
                await token(api, ttl=duration_pb2.Duration(seconds=seconds))
        with refused("TOKEN_REQUEST_INVALID"):
            await token(api, subject="root")


async def test_after_a_rotation_old_and_new_tokens_verify(gateway):
    async with gateway.operator() as api:
        before = await token(api)
        known_before = await jwks(api)
        gateway.clock.ahead = timedelta(minutes=1)
        seen = []
        gateway.identity.signing.watch(seen.append)
        keys = (await api.RotateKey(identity_service_pb2.RotateKeyRequest())).keys
        after = await token(api)

        assert sorted(states(keys).values()) == ["STATE_ACTIVE", "STATE_NEXT", "STATE_RETIRED"]
        for signed in (before, after):
            assert jwt.decode(signed, await jwks(api), algorithms=["ES256"])
        assert jwt.decode(after, known_before, algorithms=["ES256"]), "it was published before"
        assert len(seen) == 2, "the edge hears of the change"


async def test_a_rotation_that_names_its_key_happens_once(gateway):
    gateway.clock.ahead = timedelta(minutes=1)
    async with gateway.operator() as api:
        keys = (await api.ListKeys(identity_service_pb2.ListKeysRequest())).keys
        (active,) = [name for name, state in states(keys).items() if state == "STATE_ACTIVE"]
        request = identity_service_pb2.RotateKeyRequest(active_key_id=active)
        await api.RotateKey(request)
        with refused("KEY_NOT_ACTIVE"):
            await api.RotateKey(request)


async def test_a_retired_key_is_no_longer_published_after_its_last_token(gateway):
    gateway.clock.ahead = timedelta(minutes=1)
    async with gateway.operator() as api:
        before = await token(api)
        await api.RotateKey(identity_service_pb2.RotateKeyRequest())
        gateway.clock.ahead += timedelta(hours=25)
        await gateway.identity.signing.reload()
        with pytest.raises(JoseError):
            jwt.decode(before, await jwks(api), algorithms=["ES256"])


async def test_only_operators_make_tokens(gateway, ca, tmp_path):
    notifier = await gateway.joined("notifier", tmp_path / "notifier")
    async with gateway.api(notifier) as api:
        with refused("CALLER_NOT_ALLOWED"):
            await token(api)
        with refused("CALLER_NOT_ALLOWED"):
            await api.CreateJoinToken(
                identity_service_pb2.CreateJoinTokenRequest(
                    spiffe_id="spiffe://aerofusion/gateway/1"
                )
            )
        with refused("CALLER_NOT_ALLOWED"):
            await api.RotateKey(identity_service_pb2.RotateKeyRequest())


def behind_the_edge(signed: str) -> list[tuple[str, str]]:
    return [
        ("authorization", f"Bearer {signed}"),
        ("x-aerofusion-claims", signed.split(".")[1]),
    ]


async def test_an_operator_behind_the_edge_makes_tokens_and_no_certificates(gateway, tmp_path):
    edge = await gateway.joined("edge", tmp_path / "edge")
    async with gateway.operator() as api:
        ada = await token(api, subject="operators/ada", tenant="", roles=["operator"])
        p1 = await token(api)
    wanted = identity_service_pb2.CreateTokenRequest(
        subject="passengers/p2", tenant="demo", roles=["passenger"]
    )
    join = identity_service_pb2.CreateJoinTokenRequest(spiffe_id="spiffe://aerofusion/gateway/1")
    async with gateway.api(edge) as api:
        assert (await api.CreateToken(wanted, metadata=behind_the_edge(ada))).token
        with refused("CALLER_NOT_ALLOWED"):
            await api.CreateToken(wanted, metadata=behind_the_edge(p1))
        with refused("CALLER_NOT_ALLOWED"):
            await api.CreateJoinToken(join, metadata=behind_the_edge(ada))
        with refused("TOKEN_MISSING"):
            await api.CreateJoinToken(join)
    assert ("operators/ada", "identity.create_token", "passengers/p2") in await gateway.audited()


async def test_an_operator_of_one_tenant_makes_no_tokens_for_others(gateway, tmp_path):
    edge = await gateway.joined("edge", tmp_path / "edge")
    async with gateway.operator() as api:
        ada = await token(api, subject="operators/ada", tenant="demo", roles=["operator"])
    async with gateway.api(edge) as api:
        for tenant in ("other", ""):
            with refused("TENANT_NOT_ALLOWED"):
                await api.CreateToken(
                    identity_service_pb2.CreateTokenRequest(
                        subject="operators/eve", tenant=tenant, roles=["operator"]
                    ),
                    metadata=behind_the_edge(ada),
                )


async def test_every_record_of_an_issuance_is_chained(gateway, tmp_path):
    await gateway.joined("notifier", tmp_path / "notifier")
    async with gateway.operator() as api:
        await token(api)
    async with gateway.pool.acquire() as connection:
        assert await audit.first_broken(connection) is None
    assert len(await gateway.audited()) == 3


async def test_what_cannot_be_audited_does_not_happen(gateway, tmp_path):
    await gateway.pool.execute("ALTER TABLE audit_log RENAME TO elsewhere")
    async with gateway.operator() as api:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await token(api)
        assert raised.value.code() is grpc.StatusCode.INTERNAL
        with pytest.raises(grpc.aio.AioRpcError):
            await gateway.ticket("notifier")
    assert await gateway.pool.fetchval("SELECT count(*) FROM join_tokens") == 0


async def test_authority_and_keys_outlive_the_gateway(postgres, tmp_path):
    dsn = await postgres.database("gateway")
    folder = tmp_path / "gateway"
    folder.mkdir(mode=0o700)
    async with running_gateway(dsn, folder) as first:
        workload = await first.joined("notifier", tmp_path / "notifier")
        async with first.operator() as api:
            signed = await token(api)
    async with running_gateway(dsn, folder) as second, second.operator() as api:
        assert jwt.decode(signed, await jwks(api), algorithms=["ES256"])
        assert workload.material.trusted_by(second.identity.enrolment.bundle_pem)


async def test_a_lost_seal_key_stops_the_gateway_with_a_reason(postgres, tmp_path):
    dsn = await postgres.database("gateway")
    folder = tmp_path / "gateway"
    folder.mkdir(mode=0o700)
    async with running_gateway(dsn, folder):
        (folder / "authority" / "seal.key").unlink()

    with pytest.raises(FailedPrecondition) as raised:
        async with running_gateway(dsn, folder):
            pytest.fail("it must not serve")

    assert raised.value.reason == "SIGNING_KEY_SEALED"


async def test_two_replicas_share_one_ring(postgres, tmp_path):
    dsn = await postgres.database("gateway")
    folder = tmp_path / "gateway"
    folder.mkdir(mode=0o700)
    async with running_gateway(dsn, folder) as one, running_gateway(dsn, folder) as two:
        assert one.identity.signing.jwks_json == two.identity.signing.jwks_json
        one.clock.ahead = two.clock.ahead = timedelta(minutes=1)
        await one.identity.signing.rotate(expected="", actor="test")
        await two.identity.signing.reload()
        assert one.identity.signing.jwks_json == two.identity.signing.jwks_json
