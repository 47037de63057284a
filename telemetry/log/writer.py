"""Appending to the log: many requests, one fsync; nothing is acknowledged before it."""

from __future__ import annotations

import asyncio
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from meshkit.errors import Overloaded
from telemetry.log.segments import Numbers, Segment, sync_folder
from telemetry.scan.shapes import Signal


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from telemetry.scan.batch import Batch


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLimits:
    """Bounds of the log."""

    segment_bytes: int = 128 * 1024 * 1024
    """A segment is closed, to be loaded, once it is as large."""

    segment_rows: int = 500_000
    """... or once it will make as many rows."""

    segment_age: timedelta = timedelta(seconds=1)
    """... or once its first record is as old. How late what was acknowledged can be found."""

    waiting_bytes_max: int = 64 * 1024 * 1024
    """Requests in memory that wait for their fsync."""

    log_bytes_max: int = 2 * 1024 * 1024 * 1024
    """All that is on disk and not loaded yet."""

    batch_bytes_max: int = 256 * 1024 * 1024
    """Rows of it that are kept in memory; those beyond are read from the log again."""


class LogBroken(Exception):
    """An fsync failed: what is on disk is unknown, so this process must not go on."""


@dataclass(slots=True)
class _Waiting:
    signal: Signal
    record: bytes
    held_bytes: int
    rows: int
    batch: Batch | None
    done: asyncio.Future[None]


@dataclass(slots=True)
class _Open:
    segment: Segment
    descriptor: int
    born: float


class LogWriter:
    """
    The log's end. `append` from any task; `run` is the only one that writes.

    Closed segments go to `closed`; whoever has loaded one calls `release`.
    """

    def __init__(
        self,
        folder: Path,
        limits: LogLimits,
        *,
        on_released: Callable[[Segment], None] | None = None,
    ) -> None:
        """*on_released* is told of each segment that is loaded."""
        self._on_released = on_released
        self.closed: asyncio.Queue[Segment] = asyncio.Queue()
        self._folder = folder
        self._limits = limits
        self._numbers = Numbers(folder)
        self._waiting: list[_Waiting] = []
        self._waiting_bytes = 0
        self._log_bytes = 0
        self._batch_bytes = 0
        self._open: dict[Signal, _Open] = {}
        self._wake = asyncio.Event()
        self._alarm: asyncio.TimerHandle | None = None
        self._close_now: list[asyncio.Future[None]] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="log")

    @property
    def log_bytes(self) -> int:
        """Bytes on disk that are not loaded yet."""
        return self._log_bytes

    def adopt(self, segment: Segment) -> None:
        """Count in a *segment* of an earlier run."""
        self._log_bytes += segment.size

    async def append(
        self,
        signal: Signal,
        record: bytes,
        rows: int,
        batch: Batch | None = None,
        *,
        request_bytes: int = 0,
    ) -> None:
        """
        Write *record*; returns once it is durable. Cancelled, it may be written all the same.

        Args:
            batch: Its rows, if they are at hand.
            request_bytes: Of the request that it was made of, which waits in memory, too.

        Raises:
            Overloaded: `INTAKE_FULL`, `LOG_FULL` or `DISK_FULL`; it is not in the log.

        """
        held_bytes = max(len(record), request_bytes)
        if self._waiting_bytes + held_bytes > self._limits.waiting_bytes_max:
            raise Overloaded("INTAKE_FULL", "Too many requests wait to be written; send it again.")
        if self._log_bytes + self._waiting_bytes + len(record) > self._limits.log_bytes_max:
            raise Overloaded(
                "LOG_FULL",
                "The log is full of what is not loaded yet; send it again.",
                retry_after=timedelta(seconds=5),
            )
        done = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(signal, record, held_bytes, rows, batch, done))
        self._waiting_bytes += held_bytes
        self._wake.set()
        await done

    async def close_segments(self) -> None:
        """Close what is open, so that it is in `closed` when this returns."""
        closed = asyncio.get_running_loop().create_future()
        self._close_now.append(closed)
        self._wake.set()
        await closed

    async def run(self) -> None:
        """
        Write what is appended until cancelled.

        Raises:
            LogBroken: An fsync failed.

        """
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                await self._step()
                self._set_alarm()
        finally:
            if self._alarm is not None:
                self._alarm.cancel()
            for one in self._waiting:
                one.done.cancel()
            self._thread.shutdown()  # A write under way ends first; it has the descriptor.
            for signal in list(self._open):
                self._close(signal)

    def release(self, segment: Segment) -> None:
        """Delete a loaded *segment*."""
        segment.path.unlink()
        self._log_bytes -= segment.size
        self._batch_bytes -= segment.batch_bytes
        if self._on_released is not None:
            self._on_released(segment)

    async def _step(self) -> None:
        batch, self._waiting = self._waiting, []
        closing, self._close_now = self._close_now, []
        for signal in Signal:
            records = [one for one in batch if one.signal is signal]
            if records:
                await self._write(signal, records)
        self._waiting_bytes -= sum(one.held_bytes for one in batch)
        now = time.monotonic()
        for signal, one in list(self._open.items()):
            old = now - one.born >= self._limits.segment_age.total_seconds()
            large = one.segment.size >= self._limits.segment_bytes
            if closing or old or large or one.segment.rows >= self._limits.segment_rows:
                self._close(signal)
        for closed in closing:
            if not closed.done():
                closed.set_result(None)

    async def _write(self, signal: Signal, records: Sequence[_Waiting]) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(
                self._thread, self._write_blocking, signal, [one.record for one in records]
            )
        except OSError as error:
            refusal = Overloaded(
                "DISK_FULL",
                "The log can't be written to; send it again.",
                retry_after=timedelta(seconds=10),
                error=os.strerror(error.errno or 0),
            )
            for one in records:
                if not one.done.done():
                    one.done.set_exception(refusal)
            return
        segment = self._open[signal].segment
        segment.rows += sum(one.rows for one in records)
        self._log_bytes += sum(len(one.record) for one in records)
        self._keep(segment, [one.batch for one in records])
        for one in records:
            if not one.done.done():
                one.done.set_result(None)

    def _keep(self, segment: Segment, batches: Sequence[Batch | None]) -> None:
        """Keep the rows of *segment* at hand, unless some are missing or there are too many."""
        if segment.batches is None:
            return
        at_hand = [one for one in batches if one is not None]
        size = sum(one.nbytes for one in at_hand)
        too_many = self._batch_bytes + size > self._limits.batch_bytes_max
        if too_many or len(at_hand) != len(batches):
            segment.batches = None
            self._batch_bytes -= segment.batch_bytes
            segment.batch_bytes = 0
            return
        segment.batches.extend(at_hand)
        segment.batch_bytes += size
        self._batch_bytes += size

    def _write_blocking(self, signal: Signal, records: list[bytes]) -> None:
        """Write and fsync, or leave the segment as it was and raise OSError."""
        if signal not in self._open:
            self._open[signal] = self._create(signal)
        one = self._open[signal]
        size = one.segment.size
        data = memoryview(b"".join(records))
        try:
            while data:
                data = data[os.write(one.descriptor, data) :]
        except OSError:
            try:
                os.ftruncate(one.descriptor, size)
            except OSError as error:
                raise LogBroken(f"cannot undo a write to {one.segment.path}: {error}") from error
            raise
        try:
            os.fdatasync(one.descriptor)
        except OSError as error:
            # The kernel may have dropped the pages and forget the error: never try again.
            raise LogBroken(f"cannot fsync {one.segment.path}: {error}") from error
        one.segment.size = size + sum(map(len, records))

    def _create(self, signal: Signal) -> _Open:
        folder = self._folder / signal
        folder.mkdir(exist_ok=True)
        number = self._numbers.take()
        path = folder / f"{number:010d}.pb"
        descriptor = os.open(
            path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        try:
            sync_folder(folder)
        except OSError as error:
            raise LogBroken(f"cannot fsync {folder}: {error}") from error
        segment = Segment(signal=signal, number=number, path=path)
        return _Open(segment, descriptor, time.monotonic())

    def _close(self, signal: Signal) -> None:
        one = self._open.pop(signal)
        os.close(one.descriptor)
        if one.segment.size:
            self.closed.put_nowait(one.segment)
        else:
            one.segment.path.unlink()

    def _set_alarm(self) -> None:
        """Have the oldest open segment closed in time; an alarm that is set may come too early."""
        if self._alarm is None and self._open:
            first = min(one.born for one in self._open.values())
            wait_s = first + self._limits.segment_age.total_seconds() - time.monotonic()
            self._alarm = asyncio.get_running_loop().call_later(wait_s, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self._wake.set()
