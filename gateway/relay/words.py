"""What the session is told and what it decides: the protocol's words, without their envelopes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Item:
    """A named resource in a version; *body* is the serialised `Resource` around it."""

    name: str
    version: str
    body: bytes = field(default=b"", repr=False, compare=False)
    ends: bool = field(default=False, compare=False)
    """It has a time to live: Envoy drops it unless the gateway keeps it alive."""
    beat: bool = field(default=False, compare=False)
    """Its time begins anew; its content isn't sent again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A delta request, without its node."""

    type_url: str
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    held: Mapping[str, str] = field(default_factory=dict)
    """On the first request of a type: name to version of what Envoy has already."""
    nonce: str = ""
    error: bytes = b""
    """A serialised `google.rpc.Status`, if Envoy refuses the response."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A delta response."""

    type_url: str
    nonce: str
    version: str = ""
    items: tuple[Item, ...] = ()
    removed: tuple[str, ...] = ()
    problems: tuple[tuple[str, bytes], ...] = ()
    """Names of which there is nothing, each with a serialised `ResourceError` that says why."""


@dataclass(frozen=True, slots=True)
class ToEnvoy:
    """Send this response to Envoy."""

    answer: Answer


@dataclass(frozen=True, slots=True)
class ToGateway:
    """Send this request to the gateway."""

    ask: Ask


@dataclass(frozen=True, slots=True)
class Keep:
    """Envoy has acknowledged this: put it on the shelf."""

    type_url: str
    items: tuple[Item, ...]
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KeepOnly:
    """Of this type Envoy holds exactly these names, and the gateway agrees: drop others."""

    type_url: str
    names: frozenset[str]


Action = ToEnvoy | ToGateway | Keep | KeepOnly
Table = Mapping[str, Mapping[str, Item]]
"""Items by type and name."""
