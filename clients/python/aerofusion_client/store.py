"""
What a device keeps, in one SQLite file: spaces, their cells, and changes that wait.

Cells and the cursor that covers them change in one transaction, a change of the device is on
disk before the app hears that it was made. A file belongs to one process at a time.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aerofusion.sync.v1 import frames_pb2 as frames
from aerofusion_client.replica import Diff, Field, Pending, Record, Replica
from aerofusion_client.values import MODULUS, cell_hash


SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE device (id TEXT NOT NULL);
CREATE TABLE spaces (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, space_key INTEGER NOT NULL,
    cursor INTEGER NOT NULL, seen INTEGER NOT NULL, whole INTEGER NOT NULL,
    schema TEXT NOT NULL, next_number INTEGER NOT NULL, hlc INTEGER NOT NULL
);
CREATE TABLE records (
    space INTEGER NOT NULL, number INTEGER NOT NULL, record_id TEXT NOT NULL,
    PRIMARY KEY (space, number)
) WITHOUT ROWID;
CREATE TABLE cells (
    space INTEGER NOT NULL, record INTEGER NOT NULL, field INTEGER NOT NULL,
    seq INTEGER NOT NULL, value BLOB NOT NULL, PRIMARY KEY (space, record, field)
) WITHOUT ROWID;
CREATE TABLE outbox (
    space INTEGER NOT NULL, number INTEGER NOT NULL, mutation BLOB NOT NULL,
    settled_at INTEGER, PRIMARY KEY (space, number)
) WITHOUT ROWID;
CREATE TABLE rejected (
    space INTEGER NOT NULL, number INTEGER NOT NULL, mutation BLOB NOT NULL,
    reason TEXT NOT NULL, message TEXT NOT NULL, PRIMARY KEY (space, number)
) WITHOUT ROWID;
"""


class StoreUnusable(Exception):
    """The file is in use by another process, of a newer version, or no store of ours."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A change that the server refused for good; kept until it is dismissed."""

    number: int
    reason: str
    message: str
    operations: tuple[frames.Operation, ...]


class Store:
    """One file. Calls block for as long as the disk takes."""

    def __init__(self, path: Path | str, *, new_device_id: str) -> None:
        """
        Open or make the store at *path*; `:memory:` keeps nothing.

        Raises:
            StoreUnusable: See there.

        """
        self._db = sqlite3.connect(path, isolation_level=None, timeout=0)
        try:
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self.device_id = self._prepare(new_device_id)
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise StoreUnusable(f"{path}: {error}") from error
        except StoreUnusable:
            self._db.close()
            raise
        self._ids: dict[str, int] = {}

    def close(self) -> None:
        self._db.close()

    def load(self, name: str) -> Replica:
        """Return the space as it was kept, or an empty one that is kept from now on."""
        row = self._db.execute("SELECT * FROM spaces WHERE name = ?", (name,)).fetchone()
        if row is None:
            cursor = self._db.execute(
                "INSERT INTO spaces (name, space_key, cursor, seen, whole, schema, next_number,"
                " hlc) VALUES (?, 0, 0, 0, 0, '[]', 1, 0)",
                (name,),
            )
            assert cursor.lastrowid is not None, "INSERT gives one"
            self._ids[name] = cursor.lastrowid
            return Replica(name)
        space, _, space_key, seq, seen, whole, schema, next_number, hlc = row
        self._ids[name] = space
        replica = Replica(
            name,
            space_key=space_key,
            cursor=seq,
            seen=seen,
            whole=bool(whole),
            schema={field[0]: Field(*field) for field in json.loads(schema)},
            next_number=next_number,
            hlc=hlc,
        )
        self._load_cells(space, replica)
        for number, mutation, settled_at in self._db.execute(
            "SELECT number, mutation, settled_at FROM outbox WHERE space = ? ORDER BY number",
            (space,),
        ):
            waiting = Pending(frames.Mutation.FromString(mutation), settled_at)
            replica.pending[number] = waiting
        return replica

    def add(self, replica: Replica, waiting: Pending) -> None:
        """Keep a change that the device has just made."""
        space = self._ids[replica.name]
        with self._transaction():
            self._db.execute(
                "INSERT INTO outbox VALUES (?, ?, ?, NULL)",
                (space, waiting.mutation.number, waiting.mutation.SerializeToString()),
            )
            self._db.execute(
                "UPDATE spaces SET next_number = ?, hlc = ? WHERE id = ?",
                (replica.next_number, replica.hlc, space),
            )

    def save(self, replica: Replica, diff: Diff) -> None:
        """Keep what *diff* says has changed, and where the replica now stands."""
        space = self._ids[replica.name]
        with self._transaction():
            if diff.reset:
                self._db.execute("DELETE FROM cells WHERE space = ?", (space,))
                self._db.execute("DELETE FROM records WHERE space = ?", (space,))
            self._each(
                "DELETE FROM cells WHERE space = ? AND record = ? AND field = ?",
                [(space, *key) for key in diff.dropped],
            )
            self._each(
                "INSERT OR REPLACE INTO records VALUES (?, ?, ?)",
                [(space, *named) for named in diff.named],
            )
            self._each(
                "INSERT OR REPLACE INTO cells VALUES (?, ?, ?, ?, ?)",
                [(space, *cell) for cell in diff.put],
            )
            self._each(
                "DELETE FROM records WHERE space = ? AND number = ?",
                [(space, number) for number in diff.unnamed],
            )
            self._save_outbox(space, diff)
            schema = [(field.number, field.name, field.kind) for field in replica.schema.values()]
            self._db.execute(
                "UPDATE spaces SET space_key = ?, cursor = ?, seen = ?, whole = ?, schema = ?,"
                " next_number = ?, hlc = ? WHERE id = ?",
                (
                    replica.space_key,
                    replica.cursor,
                    replica.seen,
                    replica.whole,
                    json.dumps(schema),
                    replica.next_number,
                    replica.hlc,
                    space,
                ),
            )

    def rejections(self, name: str) -> list[Rejection]:
        """Return the changes of a space that the server refused, oldest first."""
        return [
            Rejection(
                number, reason, message, tuple(frames.Mutation.FromString(mutation).operations)
            )
            for number, mutation, reason, message in self._db.execute(
                "SELECT number, mutation, reason, message FROM rejected WHERE space = ?"
                " ORDER BY number",
                (self._ids[name],),
            )
        ]

    def dismiss(self, name: str, number: int) -> None:
        """Forget a refused change."""
        self._db.execute(
            "DELETE FROM rejected WHERE space = ? AND number = ?", (self._ids[name], number)
        )

    def _save_outbox(self, space: int, diff: Diff) -> None:
        self._each(
            "UPDATE outbox SET settled_at = ? WHERE space = ? AND number = ?",
            [(seq, space, number) for number, seq in diff.settled],
        )
        self._each(
            "INSERT OR REPLACE INTO rejected VALUES (?, ?, ?, ?, ?)",
            [
                (space, mutation.number, mutation.SerializeToString(), reason, message)
                for mutation, reason, message in diff.rejected
            ],
        )
        self._each(
            "DELETE FROM outbox WHERE space = ? AND number = ?",
            [(space, number) for number in diff.finished],
        )

    def _each(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        if rows:  # Mostly there are none, and a statement for none takes as long as for one.
            self._db.executemany(statement, rows)

    def _load_cells(self, space: int, replica: Replica) -> None:
        for number, record_id in self._db.execute(
            "SELECT number, record_id FROM records WHERE space = ? ORDER BY number", (space,)
        ):
            replica.records[number] = Record(record_id)
            replica.numbers[record_id] = number
        for number, field, seq, value in self._db.execute(
            "SELECT record, field, seq, value FROM cells WHERE space = ?", (space,)
        ):
            record = replica.records.get(number)
            if record is not None:
                record.cells[field] = (seq, value)
                # Computed from what is there, so that damage on the disk shows as divergence.
                added = cell_hash(record.record_id, field, seq, value)
                replica.state_hash = (replica.state_hash + added) % MODULUS

    def _prepare(self, new_device_id: str) -> str:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise StoreUnusable(f"made by a newer client (version {version})")
        if version == 0:
            with self._transaction():
                for statement in SCHEMA.split(";"):
                    self._db.execute(statement)
                self._db.execute("INSERT INTO device VALUES (?)", (new_device_id,))
                self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        (device_id,) = self._db.execute("SELECT id FROM device").fetchone()
        return str(device_id)

    def _transaction(self) -> _Transaction:
        return _Transaction(self._db)


class _Transaction:
    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._db.execute("COMMIT" if kind is None else "ROLLBACK")
