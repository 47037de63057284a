"""The one ClickHouse of this process: its sessions, its bounds, its errors."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from meshkit.errors import FailedPrecondition, InvalidInput, Unavailable
from telemetry.store.model import Limits


if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from io import TextIOWrapper
    from pathlib import Path

READ_BOUNDS = Limits()

# Small on purpose: the store shares its machine with the whole mesh.
_SERVER = {
    "background_pool_size": 2,
    "background_merges_mutations_concurrency_ratio": 1,
    "background_schedule_pool_size": 2,
    "background_common_pool_size": 1,
    "background_fetches_pool_size": 1,
    "background_move_pool_size": 1,
    "mark_cache_size": 16 * 1024 * 1024,
    "uncompressed_cache_size": 0,
    "max_thread_pool_size": 64,
}

_CODE = re.compile(r"Code: (\d+)\.")
_TOO_EXPENSIVE = {158, 159, 160, 241, 307, 396}
"""TOO_MANY_ROWS, TIMEOUT_EXCEEDED, TOO_SLOW, MEMORY_LIMIT, TOO_MANY_BYTES, ..._OR_BYTES."""
_BAD_REGEX = 427


class StoreFailed(Exception):
    """ClickHouse refused a statement of ours; `code` is its own."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """Bounds of the engine."""

    readers: int = 2
    """Queries under way at once; each runs on `threads` threads."""

    threads: int = 2
    memory_bytes_max: int = 2_000_000_000
    """The engine's memory over all queries and merges."""


class Sessions:
    """
    Some sessions on one folder: one for the loader, the others for queries.

    ClickHouse runs one query at a time in a session, several sessions side by side.
    """

    def __init__(self, folder: Path, limits: SessionLimits, lock: TextIOWrapper) -> None:
        self._folder = folder
        self._limits = limits
        self._lock = lock
        self._threads = ThreadPoolExecutor(limits.readers + 1, thread_name_prefix="chdb")
        self._writer: Any = None
        self._writing = asyncio.Lock()
        self._readers: asyncio.Queue[Any] = asyncio.Queue()

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls, folder: Path, limits: SessionLimits | None = None
    ) -> AsyncIterator[Sessions]:
        """
        Open the store in *folder*, with its tables; closes it in the end.

        Raises:
            FailedPrecondition: `STORE_TAKEN`: another process has it open.

        """
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
            sessions = cls(folder, limits or SessionLimits(), lock)
            try:
                await sessions._on_thread(sessions._connect)
                yield sessions
            finally:
                await sessions._close()

    async def query(self, sql: str, output: str, bounds: Limits = READ_BOUNDS) -> bytes:
        """
        Run a SELECT and return its answer in ClickHouse's format *output*.

        Args:
            sql: Without a SETTINGS clause; values in it come from `quote`.

        Raises:
            InvalidInput: `QUERY_TOO_EXPENSIVE` beyond *bounds*, `BAD_REGEX`.
            Unavailable: `STORE_FAILED`.

        """
        bounded = (
            f"{sql} SETTINGS max_execution_time = {bounds.time.total_seconds()}"
            f", max_rows_to_read = {bounds.rows_read_max}"
            f", max_result_rows = {bounds.rows_max}"
            f", max_memory_usage = {bounds.memory_bytes_max}"
            f", max_threads = {self._limits.threads}, max_query_size = 100000000"
            ", output_format_json_quote_64bit_integers = 0"
            ", output_format_json_validate_utf8 = 1"
        )
        session = await self._readers.get()
        try:
            answer: bytes = await self._on_thread(_run, session, bounded, output)
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
            answer: bytes = await self._on_thread(_run, self._writer, sql, output)
        return answer

    async def insert(self, sql: str) -> int:
        """
        Run an INSERT of the loader's; return how many rows it wrote.

        Raises:
            StoreFailed: ClickHouse refused it; some of its rows may be there.

        """
        async with self._writing:
            rows: int = await self._on_thread(_run_insert, self._writer, sql)
        return rows

    def _connect(self) -> None:
        import chdb  # noqa: PLC0415 - 240 MB and half a second: only who opens a store pays

        server = _SERVER | {"max_server_memory_usage": self._limits.memory_bytes_max}
        address = f"{self._folder}?" + "&".join(f"{name}={value}" for name, value in server.items())
        self._writer = chdb.connect(address)
        schema = resources.files("telemetry.store").joinpath("schema.sql").read_text()
        without_comments = re.sub(r"^--.*$", "", schema, flags=re.MULTILINE)
        for statement in without_comments.split(";\n"):
            if statement.strip():
                _run(self._writer, statement, "TabSeparated")
        for _ in range(self._limits.readers):
            self._readers.put_nowait(chdb.connect(address))

    async def _close(self) -> None:
        async with self._writing:
            sessions = [self._writer] if self._writer is not None else []
            while not self._readers.empty():
                sessions.append(self._readers.get_nowait())
            for session in reversed(sessions):
                await self._on_thread(session.close)
            self._threads.shutdown()

    async def _on_thread(self, work: Any, *args: object) -> Any:
        """Run *work* on a thread, to its end even if the caller is cancelled meanwhile."""
        running = asyncio.get_running_loop().run_in_executor(self._threads, work, *args)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            # A session is free again only once its query has ended.
            with contextlib.suppress(Exception):
                await running
            raise


def quote(text: str) -> str:
    """Return *text* as an SQL literal."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\0", "\\0")
    return f"'{escaped}'"


def _run(session: Any, sql: str, output: str) -> bytes:
    answer: bytes = _answer(session, sql, output).bytes()
    return answer


def _run_insert(session: Any, sql: str) -> int:
    return int(_answer(session, sql, "Null").rows_written())


def _answer(session: Any, sql: str, output: str) -> Any:
    try:
        return session.query(sql, output)
    except Exception as error:
        found = _CODE.search(str(error))
        if found is None:
            raise
        raise StoreFailed(int(found.group(1)), str(error)) from None


def _to_mesh_error(error: StoreFailed) -> InvalidInput | Unavailable:
    if error.code in _TOO_EXPENSIVE:
        return InvalidInput(
            "QUERY_TOO_EXPENSIVE",
            "The query reads or returns too much. Ask for less time, or fewer series.",
            engine_code=str(error.code),
        )
    if error.code == _BAD_REGEX:
        return InvalidInput("BAD_REGEX", "A regular expression is not valid RE2.")
    return Unavailable("STORE_FAILED", "The store refused a query.", engine_code=str(error.code))
