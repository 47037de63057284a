"""The identity API: protobuf in, `Enrolment` and `Signing` out."""
# ruff: noqa: N802 - methods are named as in the contract

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from aerofusion.gateway.v1 import identity_pb2, identity_service_pb2, identity_service_pb2_grpc
from gateway.identity.enrolment import JOIN_TTL_DEFAULT
from gateway.identity.keyring import KeyState
from gateway.identity.tokens import LIFETIME_DEFAULT, TokenRequest
from meshkit.authz import current_caller
from meshkit.errors import InvalidInput, PermissionDenied
from meshkit.identity import SpiffeId


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from google.protobuf.duration_pb2 import Duration

    from gateway.identity.authority import Issued
    from gateway.identity.enrolment import Enrolment
    from gateway.identity.keyring import SigningKey
    from gateway.identity.signing import Signing

    Context = Any

PROXIED: Final = ("x-forwarded-", "x-envoy-", "x-request-id", "forwarded", "via")
"""Metadata that the edge adds to whatever it passes on, and that no workload sends itself."""

_STATES: Final = {
    KeyState.NEXT: identity_pb2.SigningKey.STATE_NEXT,
    KeyState.ACTIVE: identity_pb2.SigningKey.STATE_ACTIVE,
    KeyState.RETIRED: identity_pb2.SigningKey.STATE_RETIRED,
}


class IdentityService(identity_service_pb2_grpc.IdentityServiceServicer):
    """
    All methods but Join, which `JoinServer` serves.

    Args:
        join_address: Tells where Join is served, once it is.

    """

    def __init__(
        self, enrolment: Enrolment, signing: Signing, *, join_address: Callable[[], str]
    ) -> None:
        self._enrolment = enrolment
        self._signing = signing
        self._join_address = join_address

    async def Join(
        self, request: identity_service_pb2.JoinRequest, context: Context
    ) -> identity_service_pb2.JoinResponse:
        raise PermissionDenied("JOIN_ELSEWHERE", "Join is served on a port of its own only.")

    async def Renew(
        self, request: identity_service_pb2.RenewRequest, context: Context
    ) -> identity_service_pb2.RenewResponse:
        issued = await self._enrolment.renew(_direct_caller(context), request.csr_pem)
        return identity_service_pb2.RenewResponse(certificate=self._certificate(issued))

    async def IssuePublicCertificate(
        self, request: identity_service_pb2.IssuePublicCertificateRequest, context: Context
    ) -> identity_service_pb2.IssuePublicCertificateResponse:
        issued = await self._enrolment.issue_public(_direct_caller(context), request.csr_pem)
        return identity_service_pb2.IssuePublicCertificateResponse(
            certificate=self._certificate(issued)
        )

    async def CreateJoinToken(
        self, request: identity_service_pb2.CreateJoinTokenRequest, context: Context
    ) -> identity_service_pb2.CreateJoinTokenResponse:
        made = await self._enrolment.create_join_token(
            SpiffeId.parse(request.spiffe_id),
            ttl=_duration(request.ttl, "ttl") if request.HasField("ttl") else JOIN_TTL_DEFAULT,
            public_names=frozenset(request.public_names),
            actor=current_caller().subject,
        )
        token = identity_pb2.JoinToken(
            token=made.token,
            spiffe_id=str(made.spiffe_id),
            join_address=self._join_address(),
            bundle_pem=self._enrolment.bundle_pem,
        )
        token.expire_time.FromDatetime(made.expire_time)
        return identity_service_pb2.CreateJoinTokenResponse(join_token=token)

    async def CreateToken(
        self, request: identity_service_pb2.CreateTokenRequest, context: Context
    ) -> identity_service_pb2.CreateTokenResponse:
        caller = current_caller()
        caller.check_tenant(request.tenant)
        wanted = TokenRequest(
            subject=request.subject,
            tenant=request.tenant,
            roles=tuple(request.roles),
            lifetime=(
                _duration(request.ttl, "ttl") if request.HasField("ttl") else LIFETIME_DEFAULT
            ),
        )
        signed = await self._signing.sign(wanted, actor=caller.subject)
        response = identity_service_pb2.CreateTokenResponse(
            token=signed.token, token_id=signed.token_id
        )
        response.expire_time.FromDatetime(signed.expire_time)
        return response

    async def GetJwks(
        self, request: identity_service_pb2.GetJwksRequest, context: Context
    ) -> identity_service_pb2.GetJwksResponse:
        return identity_service_pb2.GetJwksResponse(jwks_json=self._signing.jwks_json)

    async def ListKeys(
        self, request: identity_service_pb2.ListKeysRequest, context: Context
    ) -> identity_service_pb2.ListKeysResponse:
        await self._signing.reload()
        return identity_service_pb2.ListKeysResponse(keys=_keys(self._signing.keys))

    async def RotateKey(
        self, request: identity_service_pb2.RotateKeyRequest, context: Context
    ) -> identity_service_pb2.RotateKeyResponse:
        keys = await self._signing.rotate(
            expected=request.active_key_id, actor=current_caller().subject
        )
        return identity_service_pb2.RotateKeyResponse(keys=_keys(keys))

    def _certificate(self, issued: Issued) -> identity_pb2.IssuedCertificate:
        return to_message(issued, self._enrolment.bundle_pem)


def to_message(issued: Issued, bundle_pem: bytes) -> identity_pb2.IssuedCertificate:
    """Return *issued* as it goes over the wire, with the roots to trust."""
    message = identity_pb2.IssuedCertificate(
        chain_pem=issued.chain_pem, bundle_pem=bundle_pem, serial=issued.serial
    )
    message.expire_time.FromDatetime(issued.not_after)
    return message


def _direct_caller(context: Context) -> SpiffeId:
    """
    Return the workload that calls, and refuse what a proxy has passed on.

    The edge may renew its own certificate, and every outside call arrives under the
    edge's certificate. Its filters refuse calls without a token; this is the second
    wall: an outsider must never get the edge's identity for a key of theirs.
    """
    caller = current_caller()
    for key, _ in context.invocation_metadata() or ():
        if caller.through_edge or key.startswith(PROXIED):
            raise PermissionDenied(
                "CALL_NOT_DIRECT", "Certificates are issued on a workload's own connection only."
            )
    return SpiffeId(caller.service, caller.replica)


def _duration(value: Duration, field: str) -> timedelta:
    try:
        return value.ToTimedelta()
    except (ValueError, OverflowError) as error:
        raise InvalidInput(
            "DURATION_INVALID",
            f"{field} is no duration.",
            field_violations={field: "out of range"},
        ) from error


def _keys(keys: Iterable[SigningKey]) -> list[identity_pb2.SigningKey]:
    messages = []
    for key in keys:
        message = identity_pb2.SigningKey(key_id=key.key_id, state=_STATES[key.state])
        message.create_time.FromDatetime(key.create_time)
        if key.expire_time is not None:
            message.expire_time.FromDatetime(key.expire_time)
        messages.append(message)
    return messages
