"""The table of series: which are known, and those that wait to be written."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from telemetry.store.model import Limits


if TYPE_CHECKING:
    from collections.abc import Iterable

    from telemetry.scan.described import NewSeries
    from telemetry.scan.scanner import Scanner
    from telemetry.store.sessions import Sessions

_ROWS_PER_INSERT = 5_000
_ALL_IDS = Limits(rows_read_max=10**12, rows_max=10**9, memory_bytes_max=4 * 10**9)


class SeriesCatalog:
    """
    Series on their way into the table.

    They are written before the samples that made them known, so that no sample in the tables
    is of an unknown series.
    """

    def __init__(self, sessions: Sessions, scanner: Scanner) -> None:
        self._sessions = sessions
        self._scanner = scanner
        self._waiting: list[NewSeries] = []
        self.by_tenant: Counter[str] = Counter()
        """How many series each tenant has."""

        self.by_metric: Counter[tuple[str, int]] = Counter()
        """... and each of its metrics, by the OTLP name's hash."""

    async def read_known(self) -> None:
        """Tell the scanner of all series in the table."""
        answer = await self._sessions.query("SELECT series_id FROM series", "RowBinary", _ALL_IDS)
        self._scanner.learn(np.frombuffer(answer, np.uint64))
        counted = await self._sessions.query(
            "SELECT tenant, metric, count() FROM series GROUP BY tenant, metric",
            "JSONCompactEachRow",
            _ALL_IDS,
        )
        for line in counted.splitlines():
            tenant, metric, count = json.loads(line)
            self.by_tenant[tenant] += int(count)
            self.by_metric[tenant, int(metric)] += int(count)

    def notice(self, series: Iterable[NewSeries]) -> None:
        """Remember *series*, to be written; those known meanwhile are left out."""
        new = [one for one in series if not self._scanner.is_known(one.series_id)]
        if new:
            self._scanner.learn(one.series_id for one in new)
            self._waiting.extend(new)
            for one in new:
                self.by_tenant[one.tenant] += 1
                self.by_metric[one.tenant, one.metric] += 1

    async def store(self) -> None:
        """
        Write all that waits.

        Raises:
            StoreFailed: Not all were; the others still wait.

        """
        while self._waiting:
            rows = self._waiting[:_ROWS_PER_INSERT]
            lines = await asyncio.to_thread(_lines, rows)
            await self._sessions.execute(
                "INSERT INTO series (tenant, name, metric, series_id, labels, kind, unit,"
                f" description, otlp_name, delta) FORMAT JSONEachRow\n{lines}"
            )
            del self._waiting[: len(rows)]


def _lines(series: list[NewSeries]) -> str:
    return "\n".join(json.dumps(_row(one), ensure_ascii=False) for one in series)


def _row(series: NewSeries) -> dict[str, object]:
    return {
        "tenant": series.tenant,
        "name": series.name,
        "metric": series.metric,
        "series_id": series.series_id,
        "labels": series.labels,
        "kind": series.kind.name.lower(),
        "unit": series.unit,
        "description": series.description,
        "otlp_name": series.otlp_name,
        "delta": series.delta,
    }
