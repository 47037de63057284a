"""Signs tokens with the active key, and keeps the ring of keys in step with the database."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import structlog

from gateway.identity import store
from gateway.identity.keyring import Keyring, SigningKey
from gateway.identity.tokens import LIFETIME_MAX, TokenRequest, sign
from meshkit.errors import MeshError
from meshkit.ids import new_id
from meshkit.postgres import unavailable_on_lost_connection


if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    import asyncpg
    from joserfc.jwk import ECKey

log = structlog.get_logger(__name__)

RELOAD_S: Final = 5.0
"""How soon a rotation done by another replica is known here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedToken:
    """A token that was signed; it is stored nowhere."""

    token: str
    token_id: str
    expire_time: datetime


class Signing:
    """
    The signing keys of this gateway. `start` comes first.

    Args:
        seal_key: Opens the private keys.
        clock: The time, with its zone.

    """

    def __init__(
        self,
        *,
        pool: asyncpg.Pool[Any],
        seal_key: bytes,
        audit: store.Audit,
        clock: Callable[[], datetime],
    ) -> None:
        self._pool = pool
        self._seal_key = seal_key
        self._audit = audit
        self._clock = clock
        self._ring = Keyring()
        self._opened: tuple[str, ECKey] | None = None
        self._watchers: list[Callable[[str], None]] = []

    @property
    def jwks_json(self) -> str:
        """The public keys as a JWK set (JSON); the same text for the same keys."""
        return self._ring.jwks_json()

    @property
    def keys(self) -> tuple[SigningKey, ...]:
        """The published keys."""
        return self._ring.keys

    def watch(self, watcher: Callable[[str], None]) -> None:
        """Have *watcher* called with `jwks_json` now, and soon after each change of it."""
        self._watchers.append(watcher)
        watcher(self.jwks_json)

    async def start(self) -> None:
        """
        Read the ring; the first gateway of all makes its keys.

        Raises:
            FailedPrecondition: SIGNING_KEY_SEALED: the active key needs another seal.key.

        """
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection, connection.transaction():
                await store.lock_ring(connection)
                before = await store.read_ring(connection)
                after = before.pruned(now=self._clock()).completed(
                    self._seal_key, now=self._clock()
                )
                await store.write_ring(connection, before, after)
        self._adopt(after)
        after.active.open(self._seal_key)

    async def run(self) -> None:
        """Follow rotations of other replicas and drop expired keys, until cancelled."""
        while True:
            await asyncio.sleep(RELOAD_S)
            try:
                await self.reload()
            except MeshError as error:
                log.warning("signing.reload_failed", error=str(error))

    async def reload(self) -> None:
        """Take over the ring as it is in the database."""
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection:
                ring = await store.read_ring(connection)
        self._adopt(ring.pruned(now=self._clock()))

    async def sign(self, request: TokenRequest, *, actor: str) -> SignedToken:
        """
        Sign and audit a token.

        Raises:
            FailedPrecondition: SIGNING_KEY_SEALED.

        """
        active, now, token_id = self._ring.active, self._clock(), new_id()
        token = sign(
            request, token_id=token_id, key_id=active.key_id, key=self._key(active), now=now
        )
        expire_time = now.replace(microsecond=0) + request.lifetime
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection, connection.transaction():
                await self._audit(
                    connection,
                    actor=actor,
                    action="identity.create_token",
                    resource=request.subject,
                    detail={
                        "token_id": token_id,
                        "tenant": request.tenant,
                        "roles": list(request.roles),
                        "key_id": active.key_id,
                        "expire_time": expire_time.isoformat(),
                    },
                )
        return SignedToken(token=token, token_id=token_id, expire_time=expire_time)

    async def rotate(self, *, expected: str, actor: str) -> tuple[SigningKey, ...]:
        """
        Let the next key sign from now on; returns the published keys.

        Raises:
            Conflict: KEY_NOT_ACTIVE.
            FailedPrecondition: KEY_ROTATED_TOO_OFTEN.

        """
        now = self._clock()
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection, connection.transaction():
                await store.lock_ring(connection)
                before = await store.read_ring(connection)
                after = before.rotated(
                    self._seal_key, expected=expected, now=now, token_lifetime_max=LIFETIME_MAX
                )
                await store.write_ring(connection, before, after)
                await self._audit(
                    connection,
                    actor=actor,
                    action="identity.rotate_key",
                    resource=before.active.key_id,
                    detail={"active_key_id": after.active.key_id},
                )
        self._adopt(after)
        return after.keys

    def _key(self, active: SigningKey) -> ECKey:
        if self._opened is None or self._opened[0] != active.key_id:
            self._opened = (active.key_id, active.open(self._seal_key))
        return self._opened[1]

    def _adopt(self, ring: Keyring) -> None:
        changed = ring.jwks_json() != self._ring.jwks_json()
        self._ring = ring
        if changed:
            for watcher in self._watchers:
                watcher(self.jwks_json)
