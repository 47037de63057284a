"""SQL of API keys and revocations (`migrations/0011_access.sql`)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final


if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import asyncpg

    Connection = asyncpg.Connection[Any] | asyncpg.pool.PoolConnectionProxy[Any]

LOCK: Final = 0x616363657373  # "access": one change at a time, over all replicas.
_KEYS: Final = (
    "SELECT token_id, subject, tenant, roles, scopes, description, create_time, expire_time,"
    " revoke_time FROM api_keys"
)
_REVOCATIONS: Final = (
    "SELECT token_id, seq, create_time, expire_time, reason, actor FROM revocations"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRow:
    """A key, without its text."""

    token_id: str
    subject: str
    tenant: str
    roles: tuple[str, ...]
    scopes: tuple[str, ...]
    description: str
    create_time: datetime
    expire_time: datetime
    revoke_time: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationRow:
    """A revoked token."""

    token_id: str
    seq: int
    create_time: datetime
    expire_time: datetime
    reason: str
    actor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerRow:
    """A key pair that signs API keys."""

    key_id: str
    public_jwk: dict[str, str]
    sealed: bytes
    create_time: datetime


async def lock(connection: Connection) -> None:
    """Keep other changes out until the transaction ends."""
    await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)


async def signers(connection: Connection, now: datetime) -> list[SignerRow]:
    """Return the newest signer and those that living keys were signed with, newest first."""
    rows = await connection.fetch(
        "SELECT key_id, public_jwk, sealed, create_time FROM api_key_signers s"
        " WHERE create_time = (SELECT max(create_time) FROM api_key_signers)"
        " OR EXISTS (SELECT FROM api_keys k WHERE k.signer = s.key_id AND k.expire_time > $1)"
        " ORDER BY create_time DESC, key_id",
        now,
    )
    return [SignerRow(**row) for row in rows]


async def insert_signer(connection: Connection, signer: SignerRow) -> None:
    await connection.execute(
        "INSERT INTO api_key_signers (key_id, public_jwk, sealed, create_time)"
        " VALUES ($1, $2, $3, $4)",
        signer.key_id,
        signer.public_jwk,
        signer.sealed,
        signer.create_time,
    )


async def living_keys(connection: Connection, now: datetime) -> int:
    return int(
        await connection.fetchval("SELECT count(*) FROM api_keys WHERE expire_time > $1", now)
    )


async def insert_key(connection: Connection, key: KeyRow, *, text: str, signer: str) -> None:
    """Store a key; of its *text* only the hash."""
    await connection.execute(
        "INSERT INTO api_keys (text_sha256, signer, token_id, subject, tenant, roles, scopes,"
        " description, create_time, expire_time)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        hashlib.sha256(text.encode()).digest(),
        signer,
        key.token_id,
        key.subject,
        key.tenant,
        list(key.roles),
        list(key.scopes),
        key.description,
        key.create_time,
        key.expire_time,
    )


async def key(connection: Connection, token_id: str) -> KeyRow | None:
    row = await connection.fetchrow(f"{_KEYS} WHERE token_id = $1", token_id)
    return _key(row) if row else None


async def list_keys(
    connection: Connection, *, subject: str, before: str, most: int
) -> list[KeyRow]:
    """Return keys, newest first; their ids are in the order of time."""
    rows = await connection.fetch(
        f"{_KEYS} WHERE ($1 = '' OR subject = $1)"
        " AND ($2 = '' OR token_id < $2) ORDER BY token_id DESC LIMIT $3",
        subject,
        before,
        most,
    )
    return [_key(row) for row in rows]


async def revocation(connection: Connection, token_id: str) -> RevocationRow | None:
    row = await connection.fetchrow(f"{_REVOCATIONS} WHERE token_id = $1", token_id)
    return RevocationRow(**row) if row else None


async def living_revocations(connection: Connection, now: datetime) -> int:
    return int(
        await connection.fetchval("SELECT count(*) FROM revocations WHERE expire_time > $1", now)
    )


async def insert_revocation(
    connection: Connection,
    token_id: str,
    *,
    now: datetime,
    expire_time: datetime,
    reason: str,
    actor: str,
) -> RevocationRow:
    """Revoke a token, and the key if it is one; the lock is held."""
    row = await connection.fetchrow(
        "WITH marked AS (UPDATE api_keys SET revoke_time = $2"
        " WHERE token_id = $1 AND revoke_time IS NULL)"
        " INSERT INTO revocations (token_id, seq, create_time, expire_time, reason, actor)"
        " SELECT $1, COALESCE((SELECT max(seq) FROM revocations), 0) + 1, $2, $3, $4, $5"
        " ON CONFLICT (token_id) DO UPDATE SET seq = excluded.seq, create_time = $2,"
        " expire_time = $3, reason = $4, actor = $5"
        " RETURNING token_id, seq, create_time, expire_time, reason, actor",
        token_id,
        now,
        expire_time,
        reason,
        actor,
    )
    assert row is not None, "inserted or updated"
    return RevocationRow(**row)


async def revocations_after(connection: Connection, seq: int, most: int) -> list[RevocationRow]:
    """Return what was revoked after *seq*, oldest first."""
    rows = await connection.fetch(f"{_REVOCATIONS} WHERE seq > $1 ORDER BY seq LIMIT $2", seq, most)
    return [RevocationRow(**row) for row in rows]


async def list_revocations(
    connection: Connection, *, now: datetime, before: int, most: int
) -> list[RevocationRow]:
    """Return what is revoked and hasn't expired, newest first."""
    rows = await connection.fetch(
        f"{_REVOCATIONS} WHERE expire_time > $1 AND seq < $2 ORDER BY seq DESC LIMIT $3",
        now,
        before,
        most,
    )
    return [RevocationRow(**row) for row in rows]


async def purge(connection: Connection, *, keys_before: datetime, now: datetime) -> None:
    """
    Forget what has expired: revocations now, keys later.

    The newest revocation stays, since the next one's number follows it.
    """
    await connection.execute(
        "DELETE FROM revocations WHERE expire_time < $1"
        " AND seq < (SELECT max(seq) FROM revocations)",
        now,
    )
    await connection.execute("DELETE FROM api_keys WHERE expire_time < $1", keys_before)
    await connection.execute(
        "DELETE FROM api_key_signers s WHERE create_time < $1"
        " AND create_time < (SELECT max(create_time) FROM api_key_signers)"
        " AND NOT EXISTS (SELECT FROM api_keys k WHERE k.signer = s.key_id)",
        keys_before,
    )


async def issuer_keys(connection: Connection) -> Sequence[tuple[str, str, str]]:
    """Return issuer, address and key set of all that were fetched."""
    rows = await connection.fetch("SELECT issuer, uri, jwks FROM issuer_keys")
    return [(row["issuer"], row["uri"], row["jwks"]) for row in rows]


async def put_issuer_keys(
    connection: Connection, issuer: str, uri: str, jwks: str, now: datetime
) -> None:
    await connection.execute(
        "INSERT INTO issuer_keys (issuer, uri, jwks, fetch_time) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (issuer) DO UPDATE SET uri = $2, jwks = $3, fetch_time = $4",
        issuer,
        uri,
        jwks,
        now,
    )


def _key(row: Any) -> KeyRow:
    fields = dict(row)
    return KeyRow(**{**fields, "roles": tuple(row["roles"]), "scopes": tuple(row["scopes"])})
