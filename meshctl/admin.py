"""The gateway's API as an operator of this machine calls it: over its Unix socket."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
import grpc.aio
from google.protobuf import duration_pb2, field_mask_pb2

from aerofusion.gateway.v1 import (
    catalog_service_pb2,
    catalog_service_pb2_grpc,
    change_service_pb2_grpc,
    config_service_pb2_grpc,
    explain_service_pb2_grpc,
    identity_pb2,
    identity_service_pb2,
    identity_service_pb2_grpc,
    key_service_pb2_grpc,
    lifecycle_service_pb2_grpc,
    limit_service_pb2_grpc,
    policy_service_pb2_grpc,
    service_pb2,
)
from meshctl import exits
from meshctl.faults import MeshctlError
from meshkit.errors import InvalidInput, Unavailable
from meshkit.status import from_rpc_error


CALL_TIMEOUT_S = 10.0
OWNED_FIELDS = (
    "description",
    "grpc_services",
    "endpoints",
    "identity",
    "json_prefixes",
    "descriptor_set",
    "access",
)
"""What a registration decides; an operator's limits and timeouts stay as they are."""


REMEDIES = {
    "ETAG_MISMATCH": "again: it was changed in between, and the plan is another now",
    "OBJECT_NOT_FOUND": "meshctl list",
    "SERVICE_NOT_FOUND": "meshctl list services/",
    "ROUTE_NOT_FOUND": "meshctl list services/",
    "OBJECT_MISSING": "put what it needs into the same change",
    "OBJECT_IN_USE": "put what needs it into the same change, or take it out first",
    "REVISION_NOT_FOUND": "meshctl history",
    "CHANGE_NOT_FOUND": "meshctl history",
    "PREFLIGHT_FAILED": "fix that field; nothing was changed",
    "KEY_NOT_FOUND": "meshctl key list",
    "LIMIT_NOT_FOUND": "meshctl list limits/",
    "POLICY_NOT_FOUND": "meshctl list policies/",
    "TELEMETRY_AWAY": "meshctl status",
    "ALERT_NOT_FOUND": "meshctl alerts list",
    "SILENCE_NOT_FOUND": "meshctl alerts silences",
    "RULE_GROUP_NOT_FOUND": "meshctl alerts rules list",
    "TOO_MANY_DEPRECATED": "meshctl deprecated SERVICE",
    "QUERY_TOO_EXPENSIVE": "a shorter time",
    "TOO_MANY_WATCHERS": "again in a while",
    "DASHBOARD_NOT_FOUND": "meshctl dashboard list",
    "TRACE_NOT_FOUND": "meshctl traces",
    "FILTER_INVALID": "docs/specs/logs.md",
}
"""Reason of a refusal to what to try."""


class Admin:
    """An open connection to the gateway, with a stub for each of its services."""

    def __init__(self, socket: Path) -> None:
        # Each connects anew: channels of one process share their connections otherwise, and
        # with them the wait after the failure of another one while the gateway was away.
        self._channel = grpc.aio.insecure_channel(
            f"unix:{socket}", options=[("grpc.use_local_subchannel_pool", 1)]
        )
        self.catalog = catalog_service_pb2_grpc.CatalogServiceStub(self._channel)
        self.changes = change_service_pb2_grpc.ChangeServiceStub(self._channel)
        self.config = config_service_pb2_grpc.ConfigServiceStub(self._channel)
        self.explain = explain_service_pb2_grpc.ExplainServiceStub(self._channel)
        self.identity = identity_service_pb2_grpc.IdentityServiceStub(self._channel)
        self.lifecycles = lifecycle_service_pb2_grpc.LifecycleServiceStub(self._channel)
        self.limits = limit_service_pb2_grpc.LimitServiceStub(self._channel)
        self.policies = policy_service_pb2_grpc.PolicyServiceStub(self._channel)
        self.keys = key_service_pb2_grpc.KeyServiceStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        await self._channel.close()

    async def join_token(
        self, spiffe_id: str, public_names: Sequence[str] = ()
    ) -> identity_pb2.JoinToken:
        """A one-time token for *spiffe_id*. Raises grpc.RpcError."""
        request = identity_service_pb2.CreateJoinTokenRequest(
            spiffe_id=spiffe_id, public_names=public_names
        )
        response = await self.identity.CreateJoinToken(request, timeout=CALL_TIMEOUT_S)
        return response.join_token

    async def token(
        self, *, subject: str, tenant: str, roles: Sequence[str], ttl: timedelta | None = None
    ) -> identity_service_pb2.CreateTokenResponse:
        """A token for the edge. Raises grpc.RpcError."""
        request = identity_service_pb2.CreateTokenRequest(
            subject=subject, tenant=tenant, roles=roles
        )
        if ttl is not None:
            duration = duration_pb2.Duration()
            duration.FromTimedelta(ttl)
            request.ttl.CopyFrom(duration)
        return await self.identity.CreateToken(request, timeout=CALL_TIMEOUT_S)

    async def ensure_service(
        self, wanted: service_pb2.Service, owned: Sequence[str] = OWNED_FIELDS
    ) -> bool:
        """
        Have the catalog hold the *owned* fields of *wanted*; return whether that took a change.

        Raises grpc.RpcError.
        """
        try:
            response = await self.catalog.GetService(
                catalog_service_pb2.GetServiceRequest(name=wanted.name), timeout=CALL_TIMEOUT_S
            )
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
        else:
            if _same(response.service, wanted, owned):
                return False
        await self.catalog.UpdateService(
            catalog_service_pb2.UpdateServiceRequest(
                service=wanted,
                update_mask=field_mask_pb2.FieldMask(paths=owned),
                allow_missing=True,
            ),
            timeout=CALL_TIMEOUT_S,
        )
        return True


def _same(one: service_pb2.Service, other: service_pb2.Service, fields: Sequence[str]) -> bool:
    return all(_field(one, name) == _field(other, name) for name in fields)


def _field(service: service_pb2.Service, name: str) -> object:
    value = getattr(service, name)
    if name == "identity":  # Absent is the service's own id.
        return value or service.name.rpartition("/")[2]
    if name == "endpoints":
        return [(e.address, e.port, e.weight or 1, e.health in (0, 1)) for e in value]
    return value


def told(error: grpc.RpcError, part: str = "gateway") -> MeshctlError:
    """*error* of *part* as a person reads it."""
    who = "The gateway" if part == "gateway" else part.capitalize()
    known = from_rpc_error(error)
    if known is None:
        code = error.code().name
        return MeshctlError(f"{who} answered {code}: {error.details()}", f"meshctl logs {part}")
    if isinstance(known, Unavailable):
        return MeshctlError(
            f"{who} is away: {known}",
            "meshctl status, then again",
            exit_code=exits.UNAVAILABLE,
        )
    remedy = REMEDIES.get(known.reason, "")
    lines = [f"{known} ({known.reason})"]
    if isinstance(known, InvalidInput):
        lines += [f"  {field}: {what}" for field, what in (known.field_violations or {}).items()]
    return MeshctlError("\n".join(lines), remedy, refusal=known)
