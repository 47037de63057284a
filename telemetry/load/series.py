"""The table of series: which are known, and those that wait to be written."""

# ruff: noqa: S608 - names of our columns

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from telemetry.store.engine import Load, writing
from telemetry.store.model import Limits


if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from telemetry.scan.described import NewSeries
    from telemetry.scan.scanner import Scanner
    from telemetry.store.sessions import Sessions

_ROWS_PER_INSERT = 20_000
_COLUMNS = {
    "tenant": "String",
    "name": "String",
    "metric": "UInt64",
    "series_id": "UInt64",
    "labels": "Map(String, String)",
    "kind": "String",
    "unit": "String",
    "description": "String",
    "otlp_name": "String",
    "delta": "Bool",
}
_encode = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode
_ALL_IDS = Limits(rows_read_max=10**12, rows_max=10**9, memory_bytes_max=4 * 10**9)


class SeriesCatalog:
    """
    Series on their way into the table.

    They are written before the samples that made them known, so that no sample in the tables
    is of an unknown series.
    """

    def __init__(self, sessions: Sessions, scanner: Scanner, folder: Path) -> None:
        """*folder* holds the file that they are loaded from."""
        self._sessions = sessions
        self._scanner = scanner
        self._path = folder / "series.part"
        self._storing = asyncio.Lock()
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

    def notice(self, series: Sequence[NewSeries]) -> None:
        """Remember *series*, to be written; those known meanwhile are left out."""
        known = self._scanner.are_known([one.series_id for one in series])
        new = [one for one, is_known in zip(series, known, strict=True) if not is_known]
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
        # Text that is part of a statement takes ClickHouse twice as long as a file.
        names = ", ".join(_COLUMNS)
        load = Load(
            into=f"series ({names})",
            select=lambda source: f"SELECT {names} FROM {source}",
            path=self._path,
            format="JSONEachRow",
            structure=", ".join(f"{name} {kind}" for name, kind in _COLUMNS.items()),
            settings={"max_insert_threads": 1},
        )
        async with self._storing:
            while self._waiting:
                rows = self._waiting[:_ROWS_PER_INSERT]
                with writing():
                    await asyncio.to_thread(_write, self._path, rows)
                await self._sessions.load(load)
                self._path.unlink()
                del self._waiting[: len(rows)]


def _write(path: Path, series: list[NewSeries]) -> None:
    path.write_bytes("\n".join(_encode(_row(one)) for one in series).encode())


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
