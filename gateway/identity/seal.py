"""
Secrets of the catalog at rest: sealed with the authority's `seal.key`.

AES-256-GCM with a random nonce; what a text belongs to is authenticated with it, so one object's
secret can't be moved to another. A sealed text says that it is one, and stands in the database as
it is; opened it is only in the memory of the gateway, and with the edges.
"""

from __future__ import annotations

import base64
import secrets
from typing import Final

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.identity.keyring import NONCE_BYTES
from meshkit.errors import FailedPrecondition


log = structlog.get_logger(__name__)

MARK: Final = "sealed.v1."


class Seal:
    """Seals and opens texts. Pure but for the nonce's chance."""

    def __init__(self, key: bytes) -> None:
        """*key* is the authority's `seal.key`, 32 bytes."""
        self._aead = AESGCM(key)

    def __repr__(self) -> str:
        return "Seal(...)"

    def seal(self, text: str, belongs_to: str) -> str:
        """Return *text* sealed; *belongs_to* is needed to open it."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = nonce + self._aead.encrypt(nonce, text.encode(), belongs_to.encode())
        return MARK + base64.b64encode(sealed).decode()

    def open(self, sealed: str, belongs_to: str) -> str:
        """
        Return the text that was sealed.

        Raises:
            FailedPrecondition: SECRET_SEALED: by another key, for something else, or damaged.

        """
        try:
            raw = base64.b64decode(sealed.removeprefix(MARK), validate=True)
            opened = self._aead.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], belongs_to.encode())
        except (InvalidTag, ValueError) as error:
            raise FailedPrecondition(
                "SECRET_SEALED",
                f"The secret of {belongs_to} was sealed with another seal.key; restore that file,"
                " or give the secret again.",
                name=belongs_to,
            ) from error
        return opened.decode()

    def opened(self, sealed: str, belongs_to: str) -> str | None:
        """Return the text that was sealed; None, and a line in the log, if it can't be opened."""
        try:
            return self.open(sealed, belongs_to)
        except FailedPrecondition as error:
            log.error("secret_sealed", name=belongs_to, error=str(error))  # noqa: TRY400 - told
            return None


def is_sealed(text: str) -> bool:
    """Return whether *text* is sealed already."""
    return text.startswith(MARK)
