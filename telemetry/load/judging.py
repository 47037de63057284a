"""
Judging records of the log again: at a start, and where their rows weren't kept in memory.

What is new in a record, folded or refused depends on what those before it have made known. So
records are judged in order, except where nothing of the kind is in them: those can be judged ahead.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING

from meshkit.errors import FailedPrecondition, InvalidInput
from telemetry.log.records import request_of
from telemetry.store.engine import StoreFailed


if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from telemetry.intake.admission import Admission
    from telemetry.load.series import SeriesCatalog
    from telemetry.log.records import Record
    from telemetry.log.segments import Mended
    from telemetry.scan.scanner import Scan
    from telemetry.scan.shapes import Signal

_JUDGED_BYTES = 1 << 20
"""Requests of so many bytes are judged together; their series are known to those after them."""

_THREADS = 2
"""So many judge at once."""


class Judging:
    """Judges records again, and has their new series written."""

    def __init__(self, admission: Admission, catalog: SeriesCatalog) -> None:
        self._admission = admission
        self._catalog = catalog

    async def judge_all(self, signal: Signal, mended: Mended) -> list[Scan | None]:
        """Return what the records of a segment hold, by their order; None: it is unreadable."""
        parts = list(_parts(mended.records))
        scans: list[Scan | None] = []
        ahead: deque[asyncio.Task[list[Scan] | None]] = deque()
        storing: asyncio.Task[None] | None = None
        async with asyncio.TaskGroup() as tasks:
            for number, part in enumerate(parts):
                for one in parts[number + len(ahead) : number + _THREADS]:
                    judged = asyncio.to_thread(self._judge_known, signal, mended, one)
                    ahead.append(tasks.create_task(judged))
                known = await ahead.popleft()
                if known is not None:
                    self._remember(known)
                    scans += known
                    continue
                scans += await self.judge(signal, mended, part)
                if storing is None or storing.done():
                    storing = tasks.create_task(self._store())
        return scans

    async def _store(self) -> None:
        """Write what is new meanwhile: describing one and writing another don't wait for each other."""
        with contextlib.suppress(StoreFailed):  # Whoever loads the segment tries again, and tells.
            await self._catalog.store()

    async def judge(
        self, signal: Signal, mended: Mended, part: Sequence[Record]
    ) -> list[Scan | None]:
        """Return what the records *part* hold; None: an unreadable one."""
        scans = await asyncio.to_thread(self._judge_any, signal, mended, part)
        for scan in scans:
            if scan is not None:
                self._catalog.notice(scan.new_series)
                self._remember([scan])
        return scans

    def _remember(self, scans: Sequence[Scan]) -> None:
        for scan in scans:
            self._admission.remember(scan)

    def _judge_known(
        self, signal: Signal, mended: Mended, part: Sequence[Record]
    ) -> list[Scan] | None:
        """Return what *part* holds, if that doesn't depend on what is learnt meanwhile."""
        scans = []
        for one in part:
            try:
                request = request_of(mended.data, one)
            except (ValueError, OSError):
                return None
            scan = self._admission.judge_known(signal, request, one.received_ns, one.tenant)
            if scan is None:
                return None
            scans.append(scan)
        return scans

    def _judge_any(
        self, signal: Signal, mended: Mended, part: Sequence[Record]
    ) -> list[Scan | None]:
        scans: list[Scan | None] = []
        for one in part:
            try:
                request = request_of(mended.data, one)
                scan = self._admission.judge(signal, request, one.received_ns, one.tenant)
            except (InvalidInput, FailedPrecondition, ValueError, OSError):
                # An older scanner let it in. If it can't be loaded, it is quarantined.
                scans.append(None)
            else:
                scans.append(scan)
        return scans


def _parts(records: Sequence[Record]) -> Iterator[list[Record]]:
    part: list[Record] = []
    size = 0
    for record in records:
        part.append(record)
        size += record.request_bytes
        if size >= _JUDGED_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part
