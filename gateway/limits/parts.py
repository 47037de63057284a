"""The parts of limits in one process of the gateway, joined."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.limits.quotas import Quotas
from gateway.limits.rlqs import QuotaService
from gateway.model import Strength


if TYPE_CHECKING:
    from collections.abc import Callable

    import grpc.aio

    from gateway.model import Catalog, Limit
    from meshkit.bus import Bus


class Limits:
    """What divides quotas."""

    def __init__(
        self,
        *,
        catalog: Callable[[], Catalog],
        streams_max: int,
        stopping: asyncio.Event,
        bus: Bus,
        replica: str,
    ) -> None:
        self._catalog = catalog
        self.quotas = Quotas(self._quota)
        self._service = QuotaService(self.quotas, streams_max=streams_max, stopping=stopping)

    def register(self, server: grpc.aio.Server) -> None:
        """Serve the edges on *server*."""
        self._service.register(server)

    async def run(self) -> None:
        """Do what is due from time to time, until cancelled."""
        await self._service.run()

    def _quota(self, name: str) -> Limit | None:
        limit = self._catalog().limits.get(name)
        return limit if limit is not None and limit.strength is Strength.QUOTA else None
