"""
What a user's token says, checked again behind the edge.

Envoy has verified signature, issuer, audience and expiry, and forwards the payload
as `x-aerofusion-claims` beside the token itself. It doesn't look at `typ`, lets
unknown `crit` headers pass, and takes tokens without `kid` and `iat`; all that is
refused here. Only for calls whose mTLS peer is the edge: from anyone else the
header proves nothing.
"""

from __future__ import annotations

import base64
import binascii
import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from meshkit.errors import Unauthenticated


CLAIMS_HEADER: Final = "x-aerofusion-claims"
TOKEN_HEADER: Final = "authorization"  # noqa: S105 - the header's name

ISSUER: Final = "aerofusion"
AUDIENCE: Final = "aerofusion-mesh"
ALGORITHM: Final = "ES256"
ROLES: Final = frozenset({"passenger", "service", "operator", "device"})
ROLES_MAX: Final = 4
TENANTLESS: Final = ("services/", "operators/")
"""Beginnings of subjects that may go without a tenant, which means any."""

TOKEN_LENGTH_MAX: Final = 8_192
TOKENS_REMEMBERED: Final = 2_048
CLOCK_SKEW_S: Final = 60.0
"""How far clocks may disagree, both for `iat` and `exp`."""

SUBJECT: Final = re.compile(r"(?:passengers|services|operators|devices)/[A-Za-z0-9._~-]{1,100}")
TENANT: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """The claims of a token that passed every check."""

    subject: str
    tenant: str
    """"" means any, for services and operators."""
    roles: tuple[str, ...]
    token_id: str
    expires_at: float
    """Unix time in seconds."""
    issued_at: float = 0.0
    """Unix time in seconds."""
    not_before: float = 0.0
    """Unix time in seconds; 0 if the token doesn't say."""


def edge_claims(metadata: Mapping[str, str], now: float) -> Claims:
    """
    Return the claims that the edge forwarded in *metadata* (lower-case keys).

    Args:
        now: Unix time in seconds.

    Raises:
        Unauthenticated: TOKEN_MISSING, TOKEN_MALFORMED, TOKEN_HEADER_REFUSED,
            TOKEN_CLAIMS_MISMATCH, TOKEN_CLAIMS_INVALID or TOKEN_EXPIRED.

    """
    scheme, _, token = metadata.get(TOKEN_HEADER, "").partition(" ")
    forwarded = metadata.get(CLAIMS_HEADER, "")
    if scheme.lower() != "bearer" or not token or not forwarded:
        raise Unauthenticated("TOKEN_MISSING", "Send a token: `authorization: Bearer <token>`.")
    if len(token) > TOKEN_LENGTH_MAX:
        raise _malformed("it is too long")
    claims = _read(token, forwarded)
    for claim, at in (("iat", claims.issued_at), ("nbf", claims.not_before)):
        if at > now + CLOCK_SKEW_S:
            raise _invalid(claim)
    if claims.expires_at + CLOCK_SKEW_S <= now:
        raise Unauthenticated("TOKEN_EXPIRED", "The token has expired; ask for a new one.")
    return claims


@functools.lru_cache(maxsize=TOKENS_REMEMBERED)
def _read(token: str, forwarded: str) -> Claims:
    """All checks but those of time: the same bytes get the same answer, so it is remembered."""
    if token.count(".") != 2:
        raise _malformed("it is not three parts of base64url")
    header_part, payload_part, _ = token.split(".")
    _check_header(_json_object(header_part))
    if forwarded.rstrip("=") != payload_part:
        raise Unauthenticated(
            "TOKEN_CLAIMS_MISMATCH", "The claims that were verified are not those of the token."
        )
    return _checked_claims(_json_object(payload_part))


def _check_header(header: dict[str, Any]) -> None:
    key_id = header.get("kid")
    if header.get("typ") != "JWT":
        why = "typ must be JWT"
    elif header.get("alg") != ALGORITHM:
        why = f"alg must be {ALGORITHM}"
    elif "crit" in header:
        why = "no critical extension is known"
    elif not isinstance(key_id, str) or not key_id:
        why = "kid must name the key"
    else:
        return
    raise Unauthenticated("TOKEN_HEADER_REFUSED", f"The token's header is refused: {why}.")


def _checked_claims(payload: dict[str, Any]) -> Claims:
    subject, tenant, roles = payload.get("sub"), payload.get("tenant", ""), payload.get("roles")
    token_id = payload.get("jti")
    if payload.get("iss") != ISSUER or payload.get("aud") not in (AUDIENCE, [AUDIENCE]):
        raise _invalid("iss or aud")
    if not isinstance(subject, str) or not SUBJECT.fullmatch(subject):
        raise _invalid("sub")
    if not isinstance(tenant, str) or not is_tenant_of(subject, tenant):
        raise _invalid("tenant")
    if not isinstance(roles, list) or not 1 <= len(roles) <= ROLES_MAX:
        raise _invalid("roles")
    if not all(isinstance(role, str) and role in ROLES for role in roles):
        raise _invalid("roles")
    if not isinstance(token_id, str) or not 1 <= len(token_id) <= 64:
        raise _invalid("jti")
    return Claims(
        subject=subject,
        tenant=tenant,
        roles=tuple(roles),
        token_id=token_id,
        expires_at=_time(payload, "exp"),
        issued_at=_time(payload, "iat"),
        not_before=_time(payload, "nbf") if "nbf" in payload else 0.0,
    )


def is_tenant_of(subject: str, tenant: str) -> bool:
    """Whether a token for *subject* may be for *tenant* ("" means any)."""
    if tenant == "":
        return subject.startswith(TENANTLESS)
    return TENANT.fullmatch(tenant) is not None


def _time(payload: dict[str, Any], claim: str) -> float:
    value = payload.get(claim)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 2**40:
        raise _invalid(claim)  # NaN, which Python reads from JSON, is in no range.
    return float(value)


def _json_object(part: str) -> dict[str, Any]:
    try:
        raw = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
        value = json.loads(raw, object_pairs_hook=_without_repeats)
    except (ValueError, binascii.Error, RecursionError) as error:
        raise _malformed("a part of it is not JSON") from error
    if not isinstance(value, dict):
        raise _malformed("a part of it is no JSON object")
    return value


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a name given twice: two readers might take different ones."""
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name is given twice")
    return value


def _malformed(why: str) -> Unauthenticated:
    return Unauthenticated("TOKEN_MALFORMED", f"The token cannot be read: {why}.")


def _invalid(claim: str) -> Unauthenticated:
    return Unauthenticated(
        "TOKEN_CLAIMS_INVALID", f"The token's {claim} is missing or wrong.", claim=claim
    )
