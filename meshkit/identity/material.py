"""Keys, signing requests and certificates of one workload, checked to fit together."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from meshkit.errors import FailedPrecondition
from meshkit.identity.spiffe import SpiffeId, certificate_spiffe_id


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyMaterial:
    """
    What a process needs to prove who it is and to check who others are, as PEM.

    Made by `checked`, so the key belongs to the certificate, and one of the
    trusted roots signed it.
    """

    spiffe_id: SpiffeId
    key_pem: bytes
    """The private key (PKCS #8, EC P-256)."""
    chain_pem: bytes
    """The certificate, then the intermediates below the root, if any."""
    bundle_pem: bytes
    """The roots to trust; more than one while a root is being replaced."""
    not_before: datetime
    not_after: datetime

    @classmethod
    def checked(
        cls, *, key_pem: bytes, chain_pem: bytes, bundle_pem: bytes, expected: SpiffeId
    ) -> Self:
        """
        Join the three parts, or refuse them.

        Raises:
            FailedPrecondition: IDENTITY_UNUSABLE, if they are unreadable, don't
                belong together or name another workload than *expected*.

        """
        try:
            key = serialization.load_pem_private_key(key_pem, password=None)
            chain = x509.load_pem_x509_certificates(chain_pem)
            roots = x509.load_pem_x509_certificates(bundle_pem)
        except (ValueError, TypeError) as error:
            raise _unusable("it cannot be read") from error
        leaf = chain[0]
        if key.public_key() != leaf.public_key():
            raise _unusable("the key is not the certificate's")
        if not is_signed_by_any(chain[-1], roots):
            raise _unusable("no trusted root has signed the certificate")
        if certificate_spiffe_id(leaf) != expected:
            raise _unusable(f"it is not that of {expected}")
        return cls(
            spiffe_id=expected,
            key_pem=key_pem,
            chain_pem=chain_pem,
            bundle_pem=bundle_pem,
            not_before=leaf.not_valid_before_utc,
            not_after=leaf.not_valid_after_utc,
        )

    def trusted_by(self, bundle_pem: bytes) -> bool:
        """Whether one of the roots in *bundle_pem* has signed this identity."""
        chain = x509.load_pem_x509_certificates(self.chain_pem)
        try:
            roots = x509.load_pem_x509_certificates(bundle_pem)
        except ValueError:
            return False
        return is_signed_by_any(chain[-1], roots)


def is_signed_by_any(certificate: x509.Certificate, roots: list[x509.Certificate]) -> bool:
    """Whether one of *roots* issued *certificate* (names and signature agree)."""
    for root in roots:
        try:
            certificate.verify_directly_issued_by(root)
        except (ValueError, TypeError, InvalidSignature):
            continue
        return True
    return False


def new_key_pem() -> bytes:
    """Make a private key: EC P-256, PKCS #8, PEM, unencrypted."""
    return _key_pem(ec.generate_private_key(ec.SECP256R1()))


def throwaway_pair() -> tuple[bytes, bytes]:
    """Return a new key and a certificate signed by itself, PEM both: nobody trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nobody")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=3650))
        .sign(key, hashes.SHA256())
    )
    return _key_pem(key), certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def signing_request_pem(key_pem: bytes, names: list[x509.GeneralName]) -> bytes:
    """
    Ask for a certificate for the key in *key_pem* (a CSR as PEM).

    The issuer knows who asks and decides the names of a workload itself; *names*
    matter only for certificates shown to the public.
    """
    key = serialization.load_pem_private_key(key_pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("workload keys are EC keys")
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def workload_request_pem(key_pem: bytes, spiffe_id: SpiffeId) -> bytes:
    """Ask for the certificate of a workload."""
    return signing_request_pem(
        key_pem,
        [x509.UniformResourceIdentifier(str(spiffe_id)), x509.DNSName(spiffe_id.dns_name)],
    )


def _unusable(why: str) -> FailedPrecondition:
    return FailedPrecondition("IDENTITY_UNUSABLE", f"The identity cannot be used: {why}.")
