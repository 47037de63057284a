"""What an edge's Envoy counts in shadow mode, as operators read it: through our own telemetry."""

import asyncio

import grpc
import pytest
from google.protobuf import json_format

from aerofusion.gateway.v1 import (
    config_service_pb2,
    limit_service_pb2,
    object_pb2,
    policy_service_pb2,
    policy_service_pb2_grpc,
)
from meshkit.status import from_rpc_error
from tests.fixtures.cli import meshctl


pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

WITHIN_S = 90
CALLS = 4
OBJECTS = (
    {
        "policy": {
            "name": "policies/no-passengers",
            "action": "ACTION_DENY",
            "shadow": True,
            "principals": [{"subjects": ["passengers/*"]}],
        }
    },
    {
        "policy": {
            "name": "policies/operators-only",
            "action": "ACTION_ALLOW",
            "shadow": True,
            "principals": [{"roles": ["operator"]}],
        }
    },
    {
        "limit": {
            "name": "limits/planned",
            "strength": "STRENGTH_LOCAL",
            "shadow": True,
            "requests": 1,
            "interval": "3600s",
        }
    },
)


def policies(mesh):
    return policy_service_pb2_grpc.PolicyServiceStub(mesh.operator)


async def until(ask, good):
    """Ask until the answer is *good*; returns it."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            answer = await ask()
            if good(answer):
                return answer
            await asyncio.sleep(0.05)  # polls


async def test_what_is_in_the_shadow_refuses_nothing_and_is_told(mesh):
    wanted = config_service_pb2.ChangeSet(
        objects=[json_format.ParseDict(one, object_pb2.Object()) for one in OBJECTS]
    )
    await mesh.config.ApplyChange(config_service_pb2.ApplyChangeRequest(change_set=wanted))
    await mesh.settled()
    assert [await mesh.first.status() for _ in range(CALLS)] == [200] * CALLS

    request = policy_service_pb2.GetPolicyUsageRequest()
    usage = await until(
        lambda: policies(mesh).GetPolicyUsage(request),
        lambda found: sum(one.would_have_refused for one in found.usages) >= 2 * CALLS,
    )
    counted = {
        one.policy: (one.edge, one.would_have_refused, one.would_have_allowed)
        for one in usage.usages
    }
    # Nobody was an operator: that no ALLOW would have matched is no single policy's doing.
    assert counted == {"": ("edge/0", CALLS, 0), "policies/no-passengers": ("edge/0", CALLS, 0)}

    local = await until(
        lambda: mesh.limits.GetLocalUsage(limit_service_pb2.GetLocalUsageRequest()),
        lambda found: any(one.would_have_refused for one in found.usages),
    )
    (at_first,) = [one for one in local.usages if one.would_have_refused]
    assert (at_first.edge, at_first.would_have_refused, at_first.refused) == (
        "edge/0",
        CALLS - 1,
        0,
    )
    assert list(local.shadow_limits) == ["limits/planned"]


async def test_meshctl_shows_it(mesh):
    shown = await meshctl(mesh.gateway_socket, "policies")
    assert "no-passengers" in shown.out
    assert "(every ALLOW)" in shown.out
    (one,) = (await meshctl(mesh.gateway_socket, "policies", "no-passengers", "--json")).json[
        "usages"
    ]
    assert (one["would_have_refused"], one["shadow"]) == (str(CALLS), True)
    limits = await meshctl(mesh.gateway_socket, "limits", "--shadow")
    assert "Local limits in shadow mode: planned" in limits.out
    local = (await meshctl(mesh.gateway_socket, "limits", "--shadow", "--json")).json["local"]
    assert local["shadow_limits"] == ["limits/planned"]


async def test_a_policy_that_is_not_there_and_telemetry_that_is_away_are_told(mesh):
    stub = policies(mesh)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetPolicyUsage(policy_service_pb2.GetPolicyUsageRequest(policy="policies/none"))
    assert from_rpc_error(caught.value).reason == "POLICY_NOT_FOUND"
    await mesh.telemetry.aclose()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetPolicyUsage(policy_service_pb2.GetPolicyUsageRequest())
    assert from_rpc_error(caught.value).reason == "TELEMETRY_AWAY"
