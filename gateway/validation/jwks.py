"""Key sets of others, reduced to what the edge shall verify with (RFC 7517)."""

from __future__ import annotations

import base64
import functools
import json
from typing import TYPE_CHECKING, Any, Final

from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry


if TYPE_CHECKING:
    from collections.abc import Mapping

JWKS_LENGTH_MAX: Final = 64 * 1024
KEYS_MAX: Final = 32
RSA_BITS: Final = range(2048, 8193)

_SETS_REMEMBERED = 128
_OF_CURVE = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "Ed25519": "EdDSA"}
_OF_RSA = frozenset(f"{kind}{bits}" for kind in ("RS", "PS") for bits in (256, 384, 512))
_PUBLIC = {"EC": ("crv", "x", "y"), "OKP": ("crv", "x"), "RSA": ("n", "e")}


@functools.lru_cache(maxsize=_SETS_REMEMBERED)
def reduced(text: str) -> str:
    """
    Return the public signature keys of a set, their members and algorithm alone.

    Whatever Envoy might refuse is left out: one issuer's odd key must not keep the others' from
    the edges. A key is for the algorithm of its curve, so that none passes for another.

    Raises:
        ValueError: It is no key set, too large, or has no key that will do.

    """
    if len(text) > JWKS_LENGTH_MAX:
        raise ValueError(f"longer than {JWKS_LENGTH_MAX} characters")
    try:
        listed = json.loads(text)["keys"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ValueError("not a JSON Web Key Set") from None
    if not isinstance(listed, list) or len(listed) > KEYS_MAX:
        raise ValueError(f"not a list of at most {KEYS_MAX} keys")
    keys = [key for one in listed if (key := _reduced(one)) is not None]
    if not keys:
        raise ValueError("has no public key for signatures that is good")
    keys.sort(key=lambda key: json.dumps(key, sort_keys=True))
    return json.dumps({"keys": keys}, sort_keys=True, separators=(",", ":"))


def has_secrets(text: str) -> bool:
    """Return whether a set that `reduced` takes has secret or private keys in it."""
    listed = json.loads(text)["keys"]
    return any(isinstance(key, dict) and ("d" in key or "k" in key) for key in listed)


def _reduced(key: Any) -> Mapping[str, str] | None:
    """Return a key as it is published, or None if it is none for us."""
    if not isinstance(key, dict) or key.get("use", "sig") != "sig":
        return None
    operations = key.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    kind = key.get("kty")
    members = _PUBLIC.get(kind) if isinstance(kind, str) else None
    # A private key that is published is nobody's any more.
    if members is None or "d" in key:
        return None
    made: dict[str, Any] = {name: key.get(name) for name in ("kty", *members)}
    if "kid" in key:
        made["kid"] = key["kid"]
    if not all(isinstance(value, str) for value in made.values()):
        return None
    algorithm = _OF_CURVE.get(str(made.get("crv"))) if kind != "RSA" else key.get("alg")
    fits = algorithm in _OF_RSA or algorithm is None if kind == "RSA" else algorithm is not None
    if not fits or key.get("alg", algorithm) != algorithm or not _is_sound(made):
        return None
    return {**made, "use": "sig", **({"alg": algorithm} if algorithm else {})}


def _is_sound(key: dict[str, Any]) -> bool:
    try:
        if key["kty"] == "RSA" and _bits(key["n"]) not in RSA_BITS:
            return False
        return JWKRegistry.import_key(dict(key)).public_key is not None
    except (JoseError, ValueError, TypeError, KeyError):
        return False


def _bits(text: str) -> int:
    number = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    return int.from_bytes(number).bit_length()
