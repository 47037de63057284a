"""Changes of keys, tokens and certificates that callers see."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Final

from aerofusion.gateway.v1 import certificate_pb2, host_pb2, object_pb2, route_pb2
from bench.mixed.site import DOMAIN


if TYPE_CHECKING:
    from bench.mixed.world import World

CERTIFICATE: Final = "certificates/site"


async def change_api_key(world: World, _: int) -> None:
    """Calls come with a new API key from now on, and the old one is revoked once none is on its way."""
    old, old_name = world.key, world.key_name
    await world.new_key()
    if old:
        await world.unused(old)
        token_id = old_name.removeprefix("apiKeys/")
        await world.revoke(token_id)
        await world.until_refused([("x-api-key", old)])


async def revoke_token(world: World, _: int) -> None:
    """A token that is good until then is revoked; the others go on."""
    token = await world.new_token()
    payload = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    await world.revoke(claims["jti"])
    await world.until_refused([("authorization", f"Bearer {token}")])


async def rotate_issuer_keys(world: World, _: int) -> None:
    """Another issuer signs with a new key, and takes the old one back once nobody comes with it."""
    old = world.foreign
    world.airline.add()
    await world.apply(world.airline.object())
    new = world.airline.token()
    await world.until_good([("authorization", f"Bearer {new}")])
    world.foreign = new
    await world.unused(old)
    world.airline.drop()
    await world.apply(world.airline.object())
    await world.until_refused([("authorization", f"Bearer {old}")])


async def change_site_certificate(world: World, _: int) -> None:
    """A host shows another certificate."""
    await world.apply(certificate(world))


def certificate(world: World) -> object_pb2.Object:
    """Return a new certificate for the host."""
    chain, key = world.site.issue()
    made = certificate_pb2.Certificate(name=CERTIFICATE, chain_pem=chain, private_key_pem=key)
    return object_pb2.Object(certificate=made)


def site() -> object_pb2.Object:
    """Return the host, which the edge answers for itself."""
    answer = route_pb2.DirectResponse(status=200, body="here")
    rule = host_pb2.HttpRule(id="all", direct_response=answer)
    rule.access.public = True
    return object_pb2.Object(
        host=host_pb2.Host(
            name="hosts/site", domains=[DOMAIN], certificate=CERTIFICATE, rules=[rule]
        )
    )
