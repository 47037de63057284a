"""
The keys that sign tokens: which one signs, which ones are published.

Pure: the clock is an argument. Every verifier has seen a key before its first
signature, and forgets it only after its last token has expired:

    made ──▶ NEXT ──rotate──▶ ACTIVE ──rotate──▶ RETIRED ──token lifetime──▶ gone
           published        published, signs      published
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Self, cast

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from joserfc.jwk import ECKey

from meshkit.errors import Conflict, FailedPrecondition
from meshkit.tokens import ALGORITHM


if TYPE_CHECKING:
    from datetime import datetime

NONCE_BYTES: Final = 12
RETIRED_MAX: Final = 8
"""Most retired keys kept; more rotations than this in a token's life are refused."""
PUBLISHED_BEFORE_SIGNING: Final = timedelta(seconds=10)
"""How long verifiers have to learn of a key before it may sign."""
SIGNS_AFTER_ROTATION: Final = timedelta(minutes=1)
"""How long another replica may go on with the key that was retired."""


class KeyState(Enum):
    NEXT = "NEXT"
    ACTIVE = "ACTIVE"
    RETIRED = "RETIRED"


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """One ES256 key; its private half is sealed with the gateway's seal key."""

    key_id: str
    state: KeyState
    public_jwk: dict[str, str]
    sealed: bytes
    create_time: datetime
    expire_time: datetime | None = None
    """When it stops being published; set when it is retired."""

    @classmethod
    def make(cls, seal_key: bytes, *, state: KeyState, now: datetime) -> Self:
        """Make a key; chance is the operating system's."""
        key = ECKey.generate_key("P-256")
        key_id = key.thumbprint()
        nonce = secrets.token_bytes(NONCE_BYTES)
        secret = json.dumps(key.as_dict(private=True)).encode()
        public = {
            **cast("dict[str, str]", key.as_dict(private=False)),
            "kid": key_id,
            "use": "sig",
            "alg": ALGORITHM,
        }
        return cls(
            key_id=key_id,
            state=state,
            public_jwk=public,
            sealed=nonce + AESGCM(seal_key).encrypt(nonce, secret, key_id.encode()),
            create_time=now,
        )

    def open(self, seal_key: bytes) -> ECKey:
        """
        Return the private key.

        Raises:
            FailedPrecondition: SIGNING_KEY_SEALED, if *seal_key* is not what sealed it.

        """
        nonce, secret = self.sealed[:NONCE_BYTES], self.sealed[NONCE_BYTES:]
        try:
            plain = AESGCM(seal_key).decrypt(nonce, secret, self.key_id.encode())
        except InvalidTag as error:
            raise FailedPrecondition(
                "SIGNING_KEY_SEALED",
                "The signing key was sealed with another seal.key; restore that file, "
                "or rotate the key.",
                key_id=self.key_id,
            ) from error
        return ECKey.import_key(json.loads(plain))


@dataclass(frozen=True, slots=True)
class Keyring:
    """
    All published keys.

    Invariant: at most one is active and at most one next; both exist after `completed`.
    """

    keys: tuple[SigningKey, ...] = ()

    @property
    def active(self) -> SigningKey:
        """The key that signs."""
        key = self._only(KeyState.ACTIVE)
        assert key is not None, "a ring is completed before it is used"
        return key

    def completed(self, seal_key: bytes, *, now: datetime) -> Keyring:
        """Return the ring with the active and the next key made, where they are missing."""
        missing = [
            SigningKey.make(seal_key, state=state, now=now)
            for state in (KeyState.ACTIVE, KeyState.NEXT)
            if self._only(state) is None
        ]
        return Keyring((*self.keys, *missing))

    def rotated(
        self, seal_key: bytes, *, expected: str, now: datetime, token_lifetime_max: timedelta
    ) -> Keyring:
        """
        Return the ring after a rotation.

        Args:
            expected: Id of the key to retire; "" for whichever is active.
            token_lifetime_max: Longest life of a token signed just now.

        Raises:
            Conflict: KEY_NOT_ACTIVE, if *expected* isn't active (any more).
            FailedPrecondition: KEY_ROTATED_TOO_OFTEN.

        """
        retiring, coming = self.active, self._only(KeyState.NEXT)
        if expected not in ("", retiring.key_id):
            raise Conflict(
                "KEY_NOT_ACTIVE", "Another rotation came first; list the keys.", key_id=expected
            )
        kept = self.pruned(now=now)
        if sum(key.state is KeyState.RETIRED for key in kept.keys) >= RETIRED_MAX:
            raise FailedPrecondition(
                "KEY_ROTATED_TOO_OFTEN",
                f"{RETIRED_MAX} retired keys still have living tokens; wait for some to expire.",
            )
        assert coming is not None, "a ring is completed before it is used"
        if coming.create_time + PUBLISHED_BEFORE_SIGNING > now:
            raise FailedPrecondition(
                "KEY_ROTATED_TOO_OFTEN",
                "The next key is too new for every verifier to know it; "
                f"try again after {PUBLISHED_BEFORE_SIGNING.total_seconds():.0f} s.",
            )
        expire_time = now + token_lifetime_max + SIGNS_AFTER_ROTATION
        changed = {
            retiring.key_id: replace(retiring, state=KeyState.RETIRED, expire_time=expire_time),
            coming.key_id: replace(coming, state=KeyState.ACTIVE),
        }
        ring = Keyring(tuple(changed.get(key.key_id, key) for key in kept.keys))
        return ring.completed(seal_key, now=now)

    def pruned(self, *, now: datetime) -> Keyring:
        """Return the ring without keys whose last token has expired."""
        return Keyring(
            tuple(key for key in self.keys if key.expire_time is None or key.expire_time > now)
        )

    def jwks_json(self) -> str:
        """Return the public keys as a JWK set; the same text for the same keys."""
        keys: list[dict[str, Any]] = [
            key.public_jwk for key in sorted(self.keys, key=lambda key: key.key_id)
        ]
        return json.dumps({"keys": keys}, sort_keys=True, separators=(",", ":"))

    def _only(self, state: KeyState) -> SigningKey | None:
        found = [key for key in self.keys if key.state is state]
        assert len(found) <= 1, "the database holds at most one"
        return found[0] if found else None
