"""
The certificate authority: what it signs, and nothing about who may ask.

Pure: the clock is an argument, nothing is read or written. Two kinds of
certificates leave it:

    workload   one SPIFFE URI + one DNS name, both ways of TLS, 24 h
    public     names the outside world uses, server side only, no SPIFFE URI;
               so it never passes for a workload
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Self

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from meshkit.errors import InvalidInput
from meshkit.identity.spiffe import TRUST_DOMAIN, SpiffeId


LEAF_LIFETIME: Final = timedelta(hours=24)
ROOT_LIFETIME: Final = timedelta(days=3_650)
BACKDATE: Final = timedelta(minutes=5)
"""How far clocks may disagree before a new certificate looks not yet valid."""

REQUEST_BYTES_MAX: Final = 8_192
PUBLIC_NAMES_MAX: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A certificate that was signed."""

    chain_pem: bytes
    serial: str
    """Lower-case hexadecimal."""
    not_before: datetime
    not_after: datetime


@dataclass(frozen=True, slots=True)
class SigningRequest:
    """What a CSR asks for; its self-signature is verified."""

    public_key: ec.EllipticCurvePublicKey
    names: frozenset[str]
    """URIs, DNS names and IP addresses asked for, as text."""

    @classmethod
    def parse(cls, pem: bytes) -> Self:
        """
        Read a CSR.

        Raises:
            InvalidInput: SIGNING_REQUEST_INVALID, if it is too long, unreadable, not
                signed by its own key, or that key is not on the curve P-256.

        """
        if len(pem) > REQUEST_BYTES_MAX:
            raise _refused(f"it is longer than {REQUEST_BYTES_MAX} bytes")
        try:
            request = x509.load_pem_x509_csr(pem)
            signed = request.is_signature_valid
            key = request.public_key()
            names = _requested_names(request)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise _refused("it cannot be read") from error
        if not signed:
            raise _refused("its signature is not that of its key")
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
            raise _refused("its key is not on the curve P-256")
        return cls(key, names)

    @property
    def key_digest(self) -> bytes:
        """SHA-256 of the public key (its SubjectPublicKeyInfo)."""
        digest = hashes.Hash(hashes.SHA256())
        digest.update(
            self.public_key.public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
        return digest.finalize()


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """A root key that signs, and every root that is trusted (this one among them)."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    bundle_pem: bytes

    @classmethod
    def create(cls, *, now: datetime, trusted_before: bytes = b"") -> Self:
        """
        Make a new root.

        Args:
            now: The start of its validity, time zone included.
            trusted_before: Roots (PEM) that stay trusted beside it.

        """
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "AeroFusion Mesh"),
                x509.NameAttribute(NameOID.COMMON_NAME, f"{TRUST_DOMAIN} {now:%Y-%m-%d %H:%M:%S}"),
            ]
        )
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATE)
            .not_valid_after(now + ROOT_LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(identifier, critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier),
                critical=False,
            )
            .sign(key, hashes.SHA256())
        )
        own = certificate.public_bytes(serialization.Encoding.PEM)
        return cls(key=key, certificate=certificate, bundle_pem=own + trusted_before)

    @property
    def key_pem(self) -> bytes:
        """The root's private key, PKCS #8, unencrypted: for a file of its owner alone."""
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def issue_workload(
        self,
        request: SigningRequest,
        spiffe_id: SpiffeId,
        *,
        now: datetime,
        lifetime: timedelta = LEAF_LIFETIME,
    ) -> Issued:
        """
        Sign *request* as *spiffe_id*, whatever lifetime its asker dreams of.

        Raises:
            InvalidInput: SIGNING_REQUEST_INVALID, if it asks for other names.

        """
        names = {str(spiffe_id), spiffe_id.dns_name}
        if request.names and request.names != names:
            raise _refused(f"it asks for other names than those of {spiffe_id}")
        return self._issue(
            request.public_key,
            [
                x509.UniformResourceIdentifier(str(spiffe_id)),
                x509.DNSName(spiffe_id.dns_name),
            ],
            usages=[ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH],
            now=now,
            lifetime=lifetime,
        )

    def issue_public(
        self,
        request: SigningRequest,
        allowed: frozenset[str],
        *,
        now: datetime,
        lifetime: timedelta = LEAF_LIFETIME,
    ) -> Issued:
        """
        Sign *request* for the public names it asks for.

        Raises:
            InvalidInput: SIGNING_REQUEST_INVALID, if it asks for none, or for one
                that is not in *allowed*.

        """
        if not request.names or not request.names <= allowed:
            raise _refused("it asks for names that its workload was not granted")
        return self._issue(
            request.public_key,
            [_general_name(name) for name in sorted(request.names)],
            usages=[ExtendedKeyUsageOID.SERVER_AUTH],
            now=now,
            lifetime=lifetime,
        )

    def _issue(
        self,
        public_key: ec.EllipticCurvePublicKey,
        names: list[x509.GeneralName],
        *,
        usages: list[x509.ObjectIdentifier],
        now: datetime,
        lifetime: timedelta,
    ) -> Issued:
        serial = x509.random_serial_number()
        own = x509.SubjectKeyIdentifier.from_public_key(self.key.public_key())
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.certificate.subject)
            .public_key(public_key)
            .serial_number(serial)
            .not_valid_before(now - BACKDATE)
            .not_valid_after(min(now + lifetime, self.certificate.not_valid_after_utc))
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own), critical=False
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        return Issued(
            chain_pem=certificate.public_bytes(serialization.Encoding.PEM),
            serial=f"{serial:x}",
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
        )


def check_public_names(names: frozenset[str]) -> None:
    """
    Refuse names that a public certificate must not carry.

    Raises:
        InvalidInput: PUBLIC_NAME_INVALID: a name of the mesh's own, a URI, or too many.

    """
    if len(names) > PUBLIC_NAMES_MAX:
        raise InvalidInput(
            "PUBLIC_NAME_INVALID", f"At most {PUBLIC_NAMES_MAX} public names can be granted."
        )
    for name in names:
        own = name == TRUST_DOMAIN or name.endswith(f".{TRUST_DOMAIN}")
        try:
            general = _general_name(name)
        except ValueError:
            general = None
        if own or general is None or "://" in name or name != name.lower() or len(name) > 253:
            raise InvalidInput(
                "PUBLIC_NAME_INVALID",
                f"{name[:253]!r} is no public DNS name or IP address; "
                f"names under {TRUST_DOMAIN} belong to workloads.",
                name=name[:253],
            )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        labels = name.removeprefix("*.").split(".")
        if not all(label and label.replace("-", "a").isalnum() for label in labels):
            raise ValueError(f"{name!r} is no DNS name") from None
        return x509.DNSName(name)


def _requested_names(request: x509.CertificateSigningRequest) -> frozenset[str]:
    try:
        found = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    allowed = (x509.UniformResourceIdentifier, x509.DNSName, x509.IPAddress)
    if not all(isinstance(name, allowed) for name in found):
        raise ValueError("a kind of name that is never issued")
    return frozenset(str(name.value) for name in found)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _refused(why: str) -> InvalidInput:
    return InvalidInput("SIGNING_REQUEST_INVALID", f"The signing request is refused: {why}.")
