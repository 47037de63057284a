"""The certificate of the public listener: asked of the gateway, kept on disk, renewed."""

from __future__ import annotations

import asyncio
import ipaddress
import random
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import grpc
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from aerofusion.gateway.v1 import identity_service_pb2, identity_service_pb2_grpc
from meshkit.identity.folder import replace_private
from meshkit.identity.material import new_key_pem, signing_request_pem
from meshkit.identity.workload import utc_now


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from gateway.relay.secrets import Secrets
    from meshkit.identity import Workload

log = structlog.get_logger(__name__)

CALL_TIMEOUT_S: Final = 5.0
RETRY_FIRST_S: Final = 0.2
RETRY_MAX_S: Final = 30.0
CLOCK_CHECK_S: Final = 60.0


class PublicCertificate:
    """
    Keeps `edge_public` in *secrets* good.

    Args:
        path: File for key and chain, 0600, so that a restart needs no gateway.
        names: DNS names and IP addresses to serve.
        address: The gateway's.

    """

    def __init__(
        self,
        *,
        path: Path,
        names: frozenset[str],
        workload: Workload,
        address: str,
        secrets: Secrets,
    ) -> None:
        self._path = path
        self._names = names
        self._workload = workload
        self._address = address
        self._secrets = secrets
        self._renew_time: datetime | None = None

    def load(self) -> None:
        """Take up the stored certificate, if it is for these names; none is no error."""
        try:
            data = self._path.read_bytes()
            key = serialization.load_pem_private_key(data, password=None)
            leaf = x509.load_pem_x509_certificate(data)
            names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (OSError, ValueError, TypeError, x509.ExtensionNotFound):
            return
        fits = key.public_key() == leaf.public_key()
        if fits and {str(name.value) for name in names} == self._names:
            self._adopt(data, leaf)

    async def run(
        self,
        *,
        clock: Callable[[], datetime] = utc_now,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Renew at half of each certificate's life until cancelled; faults are retried."""
        retry_s = RETRY_FIRST_S
        while True:
            left = (self._renew_time - clock()) if self._renew_time else timedelta()
            if left > timedelta():
                await sleep(min(left.total_seconds(), CLOCK_CHECK_S))
                continue
            try:
                await self.renew()
            except grpc.aio.AioRpcError as error:
                log.warning(
                    "relay.public_certificate_missing",
                    code=error.code().name,
                    details=error.details(),
                )
                await sleep(retry_s * (1 + 0.1 * chance()))
                retry_s = min(2 * retry_s, RETRY_MAX_S)
                continue
            retry_s = RETRY_FIRST_S

    async def renew(self) -> None:
        """Ask for a new certificate, with a new key, and serve it. Raises AioRpcError."""
        key_pem = await asyncio.to_thread(new_key_pem)
        request = identity_service_pb2.IssuePublicCertificateRequest(
            csr_pem=signing_request_pem(key_pem, [_general_name(n) for n in sorted(self._names)])
        )
        async with self._workload.channel(self._address) as channel:
            stub = identity_service_pb2_grpc.IdentityServiceStub(channel)
            response = await stub.IssuePublicCertificate(request, timeout=CALL_TIMEOUT_S)
        data = key_pem + response.certificate.chain_pem
        await asyncio.to_thread(replace_private, self._path, data)
        self._adopt(data, x509.load_pem_x509_certificate(data))

    def _adopt(self, data: bytes, leaf: x509.Certificate) -> None:
        key_pem, end, chain_pem = data.partition(b"-----END PRIVATE KEY-----\n")
        self._secrets.set_public(key_pem + end, chain_pem)
        life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
        self._renew_time = leaf.not_valid_before_utc + life / 2


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
