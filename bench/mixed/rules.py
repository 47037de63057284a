"""Changes of who may call and how often, and one that an edge has first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf import duration_pb2

from aerofusion.gateway.v1 import (
    config_service_pb2,
    limit_pb2,
    object_pb2,
    policy_pb2,
    service_pb2,
)
from bench.mixed.objects import service


if TYPE_CHECKING:
    from bench.mixed.world import World


async def change_policy(world: World, turn: int) -> None:
    """Who may call, by policies: one names who may, the other who may not."""
    scope = policy_pb2.CallScope(services=["services/policy"])
    allow = policy_pb2.Policy(
        name="policies/allow",
        action=policy_pb2.Policy.ACTION_ALLOW,
        scope=scope,
        principals=[policy_pb2.Principal(roles=["service", f"others-{turn % 5}"])],
    )
    deny = policy_pb2.Policy(
        name="policies/deny",
        action=policy_pb2.Policy.ACTION_DENY,
        scope=scope,
        principals=[policy_pb2.Principal(subjects=[f"passengers/p{turn % 7}"])],
        shadow=turn % 2 == 0,
    )
    await world.apply(object_pb2.Object(policy=allow), object_pb2.Object(policy=deny))


async def change_local_limit(world: World, turn: int) -> None:
    """A bucket in the edge for each caller."""
    limit = _limit("local", limit_pb2.Limit.STRENGTH_LOCAL, 500_000 + turn % 100, subject=True)
    await world.apply(limit)


async def change_quota(world: World, turn: int) -> None:
    """What all edges share, for each tenant."""
    limit = _limit("quota", limit_pb2.Limit.STRENGTH_QUOTA, 500_000 + turn % 100, tenant=True)
    await world.apply(limit)


async def change_by_canary(world: World, turn: int) -> None:
    """The edge has a change first, and it is taken back while it is watched."""
    changed = service(
        world,
        "canary",
        "Canary",
        rate_limit=service_pb2.RateLimit(burst=50_000 + turn % 100, per_second=50_000),
    )
    canary = config_service_pb2.Canary(
        edges=["edge"], bake_time=duration_pb2.Duration(seconds=3_600)
    )
    await world.apply(changed, canary=canary)
    await world.apply(service(world, "canary", "Canary"))


def _limit(
    name: str, strength: limit_pb2.Limit.Strength.ValueType, requests: int, **key: bool
) -> object_pb2.Object:
    return object_pb2.Object(
        limit=limit_pb2.Limit(
            name=f"limits/{name}",
            strength=strength,
            scope=policy_pb2.CallScope(services=["services/quota"]),
            keys=[limit_pb2.LimitKey(**key)],
            requests=requests,
        )
    )
