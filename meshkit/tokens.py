"""
What a user's token says, checked again behind the edge.

Envoy has verified signature, issuer, audience and expiry, and forwards the payload
as `x-aerofusion-claims` beside the token itself. It doesn't look at `typ`, lets
unknown `crit` headers pass, and takes tokens without `kid` and `iat`; all that is
refused here. Only for calls whose mTLS peer is the edge: from anyone else the
header proves nothing.

There are four kinds: the mesh's own tokens; API keys, which the edge keeps to
itself and of which only the payload comes; tokens of other issuers, with
`x-aerofusion-issuer` to say how they are read; and those of browsers that have
signed in, which the edge got from their issuer itself and keeps as it does keys.
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
from meshkit.issuers import ISSUER_HEADER, SESSION, ClaimMapping
from meshkit.issuers import invalid_claim as _invalid


CLAIMS_HEADER: Final = "x-aerofusion-claims"
TOKEN_HEADER: Final = "authorization"  # noqa: S105 - the header's name
TOKEN_ID_HEADER: Final = "x-aerofusion-token-id"  # noqa: S105 - the header's name
"""The `jti` of the token that was verified, for the edge's list of those revoked."""

KEY_HEADER: Final = "x-api-key"
KEY_PREFIX: Final = "afk_"
"""What the texts of API keys begin with, so that scanners find those that leak."""

ISSUER: Final = "aerofusion"
AUDIENCE: Final = "aerofusion-mesh"
MESH_ISSUER: Final = "issuers/mesh"
"""The mesh's own, as objects name them."""

KEY_ISSUER: Final = "aerofusion-keys"
KEY_AUDIENCE: Final = "aerofusion-keys"
"""An API key is no token and a token no key: neither passes for the other."""

ALGORITHM: Final = "ES256"
FOREIGN_ALGORITHMS: Final = frozenset(
    {"EdDSA", *(f"{kind}{bits}" for kind in ("ES", "RS", "PS") for bits in (256, 384, 512))}
)
"""Of other issuers: signatures that only the holder of a private key can make."""

FOREIGN_TYPES: Final = frozenset({"jwt", "at+jwt", "application/at+jwt"})
"""`typ` of tokens for access (RFC 9068), in lower case; a token for another purpose is none."""

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
    issuer: str = MESH_ISSUER
    """`issuers/{issuer}`."""


def edge_claims(metadata: Mapping[str, str], now: float) -> Claims:
    """
    Return the claims that the edge forwarded in *metadata* (lower-case keys).

    Args:
        now: Unix time in seconds.

    Raises:
        Unauthenticated: TOKEN_MISSING, TOKEN_MALFORMED, TOKEN_HEADER_REFUSED,
            TOKEN_CLAIMS_MISMATCH, TOKEN_CLAIMS_INVALID or TOKEN_EXPIRED.

    """
    forwarded = metadata.get(CLAIMS_HEADER, "")
    token, mapping = _token(metadata), metadata.get(ISSUER_HEADER, "")
    if not forwarded:
        raise _missing()
    if max(len(token), len(forwarded)) > TOKEN_LENGTH_MAX:
        raise _malformed("it is too long")
    claims = _read(token, forwarded, mapping)
    for claim, at in (("iat", claims.issued_at), ("nbf", claims.not_before)):
        if at > now + CLOCK_SKEW_S:
            raise _invalid(claim)
    if claims.expires_at + CLOCK_SKEW_S <= now:
        raise Unauthenticated("TOKEN_EXPIRED", "The token has expired; ask for a new one.")
    return claims


def _token(metadata: Mapping[str, str]) -> str:
    """Return the token that was verified; "" if it isn't there, as with API keys."""
    if ISSUER_HEADER in metadata:
        header = ClaimMapping.decode(metadata[ISSUER_HEADER]).header
        if header == SESSION:
            return ""
        if header and header != TOKEN_HEADER:
            return metadata.get(header, "")
    scheme, _, token = metadata.get(TOKEN_HEADER, "").partition(" ")
    return token if scheme.lower() == "bearer" else ""


@functools.lru_cache(maxsize=TOKENS_REMEMBERED)
def _read(token: str, forwarded: str, mapping: str) -> Claims:
    """All checks but those of time: the same bytes get the same answer, so it is remembered."""
    if not mapping:
        claimed = _json_object(forwarded.rstrip("="))
        if claimed.get("iss") == KEY_ISSUER:
            return _checked_claims(claimed, KEY_ISSUER, KEY_AUDIENCE)
    elif ClaimMapping.decode(mapping).header == SESSION:
        return _mapped_claims(_json_object(forwarded.rstrip("=")), ClaimMapping.decode(mapping))
    if not token:
        raise _missing()
    if token.count(".") != 2:
        raise _malformed("it is not three parts of base64url")
    header_part, payload_part, _ = token.split(".")
    _check_header(_json_object(header_part), foreign=bool(mapping))
    if forwarded.rstrip("=") != payload_part.rstrip("="):
        raise Unauthenticated(
            "TOKEN_CLAIMS_MISMATCH", "The claims that were verified are not those of the token."
        )
    payload = _json_object(payload_part)
    if mapping:
        return _mapped_claims(payload, ClaimMapping.decode(mapping))
    return _checked_claims(payload, ISSUER, AUDIENCE)


def _check_header(header: dict[str, Any], *, foreign: bool) -> None:
    key_id = header.get("kid")
    kind = header.get("typ", "JWT") if foreign else header.get("typ")
    if not (str(kind).lower() in FOREIGN_TYPES if foreign else kind == "JWT"):
        why = "typ must be JWT"
    elif header.get("alg") not in (FOREIGN_ALGORITHMS if foreign else {ALGORITHM}):
        why = "alg must be one of those taken" if foreign else f"alg must be {ALGORITHM}"
    elif "crit" in header:
        why = "no critical extension is known"
    elif not isinstance(key_id, str) or not key_id:
        why = "kid must name the key"
    else:
        return
    raise Unauthenticated("TOKEN_HEADER_REFUSED", f"The token's header is refused: {why}.")


def _checked_claims(payload: dict[str, Any], issuer: str, audience: str) -> Claims:
    subject, tenant, roles = payload.get("sub"), payload.get("tenant", ""), payload.get("roles")
    token_id = payload.get("jti")
    if payload.get("iss") != issuer or payload.get("aud") not in (audience, [audience]):
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


def _mapped_claims(payload: dict[str, Any], mapping: ClaimMapping) -> Claims:
    if payload.get("iss") in (ISSUER, KEY_ISSUER, None):
        raise _invalid("iss")
    mapped, token_id = mapping.apply(payload), payload.get("jti", "")
    return Claims(
        subject=mapped.subject,
        tenant=mapped.tenant,
        roles=mapped.roles,
        token_id=token_id if isinstance(token_id, str) else "",
        expires_at=_time(payload, "exp"),
        issued_at=_time(payload, "iat") if "iat" in payload else 0.0,
        not_before=_time(payload, "nbf") if "nbf" in payload else 0.0,
        issuer=mapping.name,
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


def _missing() -> Unauthenticated:
    return Unauthenticated("TOKEN_MISSING", "Send a token: `authorization: Bearer <token>`.")
