"""Somebody else who issues tokens, and whose keys rotate."""

from __future__ import annotations

import json
import time
from typing import Any, Final

from joserfc import jwt
from joserfc.jwk import ECKey

from aerofusion.gateway.v1 import issuer_pb2, object_pb2


ISSUER: Final = "https://login.airline.example"
AUDIENCE: Final = "bench"
LIFE_S: Final = 3_600


class Airline:
    """The newest key signs; the others are still good."""

    def __init__(self) -> None:
        self._keys: list[Any] = []
        self._made = 0
        self.add()

    def add(self) -> None:
        """Have another key, the newest."""
        self._made += 1
        self._keys.append(ECKey.generate_key("P-256", {"kid": f"key-{self._made}"}))

    def drop(self) -> None:
        """Have the newest key only."""
        del self._keys[:-1]

    def token(self) -> str:
        """Return a token of the newest key."""
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "bench",
            "jti": f"t{self._made}",
            "iat": now,
            "exp": now + LIFE_S,
        }
        key = self._keys[-1]
        return jwt.encode({"alg": "ES256", "typ": "JWT", "kid": key.kid}, claims, key)

    def object(self) -> object_pb2.Object:
        """Return the issuer as the catalog has it."""
        keys = [key.as_dict(private=False) for key in self._keys]
        return object_pb2.Object(
            issuer=issuer_pb2.Issuer(
                name="issuers/airline",
                issuer=ISSUER,
                audiences=[AUDIENCE],
                jwks=json.dumps({"keys": keys}),
                tenant="bench",
                roles=["service"],
                subject_prefix="services/",
            )
        )
