"""
Who gets which certificate: join tokens, first certificates, renewals, public names.

    operator ──CreateJoinToken──▶ UNUSED ──Join(key)──▶ USED by that key
                                    │                     │ Join(same key): same certificate
                                    └──── TTL ────────────┴──▶ refused, later forgotten

What is decided and its audit record are one transaction.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from gateway.identity import store
from gateway.identity.authority import Issued, SigningRequest, check_public_names
from meshkit.errors import InvalidInput, Unauthenticated
from meshkit.identity import SpiffeId
from meshkit.postgres import unavailable_on_lost_connection


if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from gateway.identity.authority import Authority

JOIN_TTL_DEFAULT: Final = timedelta(minutes=5)
JOIN_TTL_MIN: Final = timedelta(seconds=1)
JOIN_TTL_MAX: Final = timedelta(hours=1)
JOIN_TOKEN_BYTES: Final = 32
JOIN_TOKEN_LENGTH_MAX: Final = 64

TOKENS_KEPT: Final = timedelta(days=1)
"""How long an expired join token is remembered."""
CERTIFICATES_KEPT: Final = timedelta(days=30)
"""How long an expired certificate is remembered; the audit log keeps it longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinToken:
    """A new join token; the only place its secret ever stands."""

    token: str
    spiffe_id: SpiffeId
    expire_time: datetime


class Enrolment:
    """
    Args:
        clock: The time, with its zone.

    """

    def __init__(
        self,
        *,
        pool: asyncpg.Pool[Any],
        authority: Authority,
        audit: store.Audit,
        clock: Callable[[], datetime],
    ) -> None:
        self._pool = pool
        self._authority = authority
        self._audit = audit
        self._clock = clock

    @property
    def bundle_pem(self) -> bytes:
        """The roots that whoever joins must trust."""
        return self._authority.bundle_pem

    async def create_join_token(
        self,
        spiffe_id: SpiffeId,
        *,
        ttl: timedelta = JOIN_TTL_DEFAULT,
        public_names: frozenset[str] = frozenset(),
        actor: str,
    ) -> JoinToken:
        """
        Make a token that admits *spiffe_id* once.

        Raises:
            InvalidInput: PUBLIC_NAME_INVALID, JOIN_TTL_INVALID.

        """
        check_public_names(public_names)
        if not JOIN_TTL_MIN <= ttl <= JOIN_TTL_MAX:
            raise InvalidInput(
                "JOIN_TTL_INVALID",
                f"A join token works for 1 s to {JOIN_TTL_MAX.total_seconds():.0f} s.",
                field_violations={"ttl": "out of range"},
            )
        token = secrets.token_urlsafe(JOIN_TOKEN_BYTES)
        now = self._clock()
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection, connection.transaction():
                await store.insert_join_token(
                    connection,
                    token_sha256=_digest(token),
                    spiffe_id=spiffe_id,
                    public_names=public_names,
                    now=now,
                    expire_time=now + ttl,
                )
                await self._audit(
                    connection,
                    actor=actor,
                    action="identity.create_join_token",
                    resource=str(spiffe_id),
                    detail={
                        "expire_time": (now + ttl).isoformat(),
                        "public_names": sorted(public_names),
                    },
                )
        return JoinToken(token=token, spiffe_id=spiffe_id, expire_time=now + ttl)

    async def join(self, token: str, csr_pem: bytes) -> Issued:
        """
        Trade *token* for the first certificate of the workload it admits.

        Raises:
            Unauthenticated: JOIN_TOKEN_REFUSED: unknown, expired, or used with another key.
            InvalidInput: SIGNING_REQUEST_INVALID; the token is not used up.

        """
        if len(token) > JOIN_TOKEN_LENGTH_MAX:
            raise _refused()
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection, connection.transaction():
                row = await store.lock_join_token(connection, _digest(token))
                now = self._clock()
                if row is None or row.expire_time <= now:
                    raise _refused()
                request = SigningRequest.parse(csr_pem)
                if row.serial is not None:
                    return await self._repeated(connection, row, request)
                spiffe_id = SpiffeId.parse(row.spiffe_id)
                issued = self._authority.issue_workload(request, spiffe_id, now=now)
                await store.insert_certificate(connection, issued, spiffe_id=spiffe_id, now=now)
                await store.grant_public_names(connection, spiffe_id, row.public_names)
                await store.use_join_token(
                    connection,
                    token_sha256=_digest(token),
                    key_sha256=request.key_digest,
                    serial=issued.serial,
                    now=now,
                )
                await self._record(connection, "identity.join", str(spiffe_id), spiffe_id, issued)
                return issued

    async def renew(self, spiffe_id: SpiffeId, csr_pem: bytes) -> Issued:
        """
        Issue the next certificate of *spiffe_id*, who has proven to be that.

        Raises:
            InvalidInput: SIGNING_REQUEST_INVALID.

        """
        now = self._clock()
        request = SigningRequest.parse(csr_pem)
        issued = self._authority.issue_workload(request, spiffe_id, now=now)
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection, connection.transaction():
                await store.insert_certificate(connection, issued, spiffe_id=spiffe_id, now=now)
                await self._record(connection, "identity.renew", str(spiffe_id), spiffe_id, issued)
        return issued

    async def issue_public(self, spiffe_id: SpiffeId, csr_pem: bytes) -> Issued:
        """
        Issue a server certificate for public names granted to *spiffe_id*.

        Raises:
            InvalidInput: SIGNING_REQUEST_INVALID, also for names not granted.

        """
        now = self._clock()
        request = SigningRequest.parse(csr_pem)
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection, connection.transaction():
                allowed = await store.public_names(connection, spiffe_id)
                issued = self._authority.issue_public(request, allowed, now=now)
                await store.insert_certificate(
                    connection, issued, spiffe_id=spiffe_id, public_names=request.names, now=now
                )
                await self._record(
                    connection, "identity.issue_public", str(spiffe_id), spiffe_id, issued
                )
        return issued

    async def purge(self) -> None:
        """Forget what has been expired for long."""
        now = self._clock()
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection:
                await store.purge(
                    connection,
                    tokens_before=now - TOKENS_KEPT,
                    certificates_before=now - CERTIFICATES_KEPT,
                )

    async def _repeated(
        self, connection: store.Connection, row: store.JoinTokenRow, request: SigningRequest
    ) -> Issued:
        """Answer again what was answered, if the asker holds the same key."""
        assert row.key_sha256 is not None, "set together with the serial"
        assert row.serial is not None, "the token has been used"
        if not secrets.compare_digest(row.key_sha256, request.key_digest):
            raise _refused()
        found = await store.certificate(connection, row.serial)
        if found is None:
            raise _refused()
        chain_pem, not_after = found
        return Issued(
            chain_pem=chain_pem, serial=row.serial, not_before=self._clock(), not_after=not_after
        )

    async def _record(
        self,
        connection: store.Connection,
        action: str,
        actor: str,
        spiffe_id: SpiffeId,
        issued: Issued,
    ) -> None:
        await self._audit(
            connection,
            actor=actor,
            action=action,
            resource=str(spiffe_id),
            detail={"serial": issued.serial, "expire_time": issued.not_after.isoformat()},
        )


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _refused() -> Unauthenticated:
    """One answer for every cause: who guesses learns nothing."""
    return Unauthenticated(
        "JOIN_TOKEN_REFUSED",
        "The join token is unknown, expired or used up; ask an operator for a new one.",
    )
