"""The protocol's messages, to and from what the subscriptions take and give."""

from __future__ import annotations

import dataclasses
import functools
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from gateway.compile.envoy_api import make
from gateway.xds.resources import Absence
from gateway.xds.subscription import Push, Request


if TYPE_CHECKING:
    from collections.abc import Iterable


DISCOVERY: Final = "envoy.service.discovery.v3"
BODIES_REMEMBERED: Final = 16
"""Responses kept as bytes. Many streams are told the same at about the same time."""

_CODES: Final = {Absence.NOT_FOUND: 5, Absence.DENIED: 7, Absence.WITHHELD: 9}
"""google.rpc.Code: NOT_FOUND, PERMISSION_DENIED, FAILED_PRECONDITION."""


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
    body = _delta_body(dataclasses.replace(push, nonce=""))
    return body + _bytes(make(f"{DISCOVERY}.DeltaDiscoveryResponse", nonce=push.nonce))


def write_sotw(push: Push) -> bytes:
    """Return *push* as a serialised DiscoveryResponse."""
    body = _sotw_body(dataclasses.replace(push, nonce=""))
    return body + _bytes(make(f"{DISCOVERY}.DiscoveryResponse", nonce=push.nonce))


@functools.lru_cache(maxsize=BODIES_REMEMBERED)
def _delta_body(push: Push) -> bytes:
    type_url = push.kind.type_url
    message = make(
        f"{DISCOVERY}.DeltaDiscoveryResponse",
        type_url=type_url,
        system_version_info=push.version,
        removed_resources=push.removals,
    )
    for item in push.upserts:
        made = message.resources.add(name=item.name, version=item.version)
        made.resource.type_url, made.resource.value = type_url, item.value
        if item.ttl:
            made.ttl.FromTimedelta(timedelta(seconds=item.ttl))
    for item in push.beats:
        made = message.resources.add(name=item.name, version=item.version)
        made.ttl.FromTimedelta(timedelta(seconds=item.ttl))
    _add_problems(message, push.problems)
    return _bytes(message)


@functools.lru_cache(maxsize=BODIES_REMEMBERED)
def _sotw_body(push: Push) -> bytes:
    type_url = push.kind.type_url
    message = make(f"{DISCOVERY}.DiscoveryResponse", type_url=type_url, version_info=push.version)
    for item in push.upserts:
        message.resources.add(type_url=type_url, value=item.value)
    _add_problems(message, push.problems)
    return _bytes(message)


def _add_problems(message: Any, problems: Iterable[tuple[str, Absence]]) -> None:
    """Say what isn't there, and why, for clients that know this field (gRFC A88)."""
    for name, why in problems:
        made = message.resource_errors.add()
        made.resource_name.name = name
        made.error_detail.code, made.error_detail.message = _CODES[why], why.value


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
