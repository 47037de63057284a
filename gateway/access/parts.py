"""
The access rooms joined: what `gateway/app.py` needs of them.

    access = Access(pool=pool, folder=settings.identity_dir, audit=..., control=control, ...)
    await access.start()                    # before the first configuration is published
    access.add_to(server)                   # KeyService
    tasks.create_task(access.run())         # what other replicas do, key sets, purging
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import structlog

from aerofusion.gateway.v1 import key_service_pb2_grpc
from gateway.access.jwks import IssuerKeys, Network
from gateway.access.keys import Keys
from gateway.access.service import SERVICE, KeyService
from gateway.identity.files import load_seal_key
from meshkit.errors import MeshError
from meshkit.identity.workload import utc_now


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime, timedelta
    from pathlib import Path

    import asyncpg

    from gateway.control import Control
    from gateway.identity.store import Audit
    from meshkit.bus import Bus
    from meshkit.serving import GrpcServer

REVOKED: Final = "gateway.revoked"
"""The bus's subject for "something was revoked"; the message is empty."""

REFRESH_S: Final = 60.0

log = structlog.get_logger(__name__)


class Access:
    """
    API keys, revocations and other issuers' key sets.

    Args:
        folder: The gateway's `identity_dir`.
        audit: Writes an audit record on a connection's transaction.
        poll: How soon a revocation by another replica is seen when its hint was lost.
        allowed: Networks of ours from which key sets may be fetched.

    """

    def __init__(
        self,
        *,
        pool: asyncpg.Pool[Any],
        folder: Path,
        audit: Audit,
        control: Control,
        bus: Bus,
        poll: timedelta,
        allowed: Sequence[Network] = (),
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.keys = Keys(
            pool=pool,
            seal_key=load_seal_key(folder / "authority"),
            audit=audit,
            clock=clock,
            published=control.set_input,
        )
        self.issuer_keys = IssuerKeys(
            pool=pool,
            clock=clock,
            issuers=lambda: control.catalog.issuers,
            published=control.set_input,
            allowed=allowed,
        )
        self._bus = bus
        self._poll_s = poll.total_seconds()
        self._wake = asyncio.Event()
        self._service = KeyService(
            self.keys, clock=clock, revoked=lambda: bus.publish(REVOKED, b"")
        )

    def add_to(self, server: GrpcServer) -> None:
        """Serve the key API on *server*."""
        server.add(key_service_pb2_grpc.add_KeyServiceServicer_to_server, self._service, SERVICE)

    async def start(self) -> None:
        """
        Read everything; the first gateway of all makes a signer.

        Raises:
            Unavailable: The database is away.

        """
        await self.keys.start()
        await self.issuer_keys.start()
        await self._bus.subscribe(REVOKED, lambda _: self._wake.set())

    async def run(self) -> None:
        """Follow what other replicas do, and fetch key sets, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow(), name="access.follow")
            tasks.create_task(self._refresh(), name="access.refresh")
            tasks.create_task(self.issuer_keys.run(), name="access.issuer_keys")

    async def _follow(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._poll_s):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            try:
                await self.keys.follow()
            except MeshError as error:
                log.warning("access.unread", reason=error.reason)

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_S)
            try:
                await self.keys.refresh()
            except MeshError as error:
                log.warning("access.not_refreshed", reason=error.reason)
