"""Tokens as Envoy's jwt_authn reads and verifies them (RFC 7519, RFC 7515)."""

from __future__ import annotations

import base64
import binascii
import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry


MISSED = "Jwt is missing"
BAD_FORMAT = "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"
UNKNOWN_ISSUER = "Jwt issuer is not configured"
EXPIRED = "Jwt is expired"
NOT_YET = "Jwt not yet valid"
AUDIENCE = "Audiences in Jwt are not allowed"
FAILS = "Jwt verification fails"
NO_KEY = "Jwks doesn't have key to match kid or alg from Jwt"
OK = "OK"

_TOKEN = re.compile(r"[A-Za-z0-9_.\-]+")
_KINDS = ("ES", "HS", "RS", "PS")
_ALGORITHMS = frozenset(
    {"EdDSA", *(f"{kind}{bits}" for kind in _KINDS for bits in (256, 384, 512))}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token that could be read; nothing of it is verified yet."""

    header: Mapping[str, Any]
    payload: Mapping[str, Any]
    signed: bytes = b""
    signature: bytes = b""
    asserted: bool = False
    """Its claims are taken to be true: there is no text whose signature could be verified."""

    @property
    def issuer(self) -> str:
        return str(self.payload.get("iss", ""))

    @property
    def audiences(self) -> Sequence[str]:
        found = self.payload.get("aud", [])
        return [found] if isinstance(found, str) else found


def cut(value: str, start: int) -> str:
    """Return the token in a header's *value*, looked for from *start*."""
    found = _TOKEN.search(value, start)
    return found[0] if found else value


@functools.lru_cache(maxsize=1024)
def read(text: str) -> Token | str:
    """Return the token, or in Envoy's words why it can't be read."""
    parts = text.split(".")
    if len(parts) != 3 or not all(parts):
        return BAD_FORMAT
    header = _json_object(parts[0], "header")
    if isinstance(header, str):
        return header
    if not isinstance(header.get("alg"), str):
        return "Jwt header [alg] field is required and must be a string"
    if header["alg"] not in _ALGORITHMS:
        return "Jwt header [alg] is not supported"
    if not isinstance(header.get("kid", ""), str):
        return "Jwt header [kid] field is not a string"
    payload = _json_object(parts[1], "payload")
    if isinstance(payload, str):
        return payload
    unfit = _unfit(payload)
    if unfit:
        return unfit
    signature = _decoded(parts[2])
    if signature is None:
        return "Jwt signature is an invalid Base64url encoded"
    return Token(
        header=header,
        payload=payload,
        signed=f"{parts[0]}.{parts[1]}".encode(),
        signature=signature,
    )


def _unfit(payload: Mapping[str, Any]) -> str:
    """Return what is wrong with the types of the registered claims; "" for nothing."""
    for name in ("iss", "sub"):
        if not isinstance(payload.get(name, ""), str):
            return f"Jwt payload [{name}] field is not a string"
    for name in ("iat", "nbf", "exp"):
        if not _is_number(payload.get(name, 0)):
            return f"Jwt payload [{name}] field is not an integer"
        if payload.get(name, 0) < 0:
            return f"Jwt payload [{name}] field is not a positive 64 bit integer"
    if not isinstance(payload.get("jti", ""), str):
        return "Jwt payload [jti] field is not a string"
    audiences = payload.get("aud", [])
    if isinstance(audiences, str) or (
        isinstance(audiences, list) and all(isinstance(one, str) for one in audiences)
    ):
        return ""
    return "Jwt payload [aud] field is not a string or string list"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _json_object(part: str, of: str) -> dict[str, Any] | str:
    raw = _decoded(part)
    if raw is None:
        return f"Jwt {of} is an invalid Base64url encoded"
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        value = None
    return value if isinstance(value, dict) else f"Jwt {of} is an invalid JSON"


def _decoded(part: str) -> bytes | None:
    try:
        return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        return None


def times_fit(token: Token, now: float, *, skew_s: float) -> str:
    """Return OK, or why a token isn't good at *now*."""
    expiry, since = token.payload.get("exp", 0), token.payload.get("nbf", 0)
    if int(now) + skew_s < since:
        return NOT_YET
    return EXPIRED if expiry and int(now) > expiry + skew_s else OK


def verified(token: Token, jwks: str) -> str:
    """Return OK, or why none of the keys in *jwks* has signed the token."""
    if token.asserted:
        return OK
    tried = False
    for key in _keys(jwks):
        known = key.as_dict()
        kid, algorithm = token.header.get("kid"), token.header["alg"]
        if kid and known.get("kid") and kid != known["kid"]:
            continue
        if known.get("alg") and known["alg"] != algorithm:
            continue
        # Envoy tries a key that says no algorithm, even one of another kind.
        tried = True
        if not _fits(algorithm, known["kty"]):
            continue
        if JWSRegistry.algorithms[algorithm].verify(token.signed, token.signature, key):
            return OK
    return FAILS if tried else NO_KEY


def _fits(algorithm: str, key_type: str) -> bool:
    kinds = {"ES": "EC", "HS": "oct", "RS": "RSA", "PS": "RSA", "Ed": "OKP"}
    return kinds[algorithm[:2]] == key_type


@functools.lru_cache(maxsize=64)
def _keys(jwks: str) -> Sequence[Any]:
    try:
        return KeySet.import_key_set(json.loads(jwks)).keys
    except (ValueError, KeyError, TypeError, JoseError):
        return ()
