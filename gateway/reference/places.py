"""Where the reference is found: the service that stands for it in the catalog, and its paths."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final


if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.model import Service

SERVICE: Final = "services/reference"

ELEMENTS: Final = ("openapi", "openapi.json", "reference")
"""First elements of its paths: names that nothing else in the catalog may take."""

PAGE: Final = ({"path": "/reference"}, {"prefix": "/reference/"})
DOCUMENTS: Final = ({"path": "/openapi.json"}, {"prefix": "/openapi/"})
"""Matches as in Envoy's RouteMatch."""


def paths_of(service: Service | None) -> tuple[tuple[str, str], ...]:
    """Return the paths of *service* besides its gRPC services', each `exact` or as a `prefix`."""
    if service is None or service.name != SERVICE:
        return ()
    return tuple(one for match in (*PAGE, *DOCUMENTS) for one in _words(match))


def _words(match: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for kind, path in match.items():
        yield path, ("exact" if kind == "path" else "prefix")
