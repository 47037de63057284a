"""What every source of endpoints is to the rest, and the table of them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Protocol

from gateway.model import Endpoint, Service


if TYPE_CHECKING:
    from gateway.sources.registry import Registry

Place = tuple[str, int]
"""An endpoint's address and port: what makes it the same one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """All that a source knows of a service at one instant."""

    endpoints: tuple[Endpoint, ...]
    left: frozenset[Place] = frozenset()
    """Those that have left by their own word: not to be kept, even if nothing else is there."""


Tell = Callable[[Found], None]
"""Takes what was found. Never blocks."""


class Source(Protocol):
    """One source, for all services that use it."""

    async def follow(self, service: Service, tell: Tell) -> None:
        """
        Tell where *service* is, and again whenever that differs, until cancelled.

        Says nothing as long as nothing is known: what was found last then stays. Faults of what it
        asks are its own to retry.
        """

    async def close(self) -> None:
        """Let go of its connections, once it follows nothing any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSettings:
    """What sources are told. Addresses are `host:port`."""

    dns_servers: tuple[str, ...] = ()
    """Empty: those of the machine."""

    dns_timeout: timedelta = timedelta(seconds=2)
    kubernetes_api: str = ""
    """URL of the API server. Empty: that of the cluster this runs in."""

    kubernetes_token_file: str = ""
    kubernetes_ca_file: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a source may need of the process."""

    settings: SourceSettings
    registry: Registry | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceKind:
    """A row of the table."""

    key: str
    """The field of `Discovery` that asks for it."""

    module: str
    """Has `make(parts) -> Source`. Loaded when the first service uses it, and not before."""

    remembered: bool
    """Whether what it found is kept in the database for the next start; else it has its own."""

    def make(self, parts: Parts) -> Source:
        """Return the source."""
        made: Source = importlib.import_module(self.module).make(parts)
        return made


SOURCES: Final = (
    SourceKind(key="dns", module="gateway.sources.dns", remembered=True),
    SourceKind(key="kubernetes", module="gateway.sources.kubernetes", remembered=True),
    SourceKind(key="registry", module="gateway.sources.registry", remembered=False),
)


def kind_of(service: Service) -> SourceKind | None:
    """Return the source that *service* asks for, if any."""
    return next((row for row in SOURCES if getattr(service.discovery, row.key) is not None), None)
