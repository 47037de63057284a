"""
How long what is stored stays, by tenant and signal; and how much disk it takes.

A table's TTL is the longest that anybody of its signal has, and drops whole parts; those who have
less are deleted from it each hour. Roll-ups stay 400 days whatever is said here.
"""

# ruff: noqa: S608 - names of our tables, numbers and quoted tenants

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from meshkit.settings import InvalidSettings
from telemetry.store.engine import StoreFailed, quote


if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import timedelta

    from telemetry.store.sessions import Sessions

log = structlog.get_logger()

SIGNALS = ("metrics", "logs", "traces")
WARN_SHARE = 0.8
"""Share of the disk budget from which on a warning is logged."""

_EVERY_S = 3_600.0
_OVERRIDE = re.compile(r"(?P<tenant>[A-Za-z0-9._-]*)/(?P<signal>[a-z]+)=(?P<days>[0-9]{1,5})d")
_MS_TIME = "toDateTime(intDiv(ts_ms, 1000), 'UTC')"
_TABLES = {
    "metrics": (("samples", _MS_TIME), ("histograms", _MS_TIME), ("exemplars", _MS_TIME)),
    "logs": (("logs", "toDateTime(time)"),),
    "traces": (("spans", "toDateTime(start)"),),
}
"""A signal's tables, and the time of a row of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How many days what is stored stays."""

    days: int
    overrides: Mapping[tuple[str, str], int]
    """By tenant and signal, where it isn't that."""

    @classmethod
    def of(cls, general: timedelta, overrides: str) -> Retention:
        """
        Read *overrides*: `tenant/signal=30d`, separated by commas.

        Raises:
            InvalidSettings: They can't be read.

        """
        found = {}
        for part in filter(None, (one.strip() for one in overrides.split(","))):
            match = _OVERRIDE.fullmatch(part)
            if match is None or match["signal"] not in SIGNALS or int(match["days"]) == 0:
                raise InvalidSettings(f"retention of {part!r}: write tenant/logs=30d, or metrics")
            found[match["tenant"], match["signal"]] = int(match["days"])
        return cls(days=max(1, round(general.total_seconds() / 86_400)), overrides=found)

    def longest(self, signal: str) -> int:
        """Return the most days that anybody's *signal* stays."""
        return max([self.days, *(days for (_, of), days in self.overrides.items() if of == signal)])


class Keeper:
    """Deletes what is too old, and looks at the disk. `run` until cancelled."""

    def __init__(
        self,
        sessions: Sessions,
        retention: Retention,
        *,
        disk_bytes_max: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """*disk_bytes_max*: 0 means that there is no budget."""
        self._sessions = sessions
        self._retention = retention
        self._disk_bytes_max = disk_bytes_max
        self._clock = clock
        self.disk_bytes = 0
        """What the tables take, as of the last look."""

    async def run(self) -> None:
        """Look each hour; faults of the store wait for the next time."""
        while True:
            try:
                await self.keep()
            except StoreFailed as error:
                log.warning("retention_failed", code=error.code, error=str(error)[:300])
            await asyncio.sleep(_EVERY_S)

    async def keep(self) -> None:
        """
        Delete what is too old now, and measure.

        Raises:
            StoreFailed: The store refused a statement.

        """
        for signal in SIGNALS:
            for table, at in _TABLES[signal]:
                await self._set_ttl(table, at, self._retention.longest(signal))
            await self._delete(signal)
        answer = await self._sessions.execute(
            f"SELECT sum(bytes_on_disk) FROM {self._sessions.parts} WHERE active"
        )
        self.disk_bytes = int(answer)
        if self._disk_bytes_max and self.disk_bytes > WARN_SHARE * self._disk_bytes_max:
            log.warning(
                "disk_budget",
                bytes=self.disk_bytes,
                bytes_max=self._disk_bytes_max,
                do="shorten TELEMETRY_RETENTION, or give it more disk",
            )

    async def _set_ttl(self, table: str, at: str, days: int) -> None:
        made = await self._sessions.execute(
            "SELECT create_table_query FROM system.tables"
            f" WHERE name = '{self._sessions.local(table)}' AND database = currentDatabase()"
        )
        if f"toIntervalDay({days})" not in made.decode():
            await self._sessions.alter(table, f"MODIFY TTL {at} + INTERVAL {days} DAY")

    async def _delete(self, signal: str) -> None:
        """Delete what the tables' TTL would keep longer than its tenant's retention says."""
        longest = self._retention.longest(signal)
        named = {
            tenant: days for (tenant, of), days in self._retention.overrides.items() if of == signal
        }
        chosen = [(f"tenant = {quote(one)}", days) for one, days in named.items()]
        others = " AND ".join(f"tenant != {quote(one)}" for one in named) or "1"
        chosen.append((others, self._retention.days))
        for whose, days in chosen:
            if days == longest:
                continue
            before = int(self._clock()) - days * 86_400
            for table, at in _TABLES[signal]:
                rows = whose
                if signal == "metrics":
                    rows = f"series_id IN (SELECT series_id FROM series WHERE {whose})"
                old = f"{at} < toDateTime({before}, 'UTC') AND {rows}"
                found = await self._sessions.execute(f"SELECT 1 FROM {table} WHERE {old} LIMIT 1")
                if found.strip():
                    await self._sessions.delete(table, old)
