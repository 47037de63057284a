"""The discovery protocol's envelopes, to and from the session's types; contents stay bytes."""

from __future__ import annotations

from typing import Any, Final

from gateway.compile.envoy_api import make, message_class
from gateway.relay.session import Answer, Ask, Item


_REQUEST: Final = "envoy.service.discovery.v3.DeltaDiscoveryRequest"
_RESPONSE: Final = "envoy.service.discovery.v3.DeltaDiscoveryResponse"
_RESOURCE: Final = "envoy.service.discovery.v3.Resource"
_STATUS: Final = "google.rpc.Status"


def parse_ask(data: bytes) -> tuple[Ask, bytes]:
    """Read a request of Envoy's: what it asks, and its node (serialised, "" if it names none)."""
    message = message_class(_REQUEST).FromString(data)
    ask = Ask(
        type_url=message.type_url,
        subscribe=tuple(message.resource_names_subscribe),
        unsubscribe=tuple(message.resource_names_unsubscribe),
        held=dict(message.initial_resource_versions),
        nonce=message.response_nonce,
        error=_error(message),
    )
    node = message.node.SerializeToString() if message.HasField("node") else b""
    return ask, node


def serialise_ask(ask: Ask, node: bytes = b"") -> bytes:
    """Write a request to the gateway; *node* goes with the first of a stream."""
    message = make(
        _REQUEST,
        type_url=ask.type_url,
        resource_names_subscribe=ask.subscribe,
        resource_names_unsubscribe=ask.unsubscribe,
        initial_resource_versions=dict(ask.held),
        response_nonce=ask.nonce,
    )
    if node:
        message.node.MergeFromString(node)
    if ask.error:
        message.error_detail.MergeFromString(ask.error)
    data: bytes = message.SerializeToString()
    return data


def parse_answer(data: bytes) -> Answer:
    """Read a response. Raises DecodeError."""
    message = message_class(_RESPONSE).FromString(data)
    return Answer(
        type_url=message.type_url,
        nonce=message.nonce,
        version=message.system_version_info,
        items=tuple(
            Item(
                resource.name,
                resource.version,
                resource.SerializeToString(),
                ends=resource.HasField("ttl"),
                beat=resource.HasField("ttl") and not resource.HasField("resource"),
            )
            for resource in message.resources
        ),
        removed=tuple(message.removed_resources),
        problems=tuple(
            (one.resource_name.name, one.SerializeToString()) for one in message.resource_errors
        ),
    )


def serialise_answer(answer: Answer) -> bytes:
    """Write a response to Envoy, or a pack of the shelf."""
    message = make(
        _RESPONSE,
        type_url=answer.type_url,
        nonce=answer.nonce,
        system_version_info=answer.version,
        removed_resources=answer.removed,
    )
    for item in answer.items:
        message.resources.add().MergeFromString(item.body)
    for _, problem in answer.problems:
        message.resource_errors.add().MergeFromString(problem)
    data: bytes = message.SerializeToString()
    return data


def item_of(name: str, version: str, content: Any) -> Item:
    """Return *content*, a message, as a resource."""
    resource = make(_RESOURCE, name=name, version=version)
    resource.resource.Pack(content, deterministic=True)
    return Item(name, version, resource.SerializeToString())


def _error(message: Any) -> bytes:
    if not message.HasField("error_detail"):
        return b""
    # A status without code or text would be no bytes at all, which means "no error" here.
    detail: bytes = message.error_detail.SerializeToString()
    return detail or bytes(make(_STATUS, code=2).SerializeToString())
