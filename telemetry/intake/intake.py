"""From a request's bytes to the acknowledgement: judged, logged durably, accounted for."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from meshkit.errors import InvalidInput, Overloaded
from telemetry.head.extract import whole
from telemetry.log.records import seal
from telemetry.scan.shapes import Signal


if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from telemetry.head.head import Head
    from telemetry.intake.ledger import Ledger
    from telemetry.load.series import SeriesCatalog
    from telemetry.log.writer import LogWriter
    from telemetry.scan.batch import Batch
    from telemetry.scan.scanner import Scan, Scanner

_ON_THREAD_FROM = 64 * 1024
"""Requests from this size on are judged on a thread; smaller ones take under 0.3 ms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What became of a request. Items refused must not be sent again."""

    refused: int
    message: str
    """Why some were refused; empty if none was."""

    written: Mapping[str, int]
    """How many samples, histograms and exemplars were stored, of metrics."""


class Intake:
    """
    Takes OTLP requests of all three signals.

    Args:
        series_max: Series kept; metrics with series beyond them are refused.
        clock: Unix nanoseconds.

    """

    def __init__(
        self,
        *,
        scanner: Scanner,
        catalog: SeriesCatalog,
        log: LogWriter,
        ledger: Ledger,
        head: Head,
        series_max: int,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._scanner = scanner
        self._catalog = catalog
        self._log = log
        self._ledger = ledger
        self._head = head
        self._series_max = series_max
        self._clock = clock

    async def accept(self, signal: Signal, request: bytes, tenant: str = "") -> Accepted:
        """
        Take *request*; once this returns, what isn't refused is durable.

        Raises:
            InvalidInput: `MALFORMED_OTLP`; sending it again is useless.
            Overloaded: `INTAKE_FULL`, `LOG_FULL`, `DISK_FULL`; send it again.

        """
        received_ns = self._clock()
        try:
            if len(request) < _ON_THREAD_FROM:
                scan = self._scanner.judge(signal, request, received_ns, tenant)
            else:
                scan = await asyncio.to_thread(
                    self._scanner.judge, signal, request, received_ns, tenant
                )
        except InvalidInput:
            self._ledger.malformed[signal] += 1
            raise
        self._ledger.received[signal] += scan.items
        if self._scanner.series + len(scan.new_series) > self._series_max:
            return self._refuse_all(signal, scan)
        if scan.rows:
            self._catalog.notice(scan.new_series)
            self._head.learn(scan.new_series)
            try:
                await self._log.append(
                    signal, seal(request, tenant, received_ns), scan.rows, scan.batch
                )
            except Overloaded as error:
                self._ledger.refused[signal, error.reason] += scan.items
                raise
            except asyncio.CancelledError:
                # It may be in the log; nobody was told.
                self._remember(scan.batch)
                self._ledger.refused[signal, "CALL_CANCELLED"] += scan.items
                raise
            self._remember(scan.batch)
            self._ledger.rows_logged[signal] += scan.rows
        for reason, count in scan.refused.items():
            self._ledger.refused[signal, reason.name] += count
        self._ledger.stored[signal] += scan.stored
        message = ", ".join(f"{count} {reason.name}" for reason, count in scan.refused.items())
        return Accepted(
            refused=scan.items - scan.stored, message=message, written=_written(scan.batch)
        )

    def _remember(self, batch: Batch | None) -> None:
        """Have queries find what has just become durable; deltas come from the loader, as sums."""
        if batch is not None and batch.samples.shape[1]:
            self._head.take(whole(batch.samples))

    def _refuse_all(self, signal: Signal, scan: Scan) -> Accepted:
        self._ledger.refused[signal, "SERIES_LIMIT"] += scan.items
        return Accepted(
            refused=scan.items,
            message=f"{scan.items} SERIES_LIMIT: at most {self._series_max} series are kept",
            written=_written(None),
        )


def _written(batch: Batch | None) -> Mapping[str, int]:
    if batch is None:
        return {"samples": 0, "histograms": 0, "exemplars": 0}
    return {
        "samples": batch.samples.shape[1],
        "histograms": batch.histograms.shape[1],
        "exemplars": len(batch.exemplars),
    }
