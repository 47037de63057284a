"""
How the claims of somebody else's tokens become an identity of the mesh.

The edge verifies the token, and sends along in `x-aerofusion-issuer`, which only it writes, how
its issuer's claims are to be read: services need no list of issuers, and can't have an old one.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from meshkit.errors import Unauthenticated


ISSUER_HEADER: Final = "x-aerofusion-issuer"
SESSION: Final = "cookie"
"""As `ClaimMapping.header`: the token stands in a browser's session, and the edge keeps it."""

SUBJECT_PREFIXES: Final = frozenset({"passengers/", "services/", "devices/"})
"""What subjects of other issuers begin with; operators come from the mesh alone."""

NEVER: Final = "operator"
"""The role that no other issuer gives, whatever it is said to give."""

FOREIGN_ROLES_MAX: Final = 16

_ID: Final = re.compile(r"[A-Za-z0-9._~-]{1,100}")
_TENANT: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """Who a token of another issuer is for."""

    subject: str
    tenant: str
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimMapping:
    """How the tokens of one issuer are read. Names of claims are those at the top level."""

    name: str
    """`issuers/{issuer}`."""

    header: str = ""
    """Where the token stands; empty: `authorization`, after `Bearer `; `SESSION`: it doesn't come."""

    subject_claim: str = "sub"
    subject_prefix: str = "passengers/"
    tenant_claim: str = ""
    """Empty: all have `tenant`."""

    tenant: str = ""
    roles_claim: str = ""
    """A claim with a list; empty: all have `roles`."""

    roles: tuple[str, ...] = ()
    """Those it gives, or gives at most."""

    def encode(self) -> str:
        """Return it as the header's value; the same text for the same mapping."""
        values = [
            *(self.name, self.header, self.subject_claim, self.subject_prefix),
            *(self.tenant_claim, self.tenant, self.roles_claim, list(self.roles)),
        ]
        text = json.dumps(values, separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(text).decode().rstrip("=")

    @classmethod
    def decode(cls, value: str) -> ClaimMapping:
        """
        Return the mapping in a header's *value*.

        Raises:
            Unauthenticated: ISSUER_UNREADABLE.

        """
        try:
            padded = value + "=" * (-len(value) % 4)
            values = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
            *texts, roles = values
            fits = len(texts) == 7 and all(isinstance(one, str) for one in (*texts, *roles))
        except (binascii.Error, ValueError, TypeError, RecursionError):
            fits, texts, roles = False, [], []
        if not fits or texts[3] not in SUBJECT_PREFIXES or NEVER in roles:
            raise Unauthenticated("ISSUER_UNREADABLE", "The token's issuer can't be told.")
        name, header, subject, prefix, tenant_claim, tenant, roles_claim = texts
        return cls(
            name=name,
            header=header,
            subject_claim=subject,
            subject_prefix=prefix,
            tenant_claim=tenant_claim,
            tenant=tenant,
            roles_claim=roles_claim,
            roles=tuple(roles),
        )

    def apply(self, payload: Mapping[str, Any]) -> Mapped:
        """
        Return whom a verified *payload* is for.

        Raises:
            Unauthenticated: TOKEN_CLAIMS_INVALID.

        """
        own = payload.get(self.subject_claim)
        if not isinstance(own, str) or not _ID.fullmatch(own):
            raise invalid_claim(self.subject_claim)
        tenant = payload.get(self.tenant_claim) if self.tenant_claim else self.tenant
        if not isinstance(tenant, str) or not _TENANT.fullmatch(tenant):
            raise invalid_claim(self.tenant_claim or "tenant")
        return Mapped(
            subject=f"{self.subject_prefix}{own}", tenant=tenant, roles=self._roles(payload)
        )

    def _roles(self, payload: Mapping[str, Any]) -> tuple[str, ...]:
        if not self.roles_claim:
            return self.roles
        given = payload.get(self.roles_claim)
        if not isinstance(given, list):
            raise invalid_claim(self.roles_claim)
        found = tuple(role for role in self.roles if role in given and role != NEVER)
        if not found:
            raise invalid_claim(self.roles_claim)
        return found


def invalid_claim(claim: str) -> Unauthenticated:
    """Return the error for a claim that is missing or wrong."""
    return Unauthenticated(
        "TOKEN_CLAIMS_INVALID", f"The token's {claim} is missing or wrong.", claim=claim
    )
