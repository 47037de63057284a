"""From a request's bytes to the acknowledgement: judged, logged durably, accounted for."""

from __future__ import annotations

import asyncio
import functools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from meshkit.errors import FailedPrecondition, InvalidInput, Overloaded
from telemetry.head.extract import whole
from telemetry.intake.arrivals import Arrivals
from telemetry.log.packing import packed
from telemetry.log.records import seal
from telemetry.scan.scanner import TooManyNew
from telemetry.scan.shapes import AS_ROWS, Signal
from telemetry.scan.sink import Sample


if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from telemetry.head.head import Head
    from telemetry.intake.admission import Admission
    from telemetry.intake.ledger import Ledger
    from telemetry.load.series import SeriesCatalog
    from telemetry.log.writer import LogWriter
    from telemetry.scan.batch import Batch
    from telemetry.scan.scanner import Scan

_NO_SERIES = np.zeros(0, np.uint64)
_ON_THREAD_FROM = 64 * 1024
"""Requests from this size on are judged on a thread; smaller ones take under 0.3 ms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What became of a request. Items refused must not be sent again."""

    refused: int
    message: str
    """Why some were refused or folded; empty if none was."""

    written: Mapping[str, int]
    """How many samples, histograms and exemplars were stored, of metrics."""

    series: NDArray[np.uint64]
    """The series of each of those samples."""


@dataclass(frozen=True, slots=True)
class _Request:
    """What came, from whom, and when."""

    signal: Signal
    request: bytes
    tenant: str
    received_ns: int
    block: bytes | None

    def record(self) -> bytes:
        """Return its record; packed, unless ClickHouse reads it from the log itself."""
        block = self.block
        if block is None and self.signal in AS_ROWS:
            block = packed(self.request)
        if block is None:
            return seal(self.request, self.tenant, self.received_ns)
        return seal(block, self.tenant, self.received_ns, packed=True)


class Intake:
    """
    Takes OTLP requests of all three signals, and remote writes.

    Args:
        on_spans: Is told of each request of spans once it is durable: its bytes, its tenant, when
            it came, in Unix nanoseconds, and how many of its spans are stored.
        pacing_bytes_max: Requests that wait for their new series to be taken.
        clock: Unix nanoseconds.

    """

    def __init__(
        self,
        *,
        admission: Admission,
        catalog: SeriesCatalog,
        log: LogWriter,
        ledger: Ledger,
        head: Head,
        on_spans: Callable[[bytes, str, int, int], None] | None = None,
        pacing_bytes_max: int = 64 * 1024 * 1024,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._admission = admission
        self._catalog = catalog
        self._log = log
        self._ledger = ledger
        self._head = head
        self._on_spans = on_spans
        self._pacing_bytes = 0
        self._pacing_bytes_max = pacing_bytes_max
        self.arrivals = Arrivals()
        self._clock = clock

    async def accept(
        self, signal: Signal, request: bytes, tenant: str = "", block: bytes | None = None
    ) -> Accepted:
        """
        Take *request*; once this returns, what isn't refused is durable.

        Args:
            block: The request as a block of snappy, if that is how it came.

        Raises:
            InvalidInput: `MALFORMED_OTLP`, `MALFORMED_REMOTE_WRITE`; sending it again is useless.
            FailedPrecondition: `TENANTS_LIMIT`.
            Overloaded: `INTAKE_FULL`, `LOG_FULL`, `DISK_FULL`, `TENANT_RATE`, `SERIES_RATE`; send it
                again.

        """
        come = _Request(signal, request, tenant, self._clock(), block)
        try:
            try:
                scan = await self._judge(come, new_max=0)
            except TooManyNew as new:
                await self._wait_for_new(come, new)
                scan = await self._judge(come, new_max=None)
        except (InvalidInput, FailedPrecondition):
            self._ledger.malformed[signal] += 1
            raise
        account = self._ledger.of(signal, tenant)
        self._admission.remember(scan)
        account.received += scan.items
        try:
            self._admission.spend(tenant, scan.items)
            if scan.rows:
                await self._store(come, scan)
        except Overloaded as error:
            account.refused[error.reason] += scan.items
            raise
        except asyncio.CancelledError:
            # It may be in the log; nobody was told.
            account.refused["CALL_CANCELLED"] += scan.items
            raise
        for reason, count in scan.refused.items():
            account.refused[reason.name] += count
        account.stored += scan.stored
        account.folded += scan.folded
        return Accepted(
            refused=scan.items - scan.stored,
            message=_message(scan),
            written=_written(scan.batch),
            series=scan.batch.samples[Sample.SERIES] if scan.batch else _NO_SERIES,
        )

    async def _judge(self, come: _Request, *, new_max: int | None) -> Scan:
        judge = functools.partial(
            self._admission.judge,
            come.signal,
            come.request,
            come.received_ns,
            come.tenant,
            new_max=new_max,
        )
        if len(come.request) < _ON_THREAD_FROM:
            return judge()
        return await asyncio.get_running_loop().run_in_executor(None, judge)

    async def _wait_for_new(self, come: _Request, new: TooManyNew) -> None:
        """Return when the new series of *come* may be taken; if they may not, it is accounted for."""
        account = self._ledger.of(come.signal, come.tenant)
        try:
            if self._pacing_bytes + len(come.request) > self._pacing_bytes_max:
                raise Overloaded(
                    "INTAKE_FULL", "Too many requests wait to be written; send it again."
                )
            wait_s = self._admission.wait_for_new(come.tenant, new.series)
            if wait_s:
                self._pacing_bytes += len(come.request)
                try:
                    await asyncio.sleep(wait_s)
                finally:
                    self._pacing_bytes -= len(come.request)
        except Overloaded as error:
            account.received += new.items
            account.refused[error.reason] += new.items
            raise
        except asyncio.CancelledError:
            account.received += new.items
            account.refused["CALL_CANCELLED"] += new.items
            raise

    async def _store(self, come: _Request, scan: Scan) -> None:
        if scan.new_series:
            self._catalog.notice(scan.new_series)
            self._head.learn(scan.new_series)
        try:
            await self._log.append(
                come.signal,
                come.record(),
                scan.rows,
                scan.batch,
                request_bytes=len(come.request),
            )
        except asyncio.CancelledError:
            self._remember(scan.batch)
            raise
        self._remember(scan.batch)
        if come.signal is Signal.TRACES and self._on_spans is not None:
            self._on_spans(come.request, come.tenant, come.received_ns, scan.rows)
        self._ledger.rows_logged[come.signal] += scan.rows

    def _remember(self, batch: Batch | None) -> None:
        """Have queries find what has just become durable; deltas come from the loader, as sums."""
        if batch is not None and batch.samples.shape[1]:
            self._head.take(whole(batch.samples))
            acked_ms = self._clock() // 1_000_000
            self.arrivals.note(batch.samples[Sample.TIME], acked_ms)


def _message(scan: Scan) -> str:
    """Return what a sender is told of a request that was taken: what was refused, or folded."""
    told = [f"{count} {reason.name}" for reason, count in scan.refused.items()]
    if scan.folded:
        told.append(
            f"{scan.folded} FOLDED: their metric has too many series; the label with the most"
            " values is stored as __overflow__"
        )
    return ", ".join(told)


def _written(batch: Batch | None) -> Mapping[str, int]:
    if batch is None:
        return {"samples": 0, "histograms": 0, "exemplars": 0}
    return {
        "samples": batch.samples.shape[1],
        "histograms": batch.histograms.shape[1],
        "exemplars": len(batch.exemplars),
    }
