"""
Hosts' certificates to what edges get by SDS.

Opened only here. A resource's version is made of what is sealed, never of a secret: a version is
shown to operators, and the hash of a poor password tells it to whoever can guess.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from gateway.compile.envoy_api import make
from gateway.xds.resources import Resource


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.model import Certificate

    Open = Callable[[str, str], str | None]
    """Opens what was sealed for an object; None: it can't be opened."""

_SECRET = "envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105  a type's name


def certificate_secret(certificate: Certificate, unseal: Open) -> Iterator[Resource]:
    """Yield a certificate with its key; its name is the certificate's. Nothing if it is sealed."""
    key = unseal(certificate.private_key_pem, certificate.name)
    if key is not None:
        pair = {
            "certificate_chain": {"inline_string": certificate.chain_pem},
            "private_key": {"inline_string": key},
        }
        sealed = f"{certificate.chain_pem}\n{certificate.private_key_pem}"
        yield _secret(certificate.name, sealed, tls_certificate=pair)


def _secret(name: str, sealed: str, **content: Any) -> Resource:
    value = make(_SECRET, name=name, **content).SerializeToString(deterministic=True)
    version = hashlib.sha256(f"{name}\n{sealed}".encode()).hexdigest()[:16]
    return Resource(name, version, value)
