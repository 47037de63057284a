"""TLS contexts of a workload for what doesn't speak gRPC: aiohttp, NATS, SMTP."""

from __future__ import annotations

import ssl
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshkit.identity.folder import write_private
from meshkit.identity.spiffe import dns_name


if TYPE_CHECKING:
    from meshkit.identity.material import KeyMaterial


class WorkloadContext(ssl.SSLContext):
    """
    A context that verifies peers by mesh name, wherever they were dialled.

    On a client's side `server_hostname` is always the expected service's name:
    what an address book calls the peer proves nothing.
    """

    expected_name: str | None = None

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:
        if self.expected_name is not None:
            options["server_hostname"] = self.expected_name
        return super().wrap_socket(*args, **options)

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        if self.expected_name is not None:
            args = args[:2]
            options = {
                **options,
                "server_side": False,
                "server_hostname": self.expected_name,
            }
        return super().wrap_bio(*args, **options)


def server_context(material: KeyMaterial) -> WorkloadContext:
    """Return a context that shows *material* and lets only certified peers in."""
    context = WorkloadContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    return _hardened(context, material)


def client_context(material: KeyMaterial, service: str) -> WorkloadContext:
    """Return a context that shows *material* and talks to *service* alone."""
    context = WorkloadContext(ssl.PROTOCOL_TLS_CLIENT)
    context.expected_name = dns_name(service)
    return _hardened(context, material)


def _hardened(context: WorkloadContext, material: KeyMaterial) -> WorkloadContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    load(context, material)
    return context


def load(context: ssl.SSLContext, material: KeyMaterial) -> None:
    """
    Let *context* use *material* from its next handshake on.

    Roots are added, never taken away: a context outlives one rotation of a root,
    a process that must forget a root is started again.
    """
    with tempfile.TemporaryDirectory() as folder:  # 0700; OpenSSL reads from files only
        key, chain = Path(folder) / "key.pem", Path(folder) / "cert.pem"
        write_private(key, material.key_pem)
        write_private(chain, material.chain_pem)
        context.load_cert_chain(chain, key)
    context.load_verify_locations(cadata=material.bundle_pem.decode())
