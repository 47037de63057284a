"""Pages of a list, as AIP-158 has them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass

from meshkit.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class PageToken:
    """Where to go on, and for which question. Opaque to clients, never an authorisation."""

    after: str
    """Sort key of the last item sent."""

    question: str
    """Hash of the other request fields; a mismatch is `INVALID_ARGUMENT`."""

    def encode(self) -> str:
        text = json.dumps([self.after, self.question], separators=(",", ":"))
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def question(*fields: object) -> str:
    """Return the hash of the request fields that a page token is bound to."""
    text = json.dumps([str(field) for field in fields])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def next_token(after: str, *fields: object) -> str:
    """Return the token of the page that begins behind *after*."""
    return PageToken(after, question(*fields)).encode()


def read_token(token: str, *fields: object) -> str:
    """
    Return the sort key to go on behind; "" for the first page.

    Raises:
        InvalidInput: *token* is not one of ours, or was made for other *fields*.

    """
    if not token:
        return ""
    try:
        padded = token + "=" * (-len(token) % 4)
        after, asked = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, TypeError):
        after, asked = None, None
    if not isinstance(after, str) or asked != question(*fields):
        raise InvalidInput(
            "INVALID_PAGE_TOKEN",
            "The page token does not belong to this request; start again without one.",
            field_violations={"page_token": "made for another request, or damaged"},
        )
    return after


def page_size(asked: int, *, default: int = 50, at_most: int = 500) -> int:
    """
    Return how many items a page holds: 0 means *default*, too large is lowered.

    Raises:
        InvalidInput: *asked* is negative.

    """
    if asked < 0:
        raise InvalidInput(
            "INVALID_PAGE_SIZE",
            "page_size must not be negative.",
            field_violations={"page_size": "must not be negative"},
        )
    return min(asked or default, at_most)
