"""
The loader: closed segments of the log into the tables, each exactly once.

A segment's file goes only after its rows are durable. So after a crash a file that is still
there says nothing: its rows are counted, and where they aren't whole, deleted and loaded anew.
"""

# ruff: noqa: S608 - names of our tables and numbers

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from telemetry.load import span_rows
from telemetry.load.decimals import Decimals
from telemetry.load.deltas import Deltas, has_deltas
from telemetry.load.judging import Judging
from telemetry.load.rows import joined, write
from telemetry.load.statements import TABLES, insert
from telemetry.log.segments import Segment, keep, leftovers, mend
from telemetry.scan.shapes import AS_ROWS, Signal
from telemetry.store.engine import StoreFailed, writing


if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from telemetry.intake.admission import Admission
    from telemetry.intake.ledger import Ledger
    from telemetry.load.rows import Rows
    from telemetry.load.series import SeriesCatalog
    from telemetry.log.records import Record
    from telemetry.log.segments import Mended
    from telemetry.log.writer import LogWriter
    from telemetry.scan.batch import Batch
    from telemetry.scan.scanner import Scan
    from telemetry.scan.sink import Words
    from telemetry.store.sessions import Sessions

log = structlog.get_logger()

OF_THE_DATA = frozenset(
    {6, 26, 27, 32, 33, 36, 53, 69, 70, 72, 117, 128, 131, 190, 321, 349, 407, 436, 444}
)
"""ClickHouse's codes that say "these bytes", not "this disk" or "this server"."""

_MEMORY_LIMIT = 241
_RETRY_FIRST_S = 0.5
_RETRY_MOST_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reread:
    """What a segment of an earlier run holds."""

    scans: list[Scan | None]
    """By its records; None: one that can't be read."""

    cut_bytes: int
    quarantined_bytes: int


class Loader:
    """Loads segments, one at a time, oldest first. `run` until cancelled."""

    def __init__(
        self,
        *,
        sessions: Sessions,
        writer: LogWriter,
        folder: Path,
        admission: Admission,
        catalog: SeriesCatalog,
        ledger: Ledger,
        on_sums: Callable[[Words], None] | None = None,
    ) -> None:
        """*on_sums* gets the samples of each segment with deltas in it, once they are added up."""
        self._sessions = sessions
        self._writer = writer
        self._folder = folder
        self._quarantine = folder / "quarantine"
        self._judging = Judging(admission, catalog)
        self._catalog = catalog
        self._ledger = ledger
        self._deltas = Deltas(sessions)
        self._decimals = Decimals()
        self._on_sums = on_sums
        self._left = leftovers(folder)
        for segment in self._left:
            writer.adopt(segment)
        self.between = asyncio.Lock()
        """Held while a segment is loaded; whoever takes it finds none that is loaded in part."""

        self.recovered = asyncio.Event()
        """Set once all that an earlier run left is in the tables."""

    async def run(self) -> None:
        """Load what an earlier run left, then each segment as it is closed."""
        async with contextlib.aclosing(self._left_behind()) as left:
            async for segment, reread in left:
                async with self.between:
                    await self._recover(segment, reread)
        self.recovered.set()
        while True:
            segment = await self._writer.closed.get()
            try:
                async with self.between:
                    await self._load(segment)
            finally:
                self._writer.closed.task_done()

    async def flush(self) -> None:
        """Return once all that was acknowledged before is in the tables."""
        await self.recovered.wait()
        await self._writer.close_segments()
        await self._writer.closed.join()

    async def _left_behind(self) -> AsyncGenerator[tuple[Segment, _Reread], None]:
        """Yield what an earlier run left; while one is loaded the next is read."""
        newest = {segment.signal: segment for segment in self._left}

        def start(number: int) -> asyncio.Task[_Reread]:
            segment = self._left[number]
            return asyncio.create_task(
                self._reread(segment, newest=newest[segment.signal] is segment)
            )

        ahead = start(0) if self._left else None
        try:
            for number, segment in enumerate(self._left, 1):
                assert ahead is not None
                reread = await ahead
                ahead = start(number) if number < len(self._left) else None
                yield segment, reread
        finally:
            if ahead is not None:
                ahead.cancel()
                await asyncio.wait({ahead})

    async def _reread(self, segment: Segment, *, newest: bool) -> _Reread:
        mended = await asyncio.to_thread(mend, segment, self._quarantine, newest=newest)
        scans = await self._judging.judge_all(segment.signal, mended)
        return _Reread(
            scans=scans, cut_bytes=mended.cut_bytes, quarantined_bytes=mended.quarantined_bytes
        )

    async def _recover(self, segment: Segment, reread: _Reread) -> None:
        self._ledger.quarantined_bytes += reread.quarantined_bytes
        scans = reread.scans
        segment.rows = sum(scan.rows for scan in scans if scan)
        batches = [scan.batch for scan in scans if scan and scan.batch]
        segment.batches = batches if len(batches) == len(scans) else None
        segment.judged = None not in scans
        found = await self._count(segment)
        log.info(
            "segment_left",
            segment=segment.number,
            signal=segment.signal,
            rows=segment.rows,
            rows_found=found,
            cut_bytes=reread.cut_bytes,
            quarantined_bytes=reread.quarantined_bytes,
        )
        self._ledger.rows_logged[segment.signal] += segment.rows
        if found == segment.rows:
            await self._catalog.store()
            self._ledger.rows_loaded[segment.signal] += found
            self._writer.release(segment)
            return
        if found:
            await self._delete(segment)
        await self._load(segment)

    async def _load(self, segment: Segment) -> None:
        """Load *segment*; what ClickHouse refuses in it is quarantined, other faults wait."""
        if segment.signal in AS_ROWS:
            batches = segment.batches
            if batches is None:
                batches = await self._read_again(segment)
            await self._load_rows(segment, batches)
            return
        wait_s = _RETRY_FIRST_S
        by_record = False
        tried = False
        while True:
            try:
                if tried:
                    await self._delete(segment)
                await self._catalog.store()
                rows = await (self._salvage(segment) if by_record else self._insert(segment))
            except StoreFailed as error:
                log.warning(
                    "load_failed", segment=segment.number, code=error.code, error=str(error)[:500]
                )
                # Too little memory for a whole segment may be enough for its records one by one.
                wait = by_record or error.code not in OF_THE_DATA
                by_record = error.code in OF_THE_DATA or error.code == _MEMORY_LIMIT
                tried = True
                if wait:
                    await asyncio.sleep(wait_s)
                    wait_s = min(_RETRY_MOST_S, wait_s * 2)
            else:
                break
        self._ledger.rows_loaded[segment.signal] += rows
        if rows != segment.rows:
            log.error("ledger_differs", segment=segment.number, rows=rows, expected=segment.rows)
        self._writer.release(segment)

    async def _load_rows(self, segment: Segment, batches: list[Batch]) -> None:
        """Load the rows of *segment*, which are *batches*; faults wait."""
        wait_s = _RETRY_FIRST_S
        rows: Rows | None = None
        tried = False
        while batches:
            try:
                if tried:
                    await self._delete(segment)
                await self._catalog.store()
                if rows is None:
                    rows = await self._added_up(batches)
                loaded = await self._insert_rows(segment, rows)
            except StoreFailed as error:
                log.warning(
                    "load_failed", segment=segment.number, code=error.code, error=str(error)[:500]
                )
                tried = True
                await asyncio.sleep(wait_s)
                wait_s = min(_RETRY_MOST_S, wait_s * 2)
            else:
                self._ledger.rows_loaded[segment.signal] += loaded
                if loaded != segment.rows:
                    log.error(
                        "ledger_differs",
                        segment=segment.number,
                        rows=loaded,
                        expected=segment.rows,
                    )
                break
        self._writer.release(segment)

    async def _added_up(self, batches: list[Batch]) -> Rows:
        """Return the rows of *batches* with their deltas added up. Once for each segment."""
        rows = await asyncio.to_thread(joined, batches)
        if has_deltas(rows.samples):
            await self._deltas.ready()
            self._deltas.add_up(rows.samples)
            if self._on_sums is not None:
                self._on_sums(rows.samples)
        return rows

    async def _insert_rows(self, segment: Segment, rows: Rows) -> int:
        with writing():
            files = await asyncio.to_thread(write, rows, segment.path, self._decimals)
        try:
            loaded = 0
            for file in files:
                loaded += await self._sessions.load(file.insert(segment.number))
            return loaded
        finally:
            for file in files:
                file.path.unlink()

    async def _read_again(self, segment: Segment) -> list[Batch]:
        """Return the rows of the records of *segment*; what is no request is quarantined."""
        mended = await asyncio.to_thread(mend, segment, self._quarantine, newest=False)
        batches = []
        scans = await self._judging.judge_all(segment.signal, mended)
        for record, scan in zip(mended.records, scans, strict=True):
            if scan is None:
                keep(self._quarantine, segment, record, mended.data)
                self._ledger.quarantined_bytes += record.end - record.start
                log.error("record_quarantined", segment=segment.number)
            elif scan.batch is not None:
                batches.append(scan.batch)
        return batches

    async def _insert(self, segment: Segment) -> int:
        if segment.signal is Signal.TRACES and segment.judged and span_rows.ready():
            return await self._insert_spans(segment)
        return await self._sessions.load(insert(segment.signal, segment.number, segment.path))

    async def _insert_spans(self, segment: Segment) -> int:
        path = span_rows.beside(segment.path)
        try:
            with writing():
                await asyncio.to_thread(span_rows.write, segment.path, path)
            return await self._sessions.load(span_rows.load_of(path, segment.number))
        finally:
            path.unlink(missing_ok=True)

    async def _salvage(self, segment: Segment) -> int:
        """Load every record of *segment* that can be loaded, quarantine the others."""
        mended = await asyncio.to_thread(mend, segment, self._quarantine, newest=False)
        return await self._load_part(segment, mended, mended.records)

    async def _load_part(self, segment: Segment, mended: Mended, part: list[Record]) -> int:
        draft = segment.path.with_suffix(".part")
        if not part:
            return 0
        try:
            with writing():
                draft.write_bytes(b"".join(mended.data[one.start : one.end] for one in part))
            return await self._sessions.load(insert(segment.signal, segment.number, draft))
        except StoreFailed as error:
            if error.code not in OF_THE_DATA:
                raise
        finally:
            draft.unlink(missing_ok=True)
        if len(part) > 1:
            half = len(part) // 2
            first = await self._load_part(segment, mended, part[:half])
            return first + await self._load_part(segment, mended, part[half:])
        keep(self._quarantine, segment, part[0], mended.data)
        (scan,) = await self._judging.judge(segment.signal, mended, part)
        rows = scan.rows if scan else 0
        self._ledger.quarantined_rows[segment.signal] += rows
        self._ledger.quarantined_bytes += part[0].end - part[0].start
        log.error("record_quarantined", segment=segment.number, rows=rows)
        return 0

    async def _count(self, segment: Segment) -> int:
        found = 0
        for table in TABLES[segment.signal]:
            answer = await self._sessions.execute(
                f"SELECT count() FROM {table} WHERE segment = {segment.number}"
            )
            found += int(answer)
        return found

    async def _delete(self, segment: Segment) -> None:
        for table in TABLES[segment.signal]:
            await self._sessions.delete(table, f"segment = {segment.number}")
