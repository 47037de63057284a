"""SQL of the identity tables (`migrations/0002_identity.sql`); every call is one statement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from gateway.identity.keyring import Keyring, KeyState, SigningKey


if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    import asyncpg

    from gateway.identity.authority import Issued
    from meshkit.identity import SpiffeId

    Connection = asyncpg.Connection[Any] | asyncpg.pool.PoolConnectionProxy[Any]

RING_LOCK = 0x6B657973  # "keys": one change of the ring at a time, over all replicas.


class Audit(Protocol):
    """Writes one audit record on the transaction of what it records."""

    async def __call__(
        self,
        connection: Connection,
        *,
        actor: str,
        action: str,
        resource: str,
        detail: Mapping[str, object],
    ) -> None:
        """
        Record that *actor* did *action* to *resource*.

        Args:
            actor: A SPIFFE id or a token's subject.
            action: Such as `identity.join`.
            detail: What changed, JSON. Never a secret.

        """


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinTokenRow:
    """A join token as it is stored."""

    spiffe_id: str
    public_names: frozenset[str]
    expire_time: datetime
    key_sha256: bytes | None
    """The key it was used for; None while it is unused."""
    serial: str | None


async def insert_join_token(
    connection: Connection,
    *,
    token_sha256: bytes,
    spiffe_id: SpiffeId,
    public_names: frozenset[str],
    now: datetime,
    expire_time: datetime,
) -> None:
    await connection.execute(
        "INSERT INTO join_tokens"
        " (token_sha256, spiffe_id, public_names, create_time, expire_time)"
        " VALUES ($1, $2, $3, $4, $5)",
        token_sha256,
        str(spiffe_id),
        sorted(public_names),
        now,
        expire_time,
    )


async def lock_join_token(connection: Connection, token_sha256: bytes) -> JoinTokenRow | None:
    """Return the token, and hold it until the transaction ends; None if there is none."""
    row = await connection.fetchrow(
        "SELECT spiffe_id, public_names, expire_time, key_sha256, serial"
        " FROM join_tokens WHERE token_sha256 = $1 FOR UPDATE",
        token_sha256,
    )
    if row is None:
        return None
    return JoinTokenRow(
        spiffe_id=row["spiffe_id"],
        public_names=frozenset(row["public_names"]),
        expire_time=row["expire_time"],
        key_sha256=row["key_sha256"],
        serial=row["serial"],
    )


async def use_join_token(
    connection: Connection, *, token_sha256: bytes, key_sha256: bytes, serial: str, now: datetime
) -> None:
    await connection.execute(
        "UPDATE join_tokens SET use_time = $2, key_sha256 = $3, serial = $4"
        " WHERE token_sha256 = $1",
        token_sha256,
        now,
        key_sha256,
        serial,
    )


async def insert_certificate(
    connection: Connection,
    issued: Issued,
    *,
    spiffe_id: SpiffeId,
    public_names: frozenset[str] = frozenset(),
    now: datetime,
) -> None:
    await connection.execute(
        "INSERT INTO certificates"
        " (serial, spiffe_id, public_names, chain_pem, create_time, expire_time)"
        " VALUES ($1, $2, $3, $4, $5, $6)",
        issued.serial,
        str(spiffe_id),
        sorted(public_names),
        issued.chain_pem,
        now,
        issued.not_after,
    )


async def certificate(connection: Connection, serial: str) -> tuple[bytes, datetime] | None:
    """Return chain (PEM) and end of validity of an issued certificate."""
    row = await connection.fetchrow(
        "SELECT chain_pem, expire_time FROM certificates WHERE serial = $1", serial
    )
    return None if row is None else (row["chain_pem"], row["expire_time"])


async def grant_public_names(
    connection: Connection, spiffe_id: SpiffeId, public_names: frozenset[str]
) -> None:
    await connection.execute(
        "INSERT INTO public_name_grants (spiffe_id, public_names) VALUES ($1, $2)"
        " ON CONFLICT (spiffe_id) DO UPDATE SET public_names = excluded.public_names",
        str(spiffe_id),
        sorted(public_names),
    )


async def public_names(connection: Connection, spiffe_id: SpiffeId) -> frozenset[str]:
    names = await connection.fetchval(
        "SELECT public_names FROM public_name_grants WHERE spiffe_id = $1", str(spiffe_id)
    )
    return frozenset(names or ())


async def lock_ring(connection: Connection) -> None:
    """Keep other changes of the ring out until the transaction ends."""
    await connection.execute("SELECT pg_advisory_xact_lock($1)", RING_LOCK)


async def read_ring(connection: Connection) -> Keyring:
    rows = await connection.fetch(
        "SELECT key_id, state, public_jwk, sealed, create_time, expire_time"
        " FROM signing_keys ORDER BY create_time, key_id"
    )
    return Keyring(
        tuple(
            SigningKey(
                key_id=row["key_id"],
                state=KeyState(row["state"]),
                public_jwk=row["public_jwk"],
                sealed=row["sealed"],
                create_time=row["create_time"],
                expire_time=row["expire_time"],
            )
            for row in rows
        )
    )


async def write_ring(connection: Connection, before: Keyring, after: Keyring) -> None:
    """Store the difference, in the order that never breaks "one active, one next"."""
    kept = {key.key_id for key in after.keys}
    gone = [key.key_id for key in before.keys if key.key_id not in kept]
    await connection.execute("DELETE FROM signing_keys WHERE key_id = ANY($1::text[])", gone)
    known = {key.key_id: key for key in before.keys}
    order = (KeyState.RETIRED, KeyState.ACTIVE, KeyState.NEXT)
    for key in sorted(after.keys, key=lambda key: order.index(key.state)):
        if known.get(key.key_id) == key:
            continue
        await connection.execute(
            "INSERT INTO signing_keys"
            " (key_id, state, public_jwk, sealed, create_time, expire_time)"
            " VALUES ($1, $2, $3, $4, $5, $6)"
            " ON CONFLICT (key_id) DO UPDATE"
            " SET state = excluded.state, expire_time = excluded.expire_time",
            key.key_id,
            key.state.value,
            key.public_jwk,
            key.sealed,
            key.create_time,
            key.expire_time,
        )


async def purge(
    connection: Connection, *, tokens_before: datetime, certificates_before: datetime
) -> None:
    """Forget join tokens and certificates that expired before the given times."""
    await connection.execute("DELETE FROM join_tokens WHERE expire_time < $1", tokens_before)
    await connection.execute("DELETE FROM certificates WHERE expire_time < $1", certificates_before)
