"""Documents of the catalog as it is now: each made when somebody asks, and kept while it is true."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.reference.openapi import document, entry, index


if TYPE_CHECKING:
    from gateway.model import Catalog, Route, Service

KEPT_BYTES_MAX: Final = 32 * 1024 * 1024
"""Of all documents that are kept, plain and compressed."""


@dataclass(frozen=True, slots=True)
class Page:
    """Something that can be asked for."""

    plain: bytes
    compressed: bytes
    etag: str
    """Strong, of the plain form, with its quotes."""

    @classmethod
    def of(cls, plain: bytes) -> Page:
        digest = hashlib.sha256(plain).hexdigest()[:32]
        return cls(plain, gzip.compress(plain, 6, mtime=0), f'"{digest}"')


@dataclass(slots=True)
class _Kept:
    service: Service
    routes: Mapping[str, Route] | None
    page: Page


class Library:
    """
    The documents of the newest catalog.

    What a document is made of is compared by identity: a change makes new objects of what differs
    and shares the rest. They are made on another thread, one at a time.
    """

    def __init__(self, catalog: Callable[[], Catalog]) -> None:
        """*catalog* returns the newest."""
        self._catalog = catalog
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._bytes = 0
        self._entries: dict[str, tuple[Service, dict[str, Any]]] = {}
        self._index: tuple[Mapping[str, Service], Page] | None = None
        self._making = asyncio.Lock()

    async def index(self) -> Page:
        """Return the index."""
        async with self._making:
            services = self._catalog().services
            if self._index is None or self._index[0] is not services:
                offering = [one for _, one in sorted(services.items()) if one.grpc_services]
                page = await asyncio.to_thread(self._make_index, offering)
                self._index = (services, page)
            return self._index[1]

    async def document(self, service_id: str) -> Page | None:
        """Return the document of a service; None if no such service offers anything."""
        async with self._making:
            catalog = self._catalog()
            name = f"services/{service_id}"
            service, routes = catalog.services.get(name), catalog.routes.get(name)
            if service is None or not service.grpc_services:
                return None
            kept = self._kept.get(name)
            if kept is None or kept.service is not service or kept.routes is not routes:
                made = await asyncio.to_thread(_made, service, catalog.routes_of(name))
                kept = _Kept(service, routes, made)
                self._keep(name, kept)
            self._kept.move_to_end(name)
            return kept.page

    def _make_index(self, services: Sequence[Service]) -> Page:
        before, self._entries = self._entries, {}
        for service in services:
            known = before.get(service.name)
            same = known is not None and known[0] is service
            self._entries[service.name] = known if known and same else (service, entry(service))
        return _page(index([made for _, made in self._entries.values()]))

    def _keep(self, name: str, kept: _Kept) -> None:
        old = self._kept.pop(name, None)
        self._bytes += _size(kept) - (_size(old) if old else 0)
        self._kept[name] = kept
        while self._bytes > KEPT_BYTES_MAX and len(self._kept) > 1:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= _size(oldest)


def _made(service: Service, routes: Sequence[Route]) -> Page:
    return _page(document(service, routes))


def _page(content: Mapping[str, Any]) -> Page:
    return Page.of(json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode())


def _size(kept: _Kept) -> int:
    return len(kept.page.plain) + len(kept.page.compressed)
