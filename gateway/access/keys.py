"""Makes API keys, and revokes keys and tokens; each with its audit record in one transaction."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from gateway.access import signers, store
from gateway.access.deny_list import DenyList
from gateway.compile.issuers import LIFETIME_MAX
from gateway.identity.tokens import TokenRequest
from meshkit.errors import FailedPrecondition, InvalidInput
from meshkit.ids import new_id
from meshkit.postgres import unavailable_on_lost_connection


if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    import asyncpg

    from gateway.identity.store import Audit

KEY_LIFETIME: Final = timedelta(days=90)
KEY_LIFETIME_MAX: Final = timedelta(days=731)
KEYS_MAX: Final = 100_000
SCOPES_MAX: Final = 16
TEXT_LENGTH_MAX: Final = 500
REVOCATIONS_MAX: Final = 10_000
KEYS_REMEMBERED: Final = timedelta(days=30)
"""How long an expired key is still listed."""

_READ_AT_ONCE = 10_000
_GRACE = timedelta(minutes=2)
"""How much longer than a token's own life it is held to be revoked: clocks disagree."""

_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,100}")
_TOKEN_ID = re.compile(r"[\x21-\x7e]{1,200}")


class Keys:
    """
    The API keys and revocations of this gateway. `start` comes first.

    Args:
        seal_key: Opens the private keys of the signers.
        clock: The time, with its zone.
        published: Called with fields of `Inputs` that have changed; must not block.

    """

    def __init__(
        self,
        *,
        pool: asyncpg.Pool[Any],
        seal_key: bytes,
        audit: Audit,
        clock: Callable[[], datetime],
        published: Callable[..., None],
    ) -> None:
        self._pool = pool
        self._seal_key = seal_key
        self._audit = audit
        self._clock = clock
        self._published = published
        self._jwks = ""
        self._list = DenyList()
        self._seq = 0
        """Newest revocation that `_list` has."""

    @property
    def newest(self) -> int:
        """Number of the newest revocation known here."""
        return self._seq

    async def start(self) -> None:
        """
        Read signers and revocations, and make the first signer.

        Raises:
            Unavailable: The database is away.

        """
        now = self._clock()
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection, connection.transaction():
                await store.lock(connection)
                found = await self._signers(connection, now)
                rows = await store.revocations_after(connection, 0, 10 * _READ_AT_ONCE)
        self._list.load({one.token_id: one.expire_time for one in rows}, now)
        self._seq = rows[-1].seq if rows else 0
        self._adopt(found)
        self._published(revoked=self._list.settled, revoked_lately=())

    async def create(self, key: store.KeyRow, *, actor: str) -> tuple[store.KeyRow, str]:
        """
        Make a key; returns it and its text, which is stored nowhere.

        Args:
            key: What it shall be; its id and the time it is made are chosen here.

        Raises:
            InvalidInput: KEY_REQUEST_INVALID.
            FailedPrecondition: TOO_MANY_KEYS, SIGNING_KEY_SEALED.

        """
        _check(key)
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection, connection.transaction():
                await store.lock(connection)
                if await store.living_keys(connection, key.create_time) >= KEYS_MAX:
                    raise FailedPrecondition(
                        "TOO_MANY_KEYS", f"There are {KEYS_MAX} living keys, the most there can be."
                    )
                found = await self._signers(connection, key.create_time)
                text = signers.sign(key, found[0], self._seal_key)
                await store.insert_key(connection, key, text=text, signer=found[0].key_id)
                await self._audit(
                    connection,
                    actor=actor,
                    action="keys.create",
                    resource=f"apiKeys/{key.token_id}",
                    detail={
                        "subject": key.subject,
                        "tenant": key.tenant,
                        "roles": list(key.roles),
                        "scopes": list(key.scopes),
                        "expire_time": key.expire_time.isoformat(),
                    },
                )
        self._adopt(found)
        return key, text

    async def revoke(
        self, token_id: str, *, expire_time: datetime | None, reason: str, actor: str
    ) -> store.RevocationRow:
        """
        Revoke a token; it is with the edges soon after. Repeating it does nothing.

        Raises:
            InvalidInput: KEY_REQUEST_INVALID.
            FailedPrecondition: TOO_MANY_REVOCATIONS.

        """
        now = self._clock()
        _check_revocation(token_id, reason, expire_time, now)
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection, connection.transaction():
                await store.lock(connection)
                known = await store.revocation(connection, token_id)
                if known is not None and known.expire_time > now:
                    return known
                if await store.living_revocations(connection, now) >= REVOCATIONS_MAX:
                    raise FailedPrecondition(
                        "TOO_MANY_REVOCATIONS",
                        f"{REVOCATIONS_MAX} tokens are revoked, the most there can be;"
                        " wait for some to expire, or rotate the keys that sign them.",
                    )
                key = await store.key(connection, token_id)
                end = expire_time or now + LIFETIME_MAX
                if key is not None:
                    end = max(key.expire_time, now)
                row = await store.insert_revocation(
                    connection,
                    token_id,
                    now=now,
                    expire_time=end + _GRACE,
                    reason=reason,
                    actor=actor,
                )
                await self._audit(
                    connection,
                    actor=actor,
                    action="keys.revoke",
                    resource=f"tokens/{token_id}",
                    detail={"reason": reason, "expire_time": row.expire_time.isoformat()},
                )
        # Another replica's may come before it and not be read yet: only reading moves on.
        if row.seq == self._seq + 1:
            self._seq = row.seq
        self._take([row])
        return row

    async def follow(self) -> None:
        """
        Take what other replicas have revoked, and fold the list when it is time.

        Raises:
            Unavailable: The database is away.

        """
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection:
                rows = await store.revocations_after(connection, self._seq, _READ_AT_ONCE)
        if rows:
            self._seq = rows[-1].seq
        self._take(rows)

    async def refresh(self) -> None:
        """
        Take signers that other replicas have made, make one if it is due, forget what is old.

        Raises:
            Unavailable: The database is away.

        """
        now = self._clock()
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection, connection.transaction():
                await store.lock(connection)
                await store.purge(connection, keys_before=now - KEYS_REMEMBERED, now=now)
                found = await self._signers(connection, now)
        self._adopt(found)

    async def list_keys(self, *, subject: str, before: str, most: int) -> list[store.KeyRow]:
        """Return keys, newest first, behind the id *before*."""
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection:
                return await store.list_keys(connection, subject=subject, before=before, most=most)

    async def list_revocations(self, *, before: int, most: int) -> list[store.RevocationRow]:
        """Return revocations, newest first, behind the number *before*."""
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection:
                return await store.list_revocations(
                    connection, now=self._clock(), before=before, most=most
                )

    def _take(self, rows: list[store.RevocationRow]) -> None:
        for row in rows:
            self._list.add(row.token_id, row.expire_time)
        folded = self._list.advance(self._clock())
        if folded:
            self._published(revoked=self._list.settled, revoked_lately=self._list.lately)
        elif rows:
            self._published(revoked_lately=self._list.lately)

    async def _signers(self, connection: Any, now: datetime) -> list[store.SignerRow]:
        found = await store.signers(connection, now)
        if signers.is_due(found, now):
            made = signers.new_signer(self._seal_key, now)
            await store.insert_signer(connection, made)
            found = [made, *found]
        return found

    def _adopt(self, found: list[store.SignerRow]) -> None:
        jwks = signers.jwks_json(found)
        if jwks != self._jwks:
            self._jwks = jwks
            self._published(key_jwks=jwks)


def new_key_id() -> str:
    """Return an id for a key; those made later are greater."""
    return new_id()


def _check(key: store.KeyRow) -> None:
    problems: dict[str, str] = {}
    try:
        TokenRequest(subject=key.subject, tenant=key.tenant, roles=key.roles)
    except InvalidInput as error:
        problems = {f"key.{path}": what for path, what in error.field_violations.items()}
    if len(key.scopes) > SCOPES_MAX or len(set(key.scopes)) != len(key.scopes):
        problems["key.scopes"] = f"must be at most {SCOPES_MAX}, each once"
    elif not all(_SCOPE.fullmatch(one) for one in key.scopes):
        problems["key.scopes"] = "must be OAuth scopes, up to 100 characters each"
    if len(key.description) > TEXT_LENGTH_MAX:
        problems["key.description"] = f"longer than {TEXT_LENGTH_MAX} characters"
    life = key.expire_time - key.create_time
    if not timedelta() < life <= KEY_LIFETIME_MAX:
        problems["key.expire_time"] = f"must be within {KEY_LIFETIME_MAX.days} days from now"
    _refuse(problems, "No such key can be made")


def _check_revocation(
    token_id: str, reason: str, expire_time: datetime | None, now: datetime
) -> None:
    problems = {}
    if expire_time is not None and not now < expire_time <= now + KEY_LIFETIME_MAX:
        problems["expire_time"] = f"must be within {KEY_LIFETIME_MAX.days} days from now"
    if not _TOKEN_ID.fullmatch(token_id):
        problems["token_id"] = "must be 1 to 200 printable characters"  # noqa: S105  a sentence
    if len(reason) > TEXT_LENGTH_MAX:
        problems["reason"] = f"longer than {TEXT_LENGTH_MAX} characters"
    _refuse(problems, "It can't be revoked")


def _refuse(problems: dict[str, str], what: str) -> None:
    if problems:
        raise InvalidInput(
            "KEY_REQUEST_INVALID",
            f"{what}: {', '.join(problems)}.",
            field_violations=problems,
        )
