"""The key API: protobuf in, `Keys` out."""
# ruff: noqa: N802 - methods are named as in the contract

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any, Final

from aerofusion.gateway.v1 import key_service_pb2 as rpc
from aerofusion.gateway.v1 import key_service_pb2_grpc
from gateway.access.keys import KEY_LIFETIME, Keys, new_key_id
from gateway.access.store import KeyRow, RevocationRow
from meshkit.authz import current_caller
from meshkit.paging import next_token, page_size, read_token


if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    Context = Any

SERVICE: Final = "aerofusion.gateway.v1.KeyService"
METHODS: Final = ("CreateKey", "ListApiKeys", "RevokeToken", "ListRevocations")

_KEYS_AT_ONCE = 200
_REVOCATIONS_AT_ONCE = 1_000
_NEWEST = 2**62


class KeyService(key_service_pb2_grpc.KeyServiceServicer):
    """
    Keys and revocations.

    Args:
        revoked: Tells the other replicas; must not block.

    """

    def __init__(
        self, keys: Keys, *, clock: Callable[[], datetime], revoked: Callable[[], None]
    ) -> None:
        self._keys = keys
        self._clock = clock
        self._revoked = revoked

    async def CreateKey(
        self, request: rpc.CreateKeyRequest, context: Context
    ) -> rpc.CreateKeyResponse:
        caller, wanted = current_caller(), request.key
        caller.check_tenant(wanted.tenant)
        now = self._clock().replace(microsecond=0)
        expire = now + KEY_LIFETIME
        if wanted.HasField("expire_time"):
            expire = wanted.expire_time.ToDatetime(UTC)
        key, text = await self._keys.create(
            KeyRow(
                token_id=new_key_id(),
                subject=wanted.subject,
                tenant=wanted.tenant,
                roles=tuple(wanted.roles),
                scopes=tuple(wanted.scopes),
                description=wanted.description,
                create_time=now,
                expire_time=expire.replace(microsecond=0),
            ),
            actor=caller.subject,
        )
        return rpc.CreateKeyResponse(key=_key(key), text=text)

    async def ListApiKeys(
        self, request: rpc.ListApiKeysRequest, context: Context
    ) -> rpc.ListApiKeysResponse:
        most = page_size(request.page_size, at_most=_KEYS_AT_ONCE)
        before = read_token(request.page_token, SERVICE, request.subject)
        rows = await self._keys.list_keys(subject=request.subject, before=before, most=most + 1)
        page = rows[:most]
        more = len(rows) > most
        return rpc.ListApiKeysResponse(
            keys=[_key(row) for row in page],
            next_page_token=next_token(page[-1].token_id, SERVICE, request.subject) if more else "",
        )

    async def RevokeToken(
        self, request: rpc.RevokeTokenRequest, context: Context
    ) -> rpc.RevokeTokenResponse:
        expire = None
        if request.HasField("expire_time"):
            expire = request.expire_time.ToDatetime(UTC)
        row = await self._keys.revoke(
            request.token_id,
            expire_time=expire,
            reason=request.reason,
            actor=current_caller().subject,
        )
        self._revoked()
        return rpc.RevokeTokenResponse(revocation=_revocation(row))

    async def ListRevocations(
        self, request: rpc.ListRevocationsRequest, context: Context
    ) -> rpc.ListRevocationsResponse:
        most = page_size(request.page_size, at_most=_REVOCATIONS_AT_ONCE)
        before = read_token(request.page_token, SERVICE, "revocations")
        rows = await self._keys.list_revocations(
            before=int(before) if before.isdecimal() else _NEWEST, most=most + 1
        )
        page = rows[:most]
        more = len(rows) > most
        return rpc.ListRevocationsResponse(
            revocations=[_revocation(row) for row in page],
            next_page_token=next_token(str(page[-1].seq), SERVICE, "revocations") if more else "",
        )


def _key(row: KeyRow) -> rpc.ApiKey:
    made = rpc.ApiKey(
        name=f"apiKeys/{row.token_id}",
        subject=row.subject,
        tenant=row.tenant,
        roles=row.roles,
        scopes=row.scopes,
        description=row.description,
    )
    made.create_time.FromDatetime(row.create_time)
    made.expire_time.FromDatetime(row.expire_time)
    if row.revoke_time is not None:
        made.revoke_time.FromDatetime(row.revoke_time)
    return made


def _revocation(row: RevocationRow) -> rpc.Revocation:
    made = rpc.Revocation(token_id=row.token_id, reason=row.reason, actor=row.actor)
    made.create_time.FromDatetime(row.create_time)
    made.expire_time.FromDatetime(row.expire_time)
    return made
