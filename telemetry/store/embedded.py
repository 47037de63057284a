"""ClickHouse in this process, through chDB: the tables are a folder."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from telemetry.log.segments import replace
from telemetry.store.engine import Load, StoreFailed, code_in, quote, schema


if TYPE_CHECKING:
    from pathlib import Path

    from telemetry.store.engine import Connection

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
_OF_THIS_ENGINE = (
    # Merged parts have the values of each attribute together, in buckets of the map: a fifth less
    # of the disk, and a search by one attribute takes a quarter of the time; a hundred whole
    # records take 50 ms rather than 26. Servers may be of a version that doesn't know it.
    "ALTER TABLE logs MODIFY SETTING map_serialization_version = 'with_buckets',"
    " map_buckets_strategy = 'linear', map_buckets_coefficient = 1.5, max_buckets_in_map = 64,"
    " map_buckets_min_avg_size = 8",
)
"""Run once for each store, after its tables are made."""

_MADE = "tables.made"
"""In the folder: of which statements its tables are, so that a start has none to run."""

_ALTERED = re.compile(r"ALTER TABLE (\w+)")


class Embedded:
    """The ClickHouse of this process."""

    parts = "system.parts"
    arrow_packing = "none"  # They stay in this process: packing took two fifths of a read's CPU.

    def __init__(self, folder: Path, *, memory_bytes_max: int) -> None:
        self._made = folder / _MADE
        server = _SERVER | {"max_server_memory_usage": memory_bytes_max}
        self._address = f"{folder}?" + "&".join(f"{name}={one}" for name, one in server.items())

    def connect(self) -> Session:
        """Open a session; several run side by side."""
        import chdb  # noqa: PLC0415 - 240 MB and half a second: only who opens a store pays

        return Session(chdb.connect(self._address))

    def prepare(self, first: Connection) -> None:
        """Make the tables that aren't there, and change those of an earlier version."""
        statements = schema()
        digest = hashlib.sha256("\n".join((*statements, *_OF_THIS_ENGINE)).encode()).hexdigest()
        if self._made.exists() and self._made.read_text() == digest:
            return
        there = set(first.run("SHOW TABLES", "TabSeparated").decode().split())
        for statement in statements:
            altered = _ALTERED.match(statement)
            if altered is None or altered[1] in there:  # New ones are made whole.
                first.run(statement, "TabSeparated")
        for statement in _OF_THIS_ENGINE:
            first.run(statement, "TabSeparated")
        replace(self._made, digest.encode())

    def local(self, table: str) -> str:
        """Return *table*: there is no other."""
        return table

    def everywhere(self, table: str) -> str:
        """Return *table*: there is no other."""
        return table


class Session:
    """A session of chDB."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def run(self, sql: str, output: str) -> bytes:
        """Run any statement."""
        answer: bytes = self._answer(sql, output).bytes()
        return answer

    def read(self, sql: str) -> pa.Buffer:
        """Run a SELECT; return its answer where ClickHouse has put it, in the format ArrowStream."""
        answer = self._answer(sql, "ArrowStream")
        if not answer.size():
            return pa.py_buffer(b"")
        whole = answer.get_memview()
        begin = np.frombuffer(whole.view(), np.uint8).ctypes.data
        # The memory is theirs; a copy of what long ranges read would take as long as unpacking it.
        return pa.foreign_buffer(begin, answer.size(), base=(answer, whole))

    def insert(self, sql: str) -> int:
        """Run an INSERT; return how many rows it wrote."""
        return int(self._answer(sql, "Null").rows_written())

    def load(self, load: Load) -> int:
        """Insert the rows of a file, which ClickHouse reads itself."""
        settings: dict[str, int | str] = dict(load.settings)
        if load.schema is not None:
            settings["format_schema"] = quote(f"{load.schema}:Export")
        source = f"file({quote(str(load.path))}, {load.format}, {quote(load.structure)})"
        listed = ", ".join(f"{name} = {value}" for name, value in settings.items())
        return self.insert(f"INSERT INTO {load.into} {load.select(source)} SETTINGS {listed}")

    def close(self) -> None:
        """End the session."""
        self._session.close()

    def _answer(self, sql: str, output: str) -> Any:
        try:
            return self._session.query(sql, output)
        except Exception as error:
            code = code_in(str(error))
            if code is None:
                raise
            raise StoreFailed(code, str(error)) from None
