"""
Serves the reference to the edges: the page's files, the index, and the documents.

Who may read is decided at the edge, as for every service (`services/reference`, ADR 0015). Here
it is made sure that it is an edge that asks.
"""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Final

from aiohttp import web

from gateway.reference.library import Page
from meshkit.errors import MeshError
from meshkit.http import peer_of


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.reference.library import Library

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

ALLOWED: Final = frozenset({"edge", "operator"})
"""Services that may ask."""

_FILES: Final = {
    "index.html": "text/html",
    "page.css": "text/css",
    "page.js": "text/javascript",
    "text.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_ALWAYS: Final = {
    "cache-control": "no-cache",
    "content-security-policy": _POLICY,
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "vary": "accept-encoding",
    "x-content-type-options": "nosniff",
}


def make_app(library: Library) -> web.Application:
    """Return the application; whoever mounts it serves mutual TLS."""
    app = web.Application(middlewares=[_guard])
    reference = Reference(library)
    app.router.add_get("/openapi.json", reference.index)
    app.router.add_get("/openapi/{service}.json", reference.document)
    app.router.add_get("/reference", _to_the_page)
    app.router.add_get("/reference/{file:[a-z.]*}", reference.file)
    return app


class Reference:
    """The handlers."""

    def __init__(self, library: Library) -> None:
        self._library = library
        folder = resources.files("gateway.reference") / "page"
        self._files = {name: Page.of((folder / name).read_bytes()) for name in _FILES}

    async def index(self, request: web.Request) -> web.Response:
        return _answer(request, await self._library.index(), "application/json", private=True)

    async def document(self, request: web.Request) -> web.Response:
        found = await self._library.document(request.match_info["service"])
        if found is None:
            raise web.HTTPNotFound(text="No such service is registered.")
        return _answer(request, found, "application/json", private=True)

    async def file(self, request: web.Request) -> web.Response:
        name = request.match_info["file"] or "index.html"
        found = self._files.get(name)
        if found is None:
            raise web.HTTPNotFound(text="There is no such page.")
        return _answer(request, found, _FILES[name])


def _answer(
    request: web.Request, page: Page, content_type: str, *, private: bool = False
) -> web.Response:
    """Return *page*, or that the caller has it; compressed if the caller can read that."""
    headers = dict(_ALWAYS)
    if private:
        headers |= {"cache-control": "private, no-cache", "vary": "accept-encoding, authorization"}
    squeezed = "gzip" in request.headers.get("accept-encoding", "")
    # A strong tag is of one form, to the byte (RFC 9110, 8.8.3).
    etag = f'{page.etag[:-1]}-gzip"' if squeezed else page.etag
    headers["etag"] = etag
    known = request.if_none_match or ()
    if any(one.value in (etag.strip('"'), "*") for one in known):
        return web.Response(status=304, headers=headers)
    if squeezed:
        headers["content-encoding"] = "gzip"
    body = page.compressed if squeezed else page.plain
    return web.Response(body=body, headers=headers, content_type=content_type, charset="utf-8")


async def _to_the_page(_request: web.Request) -> web.Response:
    raise web.HTTPPermanentRedirect("/reference/")


@web.middleware
async def _guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let edges in, and nobody else."""
    try:
        peer = peer_of(request)
    except MeshError:
        raise web.HTTPUnauthorized(text="Show a certificate of the mesh.") from None
    if peer.service not in ALLOWED:
        raise web.HTTPForbidden(text="The reference is read at the edge.")
    return await handler(request)
