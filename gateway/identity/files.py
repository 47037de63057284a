"""
The authority's secrets on disk: `<identity_dir>/authority/`, 0700, files 0600.

    root.pem      the root's private key and certificate, in one file so that one
                  rename makes both
    trusted.pem   optional: more roots to trust, while one replaces another
    seal.key      256 random bits; they encrypt what the database keeps of signing keys

Replicas of the gateway share this folder (a mounted secret). Blocking calls.
"""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.identity.authority import Authority
from meshkit.errors import FailedPrecondition
from meshkit.identity.folder import sync_folder, write_private


if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

SEAL_KEY_BYTES: Final = 32


def load_authority(folder: Path, *, now: datetime) -> Authority:
    """
    Return the authority kept in *folder*; the first call makes it.

    Raises:
        FailedPrecondition: AUTHORITY_UNUSABLE: unreadable, not a pair, or expired. It is
            never replaced silently: every identity of the mesh hangs on it.

    """
    path = folder / "root.pem"
    if not path.exists():
        made = Authority.create(now=now)
        certificate = made.certificate.public_bytes(serialization.Encoding.PEM)
        _create_once(path, made.key_pem + certificate)
    try:
        content = path.read_bytes()
        key = serialization.load_pem_private_key(content, password=None)
        certificate_of_root = x509.load_pem_x509_certificate(content)
        trusted = (folder / "trusted.pem").read_bytes() if _has_more(folder) else b""
        if trusted:
            x509.load_pem_x509_certificates(trusted)
    except (OSError, ValueError, TypeError) as error:
        raise _unusable(path, "it cannot be read") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise _unusable(path, "its key is no EC key")
    if key.public_key() != certificate_of_root.public_key():
        raise _unusable(path, "its key is not the certificate's")
    if certificate_of_root.not_valid_after_utc <= now:
        raise _unusable(path, "it has expired")
    own = certificate_of_root.public_bytes(serialization.Encoding.PEM)
    return Authority(key=key, certificate=certificate_of_root, bundle_pem=own + trusted)


def load_seal_key(folder: Path) -> bytes:
    """
    Return the key that seals secrets in the database; the first call makes it.

    Raises:
        FailedPrecondition: AUTHORITY_UNUSABLE.

    """
    path = folder / "seal.key"
    if not path.exists():
        _create_once(path, secrets.token_bytes(SEAL_KEY_BYTES))
    try:
        key = path.read_bytes()
    except OSError as error:
        raise _unusable(path, "it cannot be read") from error
    if len(key) != SEAL_KEY_BYTES:
        raise _unusable(path, f"it is not {SEAL_KEY_BYTES} bytes long")
    return key


def _has_more(folder: Path) -> bool:
    return (folder / "trusted.pem").exists()


def _create_once(path: Path, data: bytes) -> None:
    """Create *path* whole and durable, unless another replica was faster."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.new")
    scratch.unlink(missing_ok=True)
    write_private(scratch, data)
    try:
        path.hardlink_to(scratch)
    except FileExistsError:
        pass  # The other replica's is as good, and it may be in use already.
    finally:
        scratch.unlink()
    sync_folder(path.parent)


def _unusable(path: Path, why: str) -> FailedPrecondition:
    return FailedPrecondition(
        "AUTHORITY_UNUSABLE",
        f"{path} cannot be used: {why}. Restore it from a backup.",
        path=str(path),
    )
