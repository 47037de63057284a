"""
Getting certificates from the gateway: the first for a one-time token, the next by mTLS.

The token file also pins the roots to trust, so the first connection is as safe
as the file: nobody but the gateway can take the token in.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import grpc
import grpc.aio

from aerofusion.gateway.v1 import identity_service_pb2, identity_service_pb2_grpc
from meshkit.errors import FailedPrecondition, InvalidInput, MeshError, Unavailable
from meshkit.identity.folder import replace_private
from meshkit.identity.spiffe import SpiffeId, dns_name
from meshkit.status import from_rpc_error


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from aerofusion.gateway.v1 import identity_pb2

CALL_TIMEOUT_S: Final = 5.0
JOIN_ATTEMPTS_MAX: Final = 20
"""With the delays below: about half a minute, for a gateway that is starting."""
JOIN_DELAY_FIRST_S: Final = 0.1
JOIN_DELAY_MAX_S: Final = 2.0
JOIN_FILE_BYTES_MAX: Final = 65_536

_GATEWAY: Final = dns_name("gateway")


@dataclass(frozen=True, slots=True)
class Certificates:
    """What the gateway answers a signing request with, as PEM."""

    chain_pem: bytes
    bundle_pem: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinFile:
    """A join token as it is handed to a process: a JSON file of mode 0600, used once."""

    token: str
    spiffe_id: SpiffeId
    address: str
    """Where the gateway serves Join, `host:port`."""
    bundle_pem: bytes

    @classmethod
    def from_token(cls, message: identity_pb2.JoinToken) -> Self:
        """Take over the answer of CreateJoinToken."""
        return cls(
            token=message.token,
            spiffe_id=SpiffeId.parse(message.spiffe_id),
            address=message.join_address,
            bundle_pem=message.bundle_pem,
        )

    @classmethod
    def read(cls, path: Path) -> Self:
        """
        Read the file at *path*.

        Raises:
            FailedPrecondition: JOIN_FILE_UNUSABLE.

        """
        try:
            with path.open("rb") as file:
                content = json.loads(file.read(JOIN_FILE_BYTES_MAX))
            return cls(
                token=str(content["token"]),
                spiffe_id=SpiffeId.parse(content["spiffe_id"]),
                address=str(content["address"]),
                bundle_pem=base64.b64decode(content["bundle_pem"], validate=True),
            )
        except (OSError, ValueError, KeyError, TypeError, binascii.Error, InvalidInput) as error:
            raise FailedPrecondition(
                "JOIN_FILE_UNUSABLE", f"{path} is no join token file.", path=str(path)
            ) from error

    def write(self, path: Path) -> None:
        """Write the file, readable by its owner alone. Raises OSError."""
        content = {
            "token": self.token,
            "spiffe_id": str(self.spiffe_id),
            "address": self.address,
            "bundle_pem": base64.b64encode(self.bundle_pem).decode(),
        }
        replace_private(path, json.dumps(content).encode())


async def join(
    ticket: JoinFile, csr_pem: bytes, *, sleep: Callable[[float], Awaitable[None]]
) -> Certificates:
    """
    Trade *ticket* for a certificate; while the gateway is away, try again.

    Raises:
        Unavailable: The gateway stayed away until the last try.
        MeshError: What the gateway answered, such as JOIN_TOKEN_REFUSED.

    """
    delay = JOIN_DELAY_FIRST_S
    for attempt in range(1, JOIN_ATTEMPTS_MAX + 1):
        try:
            return await _join_once(ticket, csr_pem)
        except Unavailable:
            if attempt == JOIN_ATTEMPTS_MAX:
                raise
            await sleep(delay)
            delay = min(2 * delay, JOIN_DELAY_MAX_S)
    raise AssertionError("the loop returns or raises")


async def _join_once(ticket: JoinFile, csr_pem: bytes) -> Certificates:
    credentials = grpc.ssl_channel_credentials(root_certificates=ticket.bundle_pem)
    options = (("grpc.ssl_target_name_override", _GATEWAY),)
    async with grpc.aio.secure_channel(ticket.address, credentials, options) as channel:
        stub = identity_service_pb2_grpc.IdentityServiceStub(channel)
        request = identity_service_pb2.JoinRequest(token=ticket.token, csr_pem=csr_pem)
        try:
            response = await stub.Join(request, timeout=CALL_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise _translated(error) from error
        return _certificates(response.certificate)


async def renew(channel: grpc.aio.Channel, csr_pem: bytes) -> Certificates:
    """
    Ask over *channel* (mTLS to the gateway) for the caller's next certificate.

    Raises:
        Unavailable: The gateway is away.
        MeshError: What the gateway answered.

    """
    stub = identity_service_pb2_grpc.IdentityServiceStub(channel)
    request = identity_service_pb2.RenewRequest(csr_pem=csr_pem)
    try:
        response = await stub.Renew(request, timeout=CALL_TIMEOUT_S)
    except grpc.aio.AioRpcError as error:
        raise _translated(error) from error
    return _certificates(response.certificate)


def _certificates(issued: identity_pb2.IssuedCertificate) -> Certificates:
    return Certificates(issued.chain_pem, issued.bundle_pem)


def _translated(error: grpc.aio.AioRpcError) -> MeshError:
    known = from_rpc_error(error)
    if known is not None:
        return known
    return Unavailable(
        "GATEWAY_UNREACHABLE",
        f"The gateway gave no certificate ({error.code().name}); it is tried again.",
        code=error.code().name,
    )
