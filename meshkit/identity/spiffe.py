"""
SPIFFE ids, and reading them from certificates.

A certificate names a workload only if it has exactly one URI and one DNS name
that say the same. Proxies differ in what they accept (Envoy's SPIFFE validator
takes a certificate with two URIs), so each service checks for itself.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Self

from cryptography import x509

from meshkit.errors import InvalidInput, Unauthenticated


TRUST_DOMAIN: Final = "aerofusion"
SPIFFE_ID_LENGTH_MAX: Final = 160

_SERVICE = re.compile(r"[a-z](?:[a-z0-9-]{0,30}[a-z0-9])?")
_REPLICA = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?")
_CERTIFICATES_REMEMBERED: Final = 1_024


@dataclass(frozen=True, slots=True)
class SpiffeId:
    """
    The name of one process: `spiffe://aerofusion/<service>/<replica>`.

    Raises:
        InvalidInput: SPIFFE_ID_INVALID, if either part is not a lower-case name
            (service at most 32 characters, replica at most 63).

    """

    service: str
    replica: str = "0"

    def __post_init__(self) -> None:
        if not _SERVICE.fullmatch(self.service) or not _REPLICA.fullmatch(self.replica):
            raise _invalid(f"{self.service}/{self.replica}")

    @classmethod
    def parse(cls, uri: str) -> Self:
        """
        Read an id; only the exact form that `str` gives back is accepted.

        Raises:
            InvalidInput: SPIFFE_ID_INVALID.

        """
        prefix = f"spiffe://{TRUST_DOMAIN}/"
        parts = uri[len(prefix) :].split("/")
        if len(uri) > SPIFFE_ID_LENGTH_MAX or not uri.startswith(prefix) or len(parts) != 2:
            raise _invalid(uri)
        return cls(*parts)

    @property
    def dns_name(self) -> str:
        """The name clients verify: the same for all replicas of a service."""
        return dns_name(self.service)

    def __str__(self) -> str:
        return f"spiffe://{TRUST_DOMAIN}/{self.service}/{self.replica}"


def dns_name(service: str) -> str:
    """Return the DNS name in the certificates of *service*."""
    return f"{service}.{TRUST_DOMAIN}"


def certificate_spiffe_id(certificate: x509.Certificate) -> SpiffeId:
    """
    Return whom *certificate* names. Its signature and validity are not checked here.

    Raises:
        Unauthenticated: PEER_IDENTITY_INVALID, unless it has exactly one URI and
            one DNS name, of one and the same workload, and no other name.

    """
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError) as error:
        raise _unproven("the certificate has no readable alternative names") from error
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    hosts = names.get_values_for_type(x509.DNSName)
    if len(uris) != 1 or len(hosts) != 1 or len(list(names)) != 2:
        raise _unproven("the certificate must name exactly one URI and one DNS name")
    try:
        spiffe_id = SpiffeId.parse(uris[0])
    except InvalidInput as error:
        raise _unproven("the certificate's URI is no workload of this trust domain") from error
    if hosts[0] != spiffe_id.dns_name:
        raise _unproven("the certificate's DNS name and URI disagree")
    return spiffe_id


def peer_spiffe_id(auth_context: Mapping[str, Iterable[bytes]]) -> SpiffeId:
    """
    Return who is at the other end of a gRPC connection.

    Args:
        auth_context: What `context.auth_context()` gives; TLS has verified the
            certificate in it.

    Raises:
        Unauthenticated: PEER_IDENTITY_INVALID, also for a peer without a certificate.

    """
    certificates = list(auth_context.get("x509_pem_cert", ()))
    if len(certificates) != 1:
        raise _unproven("the peer has shown no certificate")
    return _pem_spiffe_id(certificates[0])


@functools.lru_cache(maxsize=_CERTIFICATES_REMEMBERED)
def _pem_spiffe_id(pem: bytes) -> SpiffeId:
    try:
        certificate = x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise _unproven("the peer's certificate cannot be read") from error
    return certificate_spiffe_id(certificate)


def _invalid(text: str) -> InvalidInput:
    shown = text[:SPIFFE_ID_LENGTH_MAX]
    return InvalidInput(
        "SPIFFE_ID_INVALID",
        f"{shown!r} is not of the form spiffe://{TRUST_DOMAIN}/<service>/<replica>.",
        spiffe_id=shown,
    )


def _unproven(why: str) -> Unauthenticated:
    return Unauthenticated("PEER_IDENTITY_INVALID", f"The caller is not known: {why}.")
