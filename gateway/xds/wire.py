"""The protocol's messages, to and from what the subscriptions take and give."""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any, Final

from gateway.compile.envoy_api import make
from gateway.xds.subscription import Push, Request


if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.xds.resources import Resource

DISCOVERY: Final = "envoy.service.discovery.v3"
BODIES_REMEMBERED: Final = 16
"""Responses kept as bytes. Many streams are told the same at about the same time."""


def read_delta(message: Any) -> Request:
    """Return a DeltaDiscoveryRequest."""
    return Request(
        names=_shared(message.resource_names_subscribe),
        unsubscribe=_shared(message.resource_names_unsubscribe),
        held={
            sys.intern(name): sys.intern(version)
            for name, version in message.initial_resource_versions.items()
        },
        nonce=message.response_nonce,
        error=_error(message),
    )


def read_sotw(message: Any) -> Request:
    """Return a DiscoveryRequest."""
    return Request(
        names=_shared(message.resource_names), nonce=message.response_nonce, error=_error(message)
    )


def write_delta(push: Push) -> bytes:
    """
    Return *push* as a serialised DeltaDiscoveryResponse.

    Streams differ in the nonce alone, which goes last: messages one behind the other are one.
    """
    body = _delta_body(push.kind.type_url, push.version, push.upserts, push.removals)
    return body + _bytes(make(f"{DISCOVERY}.DeltaDiscoveryResponse", nonce=push.nonce))


def write_sotw(push: Push) -> bytes:
    """Return *push* as a serialised DiscoveryResponse."""
    body = _sotw_body(push.kind.type_url, push.version, push.upserts)
    return body + _bytes(make(f"{DISCOVERY}.DiscoveryResponse", nonce=push.nonce))


@functools.lru_cache(maxsize=BODIES_REMEMBERED)
def _delta_body(
    type_url: str, version: str, upserts: tuple[Resource, ...], removals: tuple[str, ...]
) -> bytes:
    message = make(
        f"{DISCOVERY}.DeltaDiscoveryResponse",
        type_url=type_url,
        system_version_info=version,
        removed_resources=removals,
    )
    for item in upserts:
        made = message.resources.add(name=item.name, version=item.version)
        made.resource.type_url, made.resource.value = type_url, item.value
    return _bytes(message)


@functools.lru_cache(maxsize=BODIES_REMEMBERED)
def _sotw_body(type_url: str, version: str, upserts: tuple[Resource, ...]) -> bytes:
    message = make(f"{DISCOVERY}.DiscoveryResponse", type_url=type_url, version_info=version)
    for item in upserts:
        message.resources.add(type_url=type_url, value=item.value)
    return _bytes(message)


def _bytes(message: Any) -> bytes:
    made: bytes = message.SerializeToString()
    return made


def _shared(names: Iterable[str]) -> tuple[str, ...]:
    """Return *names* so that equal ones of other streams are the same object in memory."""
    return tuple(sys.intern(name) for name in names)


def _error(message: Any) -> str:
    """Return why the client refuses: its presence tells, not its text."""
    if not message.HasField("error_detail"):
        return ""
    return message.error_detail.message or "no reason given"
