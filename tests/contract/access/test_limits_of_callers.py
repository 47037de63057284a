"""Limits count callers by who they are, whichever kind of token says so."""

import grpc
import pytest

from aerofusion.gateway.v1 import key_service_pb2 as rpc
from aerofusion.gateway.v1 import object_pb2
from tests.contract.limits.conftest import change, limit


OK, EXHAUSTED = grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED
CALLS = 4

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def by(world):
    """Make a caller have three calls by this key: `await by(subject=True)`."""

    async def put(**key):
        made = limit("callers", "local", 3, keys=[key])
        await change(world.mesh, objects=[object_pb2.Object(limit=made)])
        await world.mesh.settled()

    return put


async def served(world, **headers):
    """How many of a few calls are served."""
    codes = [await world.code(**headers) for _ in range(CALLS)]
    assert set(codes) <= {OK, EXHAUSTED}
    return codes.count(OK)


async def key_of(world, subject):
    wanted = rpc.ApiKey(subject=subject, tenant="nyc", roles=["service"])
    made = await world.keys.CreateKey(rpc.CreateKeyRequest(key=wanted))
    await world.until(OK, x_api_key=made.text)
    return made.text


def bearer(token):
    return {"authorization": f"Bearer {token}"}


async def test_callers_of_other_issuers_have_buckets_of_their_own(world, by):
    await world.put(world.acme.object(), world.zeta.object())
    await by(subject=True)
    assert await served(world, **bearer(world.acme.token(sub="ann"))) == 3
    assert await served(world, **bearer(world.acme.token(sub="bob"))) == 3
    assert await served(world, **bearer(world.zeta.token(sub="ann"))) == 3


async def test_nobody_elses_subject_spends_the_calls_of_ours(world, by):
    await world.put(world.acme.object())
    await by(subject=True)
    ours = "passengers/taken"
    assert await served(world, **bearer(world.acme.token(sub=ours.replace("/", "-")))) == 3
    assert await served(world, **bearer(await world.mesh.token(subject=ours))) == 3


async def test_a_limit_by_key_counts_keys_and_takes_other_tokens_together(world, by):
    one, two = await key_of(world, "services/one"), await key_of(world, "services/two")
    await by(api_key=True)
    assert await served(world, x_api_key=one) == 3
    assert await served(world, x_api_key=two) == 3
    spent = 0
    for _ in range(CALLS):  # A new token is no new bucket.
        spent += await world.code(**bearer(await world.mesh.token())) is OK
    assert spent == 3
