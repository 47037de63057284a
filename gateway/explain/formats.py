"""Envoy's format strings, where they write headers that limits count by."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from gateway.explain.exchange import Exchange

_COMMAND = re.compile(r"%([A-Z_]+)(?:\(([^)]*)\))?%")


def formatted(exchange: Exchange, text: str) -> str:
    """
    Return *text* with its commands replaced; what is absent is empty.

    A command that isn't known here stays, in brackets: nothing we emit matches on it.
    """
    return _COMMAND.sub(lambda found: _value(exchange, found[0], found[1], found[2] or ""), text)


def _value(exchange: Exchange, whole: str, command: str, argument: str) -> str:
    if command == "REQ":
        return exchange.headers.get(argument.lower()) or ""
    if command == "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT":
        return exchange.call.remote_address
    if command == "DOWNSTREAM_PEER_URI_SAN":
        return ",".join(exchange.call.client_uris)
    if command == "DOWNSTREAM_PEER_DNS_SAN":
        return ",".join(exchange.call.client_names)
    if command == "PATH" and argument == "NQ:PATH":
        return exchange.headers.path.partition("?")[0]
    if command == "ROUTE_NAME":
        return exchange.found.name
    if command == "DYNAMIC_METADATA":
        found: Any = exchange.metadata
        for key in argument.split(":"):
            found = found.get(key) if isinstance(found, dict) else None
        return _text(found)
    return f"({whole})"


def _text(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, separators=(",", ":"))
