"""Who may ask over HTTP: the certificate says who is there; a Unix socket is the operator's."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from cryptography import x509

from meshkit.errors import PermissionDenied, Unauthenticated
from meshkit.identity import SpiffeId
from meshkit.identity.spiffe import certificate_spiffe_id


if TYPE_CHECKING:
    from aiohttp import web

ALLOWED = frozenset({"operator", "gateway"})
"""Services that may ask; people come as `operator`."""


def check(request: web.Request) -> SpiffeId:
    """
    Return who asks.

    Raises:
        Unauthenticated: There is no certificate of ours.
        PermissionDenied: It is somebody who may not ask.

    """
    peer = _peer(request)
    if peer.service not in ALLOWED:
        raise PermissionDenied(
            "CALLER_NOT_ALLOWED", "This caller may not query metrics.", service=peer.service
        )
    return peer


def _peer(request: web.Request) -> SpiffeId:
    transport = request.transport
    if transport is None:
        raise Unauthenticated("PEER_IDENTITY_INVALID", "The connection is gone.")
    tls = transport.get_extra_info("ssl_object")
    if tls is not None:
        der = tls.getpeercert(binary_form=True)
        if der:
            return certificate_spiffe_id(x509.load_der_x509_certificate(der))
    else:
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family == socket.AF_UNIX:
            return SpiffeId("operator", "local")
    raise Unauthenticated("PEER_IDENTITY_INVALID", "The peer has shown no certificate.")
