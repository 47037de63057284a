"""Who may ask over HTTP: the certificate says who is there; a Unix socket is the operator's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from meshkit.errors import PermissionDenied
from meshkit.http import peer_of


if TYPE_CHECKING:
    from meshkit.identity import SpiffeId

ALLOWED = frozenset({"operator", "gateway"})
"""Services that may ask; people come as `operator`."""

SELF_GUARDED: web.AppKey[frozenset[str]] = web.AppKey("self_guarded", frozenset)
"""Paths of the application whose handlers check for themselves, and answer errors their own way."""


def check(request: web.Request) -> SpiffeId:
    """
    Return who asks.

    Raises:
        Unauthenticated: There is no certificate of ours.
        PermissionDenied: It is somebody who may not ask.

    """
    peer = peer_of(request)
    if peer.service not in ALLOWED:
        raise PermissionDenied(
            "CALLER_NOT_ALLOWED", "This caller may not query metrics.", service=peer.service
        )
    return peer
