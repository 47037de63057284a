"""All policies that the edge is measured with."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import grpc

from aerofusion.gateway.v1 import key_service_pb2, limit_pb2, object_pb2, service_pb2


if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.control_plane import ControlPlane

REVOKED = 10_000
REQUESTS_MAX = 1_000_000
"""A second and tenant: the quota is asked for and never used up."""


def put_policies(plane: ControlPlane) -> Sequence[str]:
    """Put what this gateway serves into force; returns the names. Roles are the service's own."""
    every = ["ES256 tokens", "roles", "access log"]
    # Edges ask for their quotas at the gateway, a service like any other.
    gateway = service_pb2.Service(
        name="services/gateway",
        identity="gateway",
        endpoints=[service_pb2.Endpoint(address="127.0.0.1", port=plane.gateway_port)],
    )
    plane.apply([object_pb2.Object(service=gateway), object_pb2.Object(limit=_quota())])
    every.append("quota")
    if _revoke(plane):
        every.append(f"deny-list of {REVOKED}")
    return every


def _quota() -> limit_pb2.Limit:
    return limit_pb2.Limit(
        name="limits/bench",
        strength=limit_pb2.Limit.STRENGTH_QUOTA,
        keys=[limit_pb2.LimitKey(tenant=True)],
        requests=REQUESTS_MAX,
    )


def _revoke(plane: ControlPlane) -> bool:
    """Fill the deny-list with tokens that nobody sends; False: this gateway has none."""

    def one(_: int) -> None:
        plane.keys.RevokeToken(key_service_pb2.RevokeTokenRequest(token_id=str(uuid.uuid4())))

    try:
        one(0)
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.UNIMPLEMENTED:
            return False
        raise
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(1, REVOKED)))
    return True
