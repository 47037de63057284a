"""Mutations into cells, in one transaction; records and the journal back out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from meshkit.errors import NotFound
from meshkit.postgres import unavailable_on_lost_connection
from syncd import integrity
from syncd.merge import NUMBER_MAX, Merge, Remembered, Slice
from syncd.model import (
    Batch,
    Cell,
    Head,
    Loser,
    Loss,
    Record,
    Result,
    Space,
    Status,
    Write,
)
from syncd.store import rows
from syncd.store.saving import save


if TYPE_CHECKING:
    import asyncpg

    from syncd.limits import Limits

Connection = Any


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of some batches, once it is durable."""

    results: list[list[Result]]
    head: Head
    losers: int
    seconds: float


class CellStore:
    """The cells of all spaces."""

    def __init__(self, pool: asyncpg.Pool, limits: Limits) -> None:
        self._pool = pool
        self._limits = limits

    async def apply(self, space_key: int, batches: Sequence[Batch]) -> Applied:
        """
        Merge *batches* in one transaction, under the lock of the space's row.

        Raises:
            NotFound: The space is gone.

        """
        began = time.perf_counter()
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection, connection.transaction():
                row = await connection.fetchrow(
                    "SELECT * FROM spaces WHERE space_key = $1 FOR UPDATE",
                    space_key,
                )
                if row is None:
                    raise NotFound("SPACE_NOT_FOUND", "The space is gone.", key=str(space_key))
                part = await _load(connection, rows.space(row), batches, self._limits)
                before = (part.head_seq, part.state_hash, part.records_next)
                # Time is taken under the lock, so that it doesn't run backwards in a space.
                merge = Merge(part, now_ms=time.time_ns() // 1_000_000, limits=self._limits)
                results = [merge.apply(batch) for batch in batches]
                await save(connection, space_key, part, merge.written)
                if before != (part.head_seq, part.state_hash, part.records_next):
                    await connection.execute(
                        "UPDATE spaces SET head_seq = $2, state_hash = $3, records_next = $4"
                        " WHERE space_key = $1",
                        space_key,
                        part.head_seq,
                        integrity.to_bytes(part.state_hash),
                        part.records_next,
                    )
        head = Head(space_key=space_key, seq=part.head_seq, state_hash=part.state_hash)
        seconds = time.perf_counter() - began
        return Applied(results, head, len(merge.written.losers), seconds)

    async def records(
        self, space_key: int, after: int, size: int, record_id: str | None = None
    ) -> list[Record]:
        """Return up to *size* live records numbered above *after*, or the one of that id."""
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection:
                found = await connection.fetch(
                    "SELECT number, record_id, created_seq FROM records WHERE space_key = $1"
                    " AND live AND number > $2 AND ($4::text IS NULL OR record_id = $4)"
                    " ORDER BY number LIMIT $3",
                    space_key,
                    after,
                    size,
                    record_id,
                )
                records = {
                    row["number"]: Record(
                        record_id=row["record_id"],
                        number=row["number"],
                        created_seq=row["created_seq"],
                    )
                    for row in found
                }
                await _fill(connection, space_key, records)
        return list(records.values())

    async def losers(
        self, space_key: int, before: int | None, size: int
    ) -> list[tuple[int, Any, Loser]]:
        """Return up to *size* entries of the journal, newest first: number, time and loser."""
        with unavailable_on_lost_connection():
            found = await self._pool.fetch(
                "SELECT * FROM journal WHERE space_key = $1 AND ($2::bigint IS NULL OR entry < $2)"
                " ORDER BY entry DESC LIMIT $3",
                space_key,
                before,
                size,
            )
        return [(row["entry"], row["decide_time"], _loser(row)) for row in found]


async def _load(
    connection: Connection, space: Space, batches: Sequence[Batch], limits: Limits
) -> Slice:
    """Read what *batches* touch, and what has overtaken them there."""
    touched = {
        operation.record
        for batch in batches
        for mutation in batch.mutations
        for operation in mutation.operations
    }
    found = await connection.fetch(
        "SELECT * FROM records WHERE space_key = $1 AND record_id = ANY($2)",
        space.space_key,
        list(touched),
    )
    records = {row["number"]: _record(row) for row in found}
    await _fill(connection, space.space_key, records)
    asked = [
        (batch.device, mutation.number)
        for batch in batches
        for mutation in batch.mutations
        if 0 < mutation.number <= NUMBER_MAX
    ]
    first: dict[str, int] = {}
    for device, number in asked:
        first[device] = min(number, first.get(device, NUMBER_MAX))
    known = await connection.fetch(
        "SELECT m.* FROM unnest($2::text[], $3::bigint[]) AS asked(device, first),"
        " LATERAL (SELECT * FROM mutations WHERE space_key = $1 AND device = asked.device"
        " AND number >= asked.first AND (number = ANY($4) OR touched ?| $5)"
        # Whatever is cut off, none of those asked for is.
        " ORDER BY number <> ALL($4), number DESC LIMIT $6) m",
        space.space_key,
        list(first),
        list(first.values()),
        [number for _, number in asked],
        list(touched),
        len(asked) + limits.overtaking_max,
    )
    confirmed = await connection.fetch(
        "SELECT device, through FROM confirmations WHERE space_key = $1 AND device = ANY($2)",
        space.space_key,
        list({batch.device for batch in batches}),
    )
    return Slice(
        head_seq=space.head_seq,
        state_hash=space.state_hash,
        records_next=space.records_next,
        fields=space.schema.by_name(),
        records={record.record_id: record for record in records.values()},
        remembered={(row["device"], row["number"]): _remembered(row) for row in known},
        confirmed=dict(confirmed),
    )


async def _fill(connection: Connection, space_key: int, records: dict[int, Record]) -> None:
    """Read the cells of *records*, which are given by number."""
    found = await connection.fetch(
        "SELECT * FROM cells WHERE space_key = $1 AND record = ANY($2) ORDER BY record, field",
        space_key,
        list(records),
    )
    for row in found:
        write = Write(row["seq"], row["hlc"], row["device"], row["number"])
        records[row["record"]].cells[row["field"]] = Cell(row["value"], write)


def _record(row: Any) -> Record:
    removal = None
    if row["removed_seq"] is not None:
        removal = Write(
            row["removed_seq"], row["removed_hlc"], row["removed_by"], row["removed_number"]
        )
    return Record(
        record_id=row["record_id"],
        number=row["number"],
        created_seq=row["created_seq"],
        removal=removal,
    )


def _remembered(row: Any) -> Remembered:
    result = Result(
        number=row["number"],
        status=Status(row["status"]),
        seq=row["seq"],
        reason=row["reason"],
        message=row["message"],
    )
    touched = {
        record: {int(field): seq for field, seq in fields.items()}
        for record, fields in row["touched"].items()
    }
    return Remembered(row["digest"], result, touched)


def _loser(row: Any) -> Loser:
    return Loser(
        record=row["record_id"],
        field=row["field"],
        value=row["value"],
        device=row["device"],
        number=row["number"],
        hlc=row["hlc"],
        reason=Loss(row["reason"]),
        winner_seq=row["winner_seq"],
    )
