"""The one ClickHouse of this process: its sessions, its bounds, its errors."""

# ruff: noqa: S608 - names of our tables, and conditions of ours

from __future__ import annotations

import asyncio
import contextlib
import fcntl
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from meshkit.errors import FailedPrecondition, InvalidInput, Unavailable
from telemetry.store.embedded import Embedded
from telemetry.store.engine import NETWORK_ERROR, StoreFailed, quote
from telemetry.store.model import Limits


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from telemetry.store.engine import Connection, Engine, Load

_Answer = TypeVar("_Answer")

READ_BOUNDS = Limits()

_TOO_EXPENSIVE = {158, 159, 160, 241, 307, 396}
"""TOO_MANY_ROWS, TIMEOUT_EXCEEDED, TOO_SLOW, MEMORY_LIMIT, TOO_MANY_BYTES, ..._OR_BYTES."""
_BAD_REGEX = 427


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """Bounds of the engine."""

    readers: int = 2
    """Queries under way at once; each runs on `threads` threads."""

    threads: int = 2
    memory_bytes_max: int = 2_000_000_000
    """The engine's memory over all queries and merges, if it is in this process."""


class Sessions:
    """
    Some connections to one ClickHouse: one for the loader, the others for queries.

    ClickHouse runs one query at a time in a session, several sessions side by side.
    """

    def __init__(self, engine: Engine, limits: SessionLimits) -> None:
        self._engine = engine
        self._limits = limits
        self._threads = ThreadPoolExecutor(limits.readers + 1, thread_name_prefix="store")
        self._writer: Connection | None = None
        self._writing = asyncio.Lock()
        self._readers: asyncio.Queue[Connection] = asyncio.Queue()
        self._reading_count = 0
        """Connections that were ever put into `_readers`."""

        self._closing = False

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls, folder: Path, limits: SessionLimits | None = None, engine: Engine | None = None
    ) -> AsyncIterator[Sessions]:
        """
        Open the store in *folder*, with its tables; closes it in the end.

        Args:
            folder: Where the tables are. With an *engine* of its own only the lock is here.
            engine: ClickHouse elsewhere.

        Raises:
            FailedPrecondition: `STORE_TAKEN`: another process has it open.
            Unavailable: `STORE_AWAY`.

        """
        limits = limits or SessionLimits()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # noqa: ASYNC240 - once, at start
        with (folder.parent / f"{folder.name}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise FailedPrecondition(
                    "STORE_TAKEN",
                    f"{folder} is open in another process; stop it, or use another folder.",
                    folder=str(folder),
                ) from None
            if engine is None:
                engine = Embedded(folder, memory_bytes_max=limits.memory_bytes_max)
            sessions = cls(engine, limits)
            try:
                try:
                    await sessions._on_thread(sessions._connect)
                except StoreFailed as error:
                    if error.code != NETWORK_ERROR:
                        raise
                    raise _to_mesh_error(error) from error
                yield sessions
            finally:
                await sessions._close()

    @property
    def parts(self) -> str:
        """The SQL of all parts, as of `system.parts`."""
        return self._engine.parts

    def local(self, table: str) -> str:
        """Return the name of the table that holds the rows of *table*."""
        return self._engine.local(table)

    async def query(self, sql: str, output: str, bounds: Limits = READ_BOUNDS) -> bytes:
        """
        Run a SELECT and return its answer in ClickHouse's format *output*.

        Args:
            sql: Without a SETTINGS clause; values in it come from `quote`.

        Raises:
            InvalidInput: `QUERY_TOO_EXPENSIVE` beyond *bounds*, `BAD_REGEX`.
            Unavailable: `STORE_FAILED`, `STORE_AWAY`.

        """
        bounded = self._bounded(sql, bounds)
        answer: bytes = await self._reading(lambda session: session.run(bounded, output))
        return answer

    async def batches(self, sql: str, bounds: Limits = READ_BOUNDS) -> pa.RecordBatchReader:
        """
        Run a SELECT and return its answer as Arrow has it. No column can be written to.

        Raises:
            InvalidInput: As `query`.
            Unavailable: As `query`.

        """
        bounded = self._bounded(sql, bounds)
        return pa.ipc.open_stream(await self._reading(lambda session: session.read(bounded)))

    def _bounded(self, sql: str, bounds: Limits) -> str:
        blocks = ""
        if bounds.block_rows:
            blocks = f", max_block_size = {bounds.block_rows}, preferred_block_size_bytes = 0"
        return (
            f"{sql} SETTINGS max_execution_time = {bounds.time.total_seconds()}"
            f", max_rows_to_read = {bounds.rows_read_max}"
            f", max_result_rows = {bounds.rows_max}"
            f", max_memory_usage = {bounds.memory_bytes_max}"
            f", max_threads = {self._limits.threads}, max_query_size = 100000000"
            ", output_format_json_quote_64bit_integers = 0"
            ", output_format_json_validate_utf8 = 1"
            f", output_format_arrow_compression_method = {quote(self._engine.arrow_packing)}"
            # Only roll-ups are read FINAL: their keys hold the time their partitions are made of.
            f", do_not_merge_across_partitions_select_final = 1{blocks}"
        )

    async def _reading(self, read: Callable[[Connection], _Answer]) -> _Answer:
        if self._closing:
            raise Unavailable("SHUTTING_DOWN", "The store is being closed; repeat the call.")
        session = await self._readers.get()
        try:
            answer: _Answer = await self._on_thread(read, session)
        except StoreFailed as error:
            raise _to_mesh_error(error) from error
        finally:
            self._readers.put_nowait(session)
        return answer

    async def execute(self, sql: str, output: str = "TabSeparated") -> bytes:
        """
        Run a statement of the loader's, one at a time, unbounded in time.

        Raises:
            StoreFailed: ClickHouse refused it.

        """
        async with self._writing:
            answer: bytes = await self._on_thread(self._write_with.run, sql, output)
        return answer

    async def insert(self, sql: str) -> int:
        """
        Run an INSERT of the loader's; return how many rows it wrote.

        Raises:
            StoreFailed: ClickHouse refused it; some of its rows may be there.

        """
        async with self._writing:
            rows: int = await self._on_thread(self._write_with.insert, sql)
        return rows

    async def load(self, load: Load) -> int:
        """
        Insert the rows of a file; return how many there were.

        Raises:
            StoreFailed: ClickHouse refused it; some of its rows may be there.

        """
        async with self._writing:
            rows: int = await self._on_thread(self._write_with.load, load)
        return rows

    async def execute_all(self, statements: Sequence[str]) -> None:
        """
        Run statements with none of the loader's between them.

        Raises:
            StoreFailed: ClickHouse refused one; those before it are done.

        """
        async with self._writing:
            for sql in statements:
                await self._on_thread(self._write_with.run, sql, "TabSeparated")

    async def delete(self, table: str, condition: str) -> None:
        """
        Delete rows of *table*; none of them is found when this returns.

        Raises:
            StoreFailed: ClickHouse refused it.

        """
        await self.execute(
            f"DELETE FROM {self._engine.everywhere(table)} WHERE {condition}"
            " SETTINGS lightweight_deletes_sync = 1"
        )

    async def alter(self, table: str, change: str) -> None:
        """
        Change *table*.

        Raises:
            StoreFailed: ClickHouse refused it.

        """
        await self.execute(f"ALTER TABLE {self._engine.everywhere(table)} {change}")

    @property
    def _write_with(self) -> Connection:
        if self._writer is None:
            raise RuntimeError("not open")
        return self._writer

    def _connect(self) -> None:
        self._writer = self._engine.connect()
        self._engine.prepare(self._writer)
        for _ in range(self._limits.readers):
            self._readers.put_nowait(self._engine.connect())
            self._reading_count += 1

    async def _close(self) -> None:
        async with self._writing:
            sessions = [self._writer] if self._writer is not None else []
            # Calls that were cut off may still be waiting for the end of their queries; a session
            # that is left open keeps the whole engine, and its folder, open.
            self._closing = True
            sessions += [await self._readers.get() for _ in range(self._reading_count)]
            for session in reversed(sessions):
                await self._on_thread(session.close)
            self._threads.shutdown()

    async def _on_thread(self, work: Any, *args: object) -> Any:
        """Run *work* on a thread, to its end even if the caller is cancelled meanwhile."""
        running = asyncio.get_running_loop().run_in_executor(self._threads, work, *args)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            # A session is free again only once its query has ended, however often we are told.
            while not running.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait({running})
            running.exception()
            raise


def _to_mesh_error(error: StoreFailed) -> InvalidInput | Unavailable:
    if error.code in _TOO_EXPENSIVE:
        return InvalidInput(
            "QUERY_TOO_EXPENSIVE",
            "The query reads or returns too much. Ask for less time, or fewer series.",
            engine_code=str(error.code),
        )
    if error.code == _BAD_REGEX:
        return InvalidInput("BAD_REGEX", "A regular expression is not valid RE2.")
    if error.code == NETWORK_ERROR:
        return Unavailable(
            "STORE_AWAY",
            "The store can't be reached; repeat the call in a while.",
            retry_after=timedelta(seconds=5),
        )
    return Unavailable("STORE_FAILED", "The store refused a query.", engine_code=str(error.code))
