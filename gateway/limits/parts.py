"""The parts of limits in one process of the gateway, joined."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from gateway.limits.owner import Owner
from gateway.limits.quotas import Quotas
from gateway.limits.rlqs import QuotaService
from gateway.limits.rls import StrictService
from gateway.limits.strict import StrictLimits
from gateway.model import Strength


if TYPE_CHECKING:
    from collections.abc import Callable

    import asyncpg
    import grpc.aio

    from gateway.model import Catalog, Limit
    from meshkit.identity import Workload


class Limits:
    """
    What divides quotas and decides on strict limits.

    Args:
        catalog: Returns the newest that is published.

    """

    def __init__(
        self,
        *,
        pool: asyncpg.Pool[Any],
        workload: Workload,
        replica: str,
        catalog: Callable[[], Catalog],
        streams_max: int,
        stopping: asyncio.Event,
    ) -> None:
        self._catalog = catalog
        self.quotas = Quotas(lambda name: self._limit(name, Strength.QUOTA))
        self.strict = StrictLimits(lambda name: self._limit(name, Strength.STRICT))
        self.owner = Owner(
            pool, replica=replica, wanted=self._is_any_strict, lost=self.strict.clear
        )
        self._divides = QuotaService(self.quotas, streams_max=streams_max, stopping=stopping)
        self._decides = StrictService(self.strict, self.owner, workload)

    def register(self, server: grpc.aio.Server) -> None:
        """Serve the edges on *server*."""
        self._divides.register(server)
        self._decides.register(server)

    async def run(self) -> None:
        """Do what is due from time to time, until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._divides.run(), name="limits.quotas")
                tasks.create_task(self.owner.run(), name="limits.owner")
        finally:
            await self._decides.close()

    def _limit(self, name: str, strength: Strength) -> Limit | None:
        limit = self._catalog().limits.get(name)
        return limit if limit is not None and limit.strength is strength else None

    def _is_any_strict(self) -> bool:
        limits = self._catalog().limits.values()
        return any(limit.strength is Strength.STRICT for limit in limits)
