"""The audit log: append-only, each record chained to the one before."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final


if TYPE_CHECKING:
    from collections.abc import Mapping

    import asyncpg

    Connection = asyncpg.Connection[Any] | asyncpg.pool.PoolConnectionProxy[Any]

CHAIN_LOCK: Final = 0x6175646974  # "audit": one record at a time, over all replicas.
FIRST_PREVIOUS: Final = bytes(32)
_BATCH: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One line of the log, as the table holds it."""

    seq: int
    create_time: datetime
    actor: str
    action: str
    """Such as `catalog.update`."""

    resource: str
    detail: Mapping[str, object]
    """What changed, JSON. Never a secret."""

    previous_hash: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of the chain; whoever read it holds the lock on it until his transaction ends."""

    seq: int
    hash: bytes

    def next(
        self,
        now: datetime,
        *,
        actor: str,
        action: str,
        resource: str,
        detail: Mapping[str, object],
    ) -> Record:
        """Return the record that follows."""
        seq = self.seq + 1
        return Record(
            seq=seq,
            create_time=now,
            actor=actor,
            action=action,
            resource=resource,
            detail=detail,
            previous_hash=self.hash,
            hash=chain_hash(self.hash, seq, now, actor, action, resource, detail),
        )


EMPTY: Final = Tail(0, FIRST_PREVIOUS)


async def tail(connection: Connection) -> Tail:
    """Return the end of the chain; no other record is made until the transaction has ended."""
    assert connection.is_in_transaction(), "a record belongs to what it records"
    await connection.execute("SELECT pg_advisory_xact_lock($1)", CHAIN_LOCK)
    last = await connection.fetchrow("SELECT seq, hash FROM audit_log ORDER BY seq DESC LIMIT 1")
    return Tail(last["seq"], last["hash"]) if last else EMPTY


async def record(
    connection: Connection,
    *,
    actor: str,
    action: str,
    resource: str,
    detail: Mapping[str, object],
) -> None:
    """
    Append a record; it stands or falls with the connection's transaction.

    Args:
        actor: A SPIFFE id or a token's subject.
        action: Such as `catalog.update`.
        detail: What changed, JSON. Never a secret.

    """
    made = (await tail(connection)).next(
        datetime.now(UTC), actor=actor, action=action, resource=resource, detail=detail
    )
    await connection.execute(
        "INSERT INTO audit_log"
        " (seq, create_time, actor, action, resource, detail, previous_hash, hash)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        made.seq,
        made.create_time,
        made.actor,
        made.action,
        made.resource,
        dict(made.detail),
        made.previous_hash,
        made.hash,
    )


def chain_hash(  # noqa: PLR0917  the record's columns in their order
    previous: bytes,
    seq: int,
    time: datetime,
    actor: str,
    action: str,
    resource: str,
    detail: Mapping[str, object],
) -> bytes:
    """Return a record's hash: SHA-256 over the hash before it and its columns as JSON."""
    columns = [seq, time.astimezone(UTC).isoformat(), actor, action, resource, detail]
    text = json.dumps(columns, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(previous + text.encode()).digest()


async def first_broken(connection: Connection) -> int | None:
    """Return the number of the first record that doesn't fit the chain, or None."""
    previous, expected = FIRST_PREVIOUS, 1
    while True:
        rows = await connection.fetch(
            "SELECT * FROM audit_log WHERE seq >= $1 ORDER BY seq LIMIT $2", expected, _BATCH
        )
        for row in rows:
            made = chain_hash(
                previous,
                row["seq"],
                row["create_time"],
                row["actor"],
                row["action"],
                row["resource"],
                row["detail"],
            )
            intact = row["seq"] == expected and row["previous_hash"] == previous
            if not intact or row["hash"] != made:
                return expected
            previous, expected = row["hash"], expected + 1
        if len(rows) < _BATCH:
            return None
