"""
The identity rooms joined: what `gateway/app.py` needs of them.

    identity = Identity(pool=pool, folder=settings.identity_dir, replica=settings.replica,
                        audit=..., join_listen=settings.join_listen,
                        join_address=settings.join_address)
    workload = identity.workload                    # the gateway's own, by its own authority
    server = GrpcServer(workload=workload, policy={**POLICY, **identity.policy}, ...)
    identity.add_to(server)                         # IdentityService, all methods but Join
    await identity.start()                          # after `migrate`: keys, and the Join port
    identity.signing.watch(jwks_changed)            # JWK set (JSON) for Envoy's jwt_authn
    tasks.create_task(identity.run())               # renewal, rotation by others, purging
    ...
    await identity.stop()
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import structlog

from aerofusion.gateway.v1 import identity_service_pb2_grpc
from gateway.identity.authority import SigningRequest
from gateway.identity.enrolment import Enrolment
from gateway.identity.files import load_authority, load_seal_key
from gateway.identity.join_server import JoinServer
from gateway.identity.policy import POLICY, SERVICE
from gateway.identity.seal import Seal
from gateway.identity.service import IdentityService
from gateway.identity.signing import Signing
from meshkit.errors import MeshError
from meshkit.identity import SpiffeId, Workload
from meshkit.identity.join import Certificates
from meshkit.identity.material import new_key_pem, workload_request_pem
from meshkit.identity.workload import utc_now


if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    import asyncpg

    from gateway.identity.store import Audit
    from meshkit.authz import Policy
    from meshkit.serving import GrpcServer

log = structlog.get_logger(__name__)

PURGE_S: Final = 3_600.0


class Identity:
    """
    The authority, its API and the gateway's own workload.

    Args:
        folder: The gateway's `identity_dir`; secrets stand in `<folder>/authority`.
        audit: Writes an audit record on a connection's transaction.
        join_listen: Address of the Join port; port 0 picks a free one.
        join_address: How others reach it, `host:port`; "" is where it listens.

    Raises:
        FailedPrecondition: AUTHORITY_UNUSABLE.

    """

    def __init__(
        self,
        *,
        pool: asyncpg.Pool[Any],
        folder: Path,
        replica: str,
        audit: Audit,
        join_listen: str = "127.0.0.1:0",
        join_address: str = "",
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        secrets = folder / "authority"
        authority = load_authority(secrets, now=clock())
        self.enrolment = Enrolment(pool=pool, authority=authority, audit=audit, clock=clock)
        seal_key = load_seal_key(secrets)
        self.seal = Seal(seal_key)
        self.signing = Signing(pool=pool, seal_key=seal_key, audit=audit, clock=clock)
        spiffe_id = SpiffeId("gateway", replica)
        key_pem = new_key_pem()
        request = SigningRequest.parse(workload_request_pem(key_pem, spiffe_id))
        first = authority.issue_workload(request, spiffe_id, now=clock())
        self.workload = Workload(
            spiffe_id=spiffe_id,
            key_pem=key_pem,
            chain_pem=first.chain_pem,
            bundle_pem=authority.bundle_pem,
            renewer=self._renew_own,
        )
        self._join_listen = join_listen
        self._join_address = join_address
        self._join_server = JoinServer(self.enrolment, workload=self.workload, listen=join_listen)
        self._service = IdentityService(
            self.enrolment, self.signing, join_address=lambda: self._join_address
        )

    @property
    def policy(self) -> Policy:
        """Who may call the methods added by `add_to`."""
        return POLICY

    @property
    def join_address(self) -> str:
        """Where others join, `host:port`; known after `start`."""
        return self._join_address

    def add_to(self, server: GrpcServer) -> None:
        """Serve the identity API on *server*, Join excepted."""
        server.add(
            identity_service_pb2_grpc.add_IdentityServiceServicer_to_server, self._service, SERVICE
        )

    async def start(self) -> None:
        """
        Read or make the signing keys, then serve Join.

        Raises:
            ListenFailed: The Join address is taken.
            FailedPrecondition: SIGNING_KEY_SEALED.

        """
        await self.signing.start()
        port = await self._join_server.start()
        if not self._join_address:
            host = self._join_listen.rpartition(":")[0]
            self._join_address = f"{host}:{port}"
        log.info("identity.join_served", address=self._join_address)

    async def run(self) -> None:
        """Keep the own certificate, the ring of keys and the tables fresh, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.workload.run(), name="identity.renewal")
            tasks.create_task(self.signing.run(), name="identity.signing")
            tasks.create_task(self._purge(), name="identity.purge")

    async def stop(self) -> None:
        """Stop serving Join."""
        await self._join_server.stop()

    async def _purge(self) -> None:
        while True:
            try:
                await self.enrolment.purge()
            except MeshError as error:
                log.warning("identity.purge_failed", error=str(error))
            await asyncio.sleep(PURGE_S)

    async def _renew_own(self, csr_pem: bytes) -> Certificates:
        issued = await self.enrolment.renew(self.workload.spiffe_id, csr_pem)
        return Certificates(issued.chain_pem, self.enrolment.bundle_pem)
