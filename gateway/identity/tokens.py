"""Tokens for the edge: which ones may be signed, and signing them (JWT, ES256)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from joserfc import jwt

from meshkit.errors import InvalidInput
from meshkit.tokens import ALGORITHM, AUDIENCE, ISSUER, ROLES, ROLES_MAX, SUBJECT, is_tenant_of


if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from joserfc.jwk import ECKey

LIFETIME_DEFAULT: Final = timedelta(hours=1)
LIFETIME_MIN: Final = timedelta(seconds=1)
LIFETIME_MAX: Final = timedelta(hours=24)

_KINDS: Final = {
    "passengers": frozenset({"passenger"}),
    "devices": frozenset({"device", "passenger"}),
    "services": frozenset({"service"}),
    "operators": frozenset({"operator"}),
}
"""What a subject may be at most: nobody becomes an operator by a slip of a role."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequest:
    """
    A token to be signed.

    Raises:
        InvalidInput: TOKEN_REQUEST_INVALID, with every field that is wrong.

    """

    subject: str
    tenant: str
    roles: tuple[str, ...]
    lifetime: timedelta = LIFETIME_DEFAULT

    def __post_init__(self) -> None:
        problems = dict(self._problems())
        if problems:
            raise InvalidInput(
                "TOKEN_REQUEST_INVALID",
                f"No such token can be signed: {', '.join(problems)}.",
                field_violations=problems,
            )

    def _problems(self) -> Iterable[tuple[str, str]]:
        if not SUBJECT.fullmatch(self.subject):
            yield "subject", "must be passengers/, services/, operators/ or devices/ and a name"
        if not is_tenant_of(self.subject, self.tenant):
            yield "tenant", "must be a lower-case name; empty only for services and operators"
        kind = self.subject.partition("/")[0]
        allowed = _KINDS.get(kind, ROLES)
        if not 1 <= len(self.roles) <= ROLES_MAX or len(set(self.roles)) != len(self.roles):
            yield "roles", f"must be 1 to {ROLES_MAX}, each once"
        elif not allowed.issuperset(self.roles):
            yield "roles", f"of {kind} must be among {', '.join(sorted(allowed))}"
        if not LIFETIME_MIN <= self.lifetime <= LIFETIME_MAX:
            yield "ttl", f"must be 1 s to {LIFETIME_MAX.total_seconds():.0f} s"


def sign(request: TokenRequest, *, token_id: str, key_id: str, key: ECKey, now: datetime) -> str:
    """Return the token for *request*, issued at *now* and signed with *key*."""
    issued = int(now.timestamp())
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": request.subject,
        "tenant": request.tenant,
        "roles": list(request.roles),
        "jti": token_id,
        "iat": issued,
        "exp": issued + int(request.lifetime.total_seconds()),
    }
    header = {"alg": ALGORITHM, "typ": "JWT", "kid": key_id}
    return jwt.encode(header, claims, key, algorithms=[ALGORITHM])
