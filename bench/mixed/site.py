"""A host of the edge, with certificates of an authority of its own, and who calls it."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import ssl
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


DOMAIN: Final = "site.example"
PAUSE_S: Final = 0.1
ANSWER_WITHIN_S: Final = 10.0


class Site:
    """Issues certificates for `DOMAIN`, and calls it at the edge."""

    def __init__(self) -> None:
        self.calls = 0
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench")])
        self._root = self._signed(self._name, self._key.public_key(), authority=True)

    def issue(self) -> tuple[str, str]:
        """Return a new certificate and its key, in PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = self._signed(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, DOMAIN)]),
            key.public_key(),
            authority=False,
        )
        key_pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return _pem(leaf), key_pem.decode()

    async def call(
        self, port: int, failures: collections.Counter[str], stop: asyncio.Event
    ) -> None:
        """Call it until *stop*, each time on a new connection; what fails is counted in *failures*."""
        context = ssl.create_default_context(cadata=_pem(self._root))
        while not stop.is_set():
            try:
                async with asyncio.timeout(ANSWER_WITHIN_S):
                    status = await _get(port, context)
            except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
                status = f"{type(error).__name__} {error}"
            if status != "200":
                failures[f"site: {status}"] += 1
            self.calls += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PAUSE_S):
                    await stop.wait()

    def _signed(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, authority: bool
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if not authority:
            names = x509.SubjectAlternativeName([x509.DNSName(DOMAIN)])
            made = made.add_extension(names, critical=False)
        return made.sign(self._key, hashes.SHA256())


async def _get(port: int, context: ssl.SSLContext) -> str:
    """Ask once, on a connection of its own; returns the HTTP status."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname=DOMAIN
    )
    try:
        writer.write(f"GET / HTTP/1.1\r\nhost: {DOMAIN}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        return head.split(b" ")[1].decode()
    finally:
        writer.transport.abort()


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
