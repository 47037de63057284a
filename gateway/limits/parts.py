"""The parts of limits in one process of the gateway, joined."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any, Final

import structlog

from gateway.limits.owner import Owner
from gateway.limits.quotas import Quotas
from gateway.limits.rlqs import QuotaService
from gateway.limits.rls import METHOD as STRICT_METHOD
from gateway.limits.rls import StrictService
from gateway.limits.strict import StrictLimits
from gateway.model import Strength


if TYPE_CHECKING:
    from collections.abc import Callable

    import asyncpg

    from gateway.model import Catalog, Limit
    from meshkit.bus import Bus
    from meshkit.identity import Workload
    from meshkit.serving import GrpcServer


SHARES: Final = "gateway.limits"
"""The bus's subject for "so much of these quotas has an edge of mine"."""

SHARES_AT_ONCE: Final = 500
"""Buckets in one hint."""

log = structlog.get_logger(__name__)


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
        bus: Bus,
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
        self._bus = bus
        self._replica = replica
        self._divides = QuotaService(
            self.quotas, streams_max=streams_max, stopping=stopping, heard=self._tell
        )
        self._decides = StrictService(self.strict, self.owner, workload)

    @property
    def reports(self) -> int:
        """Reports of edges taken since the start."""
        return self._divides.reports

    def register(self, server: GrpcServer) -> None:
        """Serve the edges on *server*."""
        self._divides.register(server.server)
        server.add_fast(STRICT_METHOD, self._decides.ask)

    async def join(self) -> None:
        """Listen to the other replicas."""
        await self._bus.subscribe(SHARES, self._hear)

    async def run(self) -> None:
        """Do what is due from time to time, until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._divides.run(), name="limits.quotas")
                tasks.create_task(self.owner.run(), name="limits.owner")
        finally:
            await self._decides.close()

    def _tell(self, edge: str) -> None:
        """Tell other replicas what an edge of ours has and wants."""
        if not self._bus.connected:
            return
        found = [
            [key, part.demand or 0.0, part.assigned]
            for key, _, bucket in self.quotas.buckets()
            if (part := bucket.parts.get(edge)) is not None and not part.foreign
        ]
        for first in range(0, len(found), SHARES_AT_ONCE):
            some = found[first : first + SHARES_AT_ONCE]
            told = {"replica": self._replica, "edge": edge, "shares": some}
            self._bus.publish(SHARES, json.dumps(told).encode())

    def _hear(self, hint: bytes) -> None:
        try:
            told = json.loads(hint)
            if told["replica"] == self._replica:
                return
            now = time.monotonic()
            for key, demand, assigned in told["shares"]:
                bucket = tuple((str(name), str(value)) for name, value in key)
                self.quotas.hear(str(told["edge"]), bucket, float(demand), float(assigned), now)
        except (ValueError, KeyError, TypeError) as error:
            log.warning("limit_shares_unread", error=str(error))

    def _limit(self, name: str, strength: Strength) -> Limit | None:
        limit = self._catalog().limits.get(name)
        return limit if limit is not None and limit.strength is strength else None

    def _is_any_strict(self) -> bool:
        limits = self._catalog().limits.values()
        return any(limit.strength is Strength.STRICT for limit in limits)
