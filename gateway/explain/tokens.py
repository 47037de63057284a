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
BAD_HEADER = "Jwt header is an invalid Base64url encoded"
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
    if text.count(".") != 2:
        return BAD_FORMAT
    parts = text.split(".")
    header, payload = _json_object(parts[0]), _json_object(parts[1])
    if header is None:
        return BAD_HEADER
    if not isinstance(header.get("alg"), str) or header["alg"] not in _ALGORITHMS:
        return "Jwt header [alg] is not supported"
    if not isinstance(header.get("kid", ""), str):
        return "Jwt header [kid] field is not a string"
    if payload is None:
        return "Jwt payload is an invalid Base64url encoded"
    if not _fit(payload):
        return "Jwt payload has a field of another type"
    signature = _decoded(parts[2])
    if signature is None:
        return "Jwt signature is an invalid Base64url encoded"
    return Token(
        header=header,
        payload=payload,
        signed=f"{parts[0]}.{parts[1]}".encode(),
        signature=signature,
    )


def _fit(payload: Mapping[str, Any]) -> bool:
    audiences = payload.get("aud", [])
    return (
        all(isinstance(payload.get(name, ""), str) for name in ("iss", "sub", "jti"))
        and all(_is_time(payload.get(name, 0)) for name in ("iat", "nbf", "exp"))
        and (
            isinstance(audiences, str)
            or (isinstance(audiences, list) and all(isinstance(a, str) for a in audiences))
        )
    )


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _json_object(part: str) -> dict[str, Any] | None:
    raw = _decoded(part)
    try:
        value = json.loads(raw) if raw is not None else None
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _decoded(part: str) -> bytes | None:
    try:
        return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        return None


def times_fit(token: Token, now: float, *, skew_s: float, needs_expiry: bool) -> str:
    """Return OK, or why a token isn't good at *now*."""
    expiry, since = token.payload.get("exp"), token.payload.get("nbf", 0)
    if int(now) + skew_s < since:
        return NOT_YET
    if expiry is None:
        return "Jwt is missing the expiration claim" if needs_expiry else OK
    return EXPIRED if int(now) > expiry + skew_s else OK


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
        if not _fits(algorithm, known["kty"]):
            continue
        tried = True
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
