"""What a host's certificate must be like: checked whole before any edge hears of it."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.validation.checks import PEM_LENGTH_MAX, Problems, refuse


if TYPE_CHECKING:
    from collections.abc import Sequence

CHAIN_MAX: Final = 10
RSA_BITS: Final = (2048, 4096)
"""Envoy takes no shorter keys; longer ones make each handshake an attack."""

CLOCK_SKEW: Final = timedelta(minutes=5)
"""How far in the future a certificate may begin."""

_CURVES: Final = ("secp256r1", "secp384r1")
_KEY = re.compile(
    r"-----BEGIN PRIVATE KEY-----\r?\n[A-Za-z0-9+/=\r\n]+-----END PRIVATE KEY-----\s*"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a chain says of itself."""

    domains: tuple[str, ...]
    """DNS names, lower case, as they stand in it."""

    expire_time: datetime
    """The first end of any certificate in it."""


def check_pair(chain_pem: str, private_key_pem: str, now: datetime) -> Facts:
    """
    Return what a certificate says, if an edge can use it with its key.

    Raises:
        InvalidInput: INVALID_OBJECT, with every problem; never with any of the key.

    """
    problems: Problems = {}
    chain = _chain(problems, chain_pem)
    facts = Facts(domains=(), expire_time=now)
    if chain:
        _check_links(problems, chain)
        _check_times(problems, chain, now)
        facts = Facts(
            domains=_domains(problems, chain[0]),
            expire_time=min(one.not_valid_after_utc for one in chain),
        )
    _check_key(problems, chain, private_key_pem)
    refuse(problems, "INVALID_OBJECT", "certificate")
    return facts


def covers(names: Sequence[str], domain: str) -> bool:
    """Return whether a certificate for *names* is good for *domain* (RFC 6125, 6.4.3)."""
    if domain in names:
        return True
    first, _, rest = domain.partition(".")
    return first != "*" and f"*.{rest}" in names


def _chain(problems: Problems, pem: str) -> list[x509.Certificate]:
    if len(pem) > PEM_LENGTH_MAX:
        problems["chain_pem"] = f"longer than {PEM_LENGTH_MAX} characters"
        return []
    if "PRIVATE KEY" in pem:
        problems["chain_pem"] = "holds a private key"
        return []
    try:
        chain = x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        problems["chain_pem"] = "no certificates in PEM"
        return []
    if len(chain) > CHAIN_MAX:
        problems["chain_pem"] = f"more than {CHAIN_MAX} certificates"
        return []
    return chain


def _check_links(problems: Problems, chain: Sequence[x509.Certificate]) -> None:
    """Each must have been signed by the next: an edge sends them as they are."""
    for number, (one, issuer) in enumerate(itertools.pairwise(chain)):
        try:
            one.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature):
            problems["chain_pem"] = f"certificate {number + 2} didn't sign certificate {number + 1}"
            return
    for extension in chain[0].extensions:
        value = extension.value
        if isinstance(value, x509.BasicConstraints) and value.ca:
            problems["chain_pem"] = "the first certificate is an authority's"
        if (
            isinstance(value, x509.ExtendedKeyUsage)
            and ExtendedKeyUsageOID.SERVER_AUTH not in value
            and ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE not in value
        ):
            problems["chain_pem"] = "the first certificate is not for servers"


def _check_times(problems: Problems, chain: Sequence[x509.Certificate], now: datetime) -> None:
    for number, one in enumerate(chain):
        if one.not_valid_after_utc <= now:
            ended = one.not_valid_after_utc.isoformat()
            problems["chain_pem"] = f"certificate {number + 1} ended at {ended}"
        elif one.not_valid_before_utc > now + CLOCK_SKEW:
            begins = one.not_valid_before_utc.isoformat()
            problems["chain_pem"] = f"certificate {number + 1} is good only from {begins}"


def _domains(problems: Problems, leaf: x509.Certificate) -> tuple[str, ...]:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        problems["chain_pem"] = "the first certificate names no domain"
        return ()
    found = tuple(sorted({name.lower() for name in names.get_values_for_type(x509.DNSName)}))
    if not found:
        problems["chain_pem"] = "the first certificate names no domain"
    return found


def _check_key(problems: Problems, chain: Sequence[x509.Certificate], pem: str) -> None:
    if not pem:
        problems["private_key_pem"] = "is required"
        return
    if len(pem) > PEM_LENGTH_MAX or not _KEY.fullmatch(pem.strip() + "\n"):
        problems["private_key_pem"] = "not one private key in PEM (PKCS #8, not encrypted)"
        return
    try:
        key = serialization.load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError):
        problems["private_key_pem"] = "not a private key"
        return
    least, most = RSA_BITS
    if isinstance(key, rsa.RSAPrivateKey):
        if not least <= key.key_size <= most:
            problems["private_key_pem"] = f"an RSA key must have {least} to {most} bits"
    elif not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in _CURVES:
        problems["private_key_pem"] = "must be an RSA key, or one on P-256 or P-384"
    if chain and key.public_key() != chain[0].public_key():
        problems["private_key_pem"] = "not the first certificate's"
