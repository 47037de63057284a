"""The keys that sign API keys. They live as long as the last key that one of them signed."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from joserfc import jwt

from gateway.access.store import KeyRow, SignerRow
from gateway.identity.keyring import KeyState, SigningKey
from meshkit.tokens import ALGORITHM, KEY_AUDIENCE, KEY_ISSUER, KEY_PREFIX


if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

NEW_AFTER: Final = timedelta(days=180)
"""Age at which a signer is followed by the next."""


def new_signer(seal_key: bytes, now: datetime) -> SignerRow:
    """Make a signer; chance is the operating system's."""
    made = SigningKey.make(seal_key, state=KeyState.ACTIVE, now=now)
    return SignerRow(
        key_id=made.key_id,
        public_jwk=made.public_jwk,
        sealed=made.sealed,
        create_time=now,
    )


def is_due(found: Sequence[SignerRow], now: datetime) -> bool:
    """Return whether a new signer is to be made; *found* is newest first."""
    return not found or found[0].create_time + NEW_AFTER <= now


def jwks_json(found: Sequence[SignerRow]) -> str:
    """Return the public keys as a JWK set; the same text for the same keys."""
    keys = [one.public_jwk for one in sorted(found, key=lambda one: one.key_id)]
    return json.dumps({"keys": keys}, sort_keys=True, separators=(",", ":"))


def sign(key: KeyRow, signer: SignerRow, seal_key: bytes) -> str:
    """
    Return the text of *key*.

    Raises:
        FailedPrecondition: SIGNING_KEY_SEALED.

    """
    opened = SigningKey(
        key_id=signer.key_id,
        state=KeyState.ACTIVE,
        public_jwk=signer.public_jwk,
        sealed=signer.sealed,
        create_time=signer.create_time,
    ).open(seal_key)
    claims = {
        "iss": KEY_ISSUER,
        "aud": KEY_AUDIENCE,
        "sub": key.subject,
        "tenant": key.tenant,
        "roles": list(key.roles),
        "jti": key.token_id,
        "iat": int(key.create_time.timestamp()),
        "exp": int(key.expire_time.timestamp()),
    }
    if key.scopes:
        claims["scope"] = " ".join(key.scopes)
    header = {"alg": ALGORITHM, "typ": "key+jwt", "kid": signer.key_id}
    return KEY_PREFIX + jwt.encode(header, claims, opened, algorithms=[ALGORITHM])
