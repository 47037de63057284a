"""
What comes in over HTTP: OTLP (protobuf and JSON), and Prometheus's remote write 1.0 and 2.0.

Statuses are the protocols' own. OTLP: 400 is for good; 429 and 503 are to be sent again, after
`Retry-After`; what is refused in part is told in a 200. Remote write: 4xx is for good, 429 and
5xx are sent again; what is refused in part is told in a 400, with what was written in headers.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import web

from meshkit import status
from meshkit.errors import (
    InvalidInput,
    MeshError,
    Overloaded,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)
from meshkit.http import peer_of
from telemetry.http.guard import SELF_GUARDED
from telemetry.intake.answers import ANSWERS
from telemetry.intake.encodings import is_block, too_large, unpacked
from telemetry.intake.otlp_json import from_json, to_json
from telemetry.intake.tenants import TENANT_HEADER, tenant_of
from telemetry.scan.shapes import Signal


if TYPE_CHECKING:
    from collections.abc import Collection

    from google.protobuf.message import Message

    from telemetry.intake.intake import Accepted, Intake

PROTOBUF, JSON = "application/x-protobuf", "application/json"
REMOTE_WRITE = "/api/v1/write"
PATHS = {
    "/v1/metrics": Signal.METRICS,
    "/v1/logs": Signal.LOGS,
    "/v1/traces": Signal.TRACES,
    "/api/v1/otlp/v1/metrics": Signal.METRICS,
}
"""OTLP's paths; the last is where Prometheus has it."""

_MESSAGES = {
    "prometheus.WriteRequest": Signal.REMOTE_WRITE,
    "io.prometheus.write.v2.Request": Signal.REMOTE_WRITE_2,
}
_ON_THREAD_FROM = 64 * 1024
_STATUSES: tuple[tuple[type[MeshError], HTTPStatus], ...] = (
    (Unauthenticated, HTTPStatus.UNAUTHORIZED),
    (PermissionDenied, HTTPStatus.FORBIDDEN),
    (Overloaded, HTTPStatus.TOO_MANY_REQUESTS),
    (Unavailable, HTTPStatus.SERVICE_UNAVAILABLE),
)
_OF_REASONS = {
    "BODY_TOO_LARGE": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "UNKNOWN_ENCODING": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "UNKNOWN_CONTENT": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
}


class HttpIntake:
    """
    The handlers.

    Args:
        senders: Services that may send.
        body_bytes_max: Largest body, as it comes and as it is unpacked.

    """

    def __init__(self, intake: Intake, *, senders: Collection[str], body_bytes_max: int) -> None:
        self._intake = intake
        self._senders = senders
        self._bytes_max = body_bytes_max

    def serve(self, app: web.Application) -> None:
        """Add the paths to *app*."""
        app[SELF_GUARDED] = frozenset({*PATHS, REMOTE_WRITE})
        for path in PATHS:
            app.router.add_post(path, self.otlp)
        app.router.add_post(REMOTE_WRITE, self.remote_write)

    async def otlp(self, request: web.Request) -> web.Response:
        """Take a request of OTLP/HTTP."""
        signal = PATHS[request.path]
        as_json = request.content_type == JSON
        try:
            self._check(request)
            if not as_json and request.content_type != PROTOBUF:
                raise InvalidInput("UNKNOWN_CONTENT", f"Send {PROTOBUF} or {JSON}.")
            _, body = await self._body(request, "")
            if as_json:
                body = await asyncio.to_thread(from_json, signal, body)
            accepted = await self._intake.accept(signal, body, _tenant(request))
        except MeshError as error:
            answer = _encoded(status.to_status(error), as_json=as_json)
            _tell(answer, error)
            return answer
        return _encoded(ANSWERS[signal](accepted), as_json=as_json)

    async def remote_write(self, request: web.Request) -> web.Response:
        """Take a request of Prometheus's remote write."""
        try:
            self._check(request)
            signal = _message(request)
            block, body = await self._body(request, "snappy")
            accepted = await self._intake.accept(signal, body, _tenant(request), block)
        except MeshError as error:
            refused = web.Response(text=f"{error.reason}: {error}\n")
            _tell(refused, error)
            return refused
        answer = web.Response(status=HTTPStatus.NO_CONTENT)
        if accepted.refused:
            answer = web.Response(status=HTTPStatus.BAD_REQUEST, text=f"{accepted.message}\n")
        if signal is Signal.REMOTE_WRITE_2:
            _tell_written(answer, accepted)
        return answer

    def _check(self, request: web.Request) -> None:
        peer = peer_of(request)
        if peer.service not in self._senders:
            raise PermissionDenied(
                "CALLER_NOT_ALLOWED", "This caller may not send telemetry.", service=peer.service
            )

    async def _body(self, request: web.Request, encoding: str) -> tuple[bytes | None, bytes]:
        """Return the body of *request* as a block of snappy, if it came as one, and as it is without."""
        encoding = request.headers.get("Content-Encoding", encoding)
        parts = []
        size = 0
        async for part in request.content.iter_any():
            size += len(part)
            if size > self._bytes_max:
                raise too_large(self._bytes_max)
            parts.append(part)
        body = b"".join(parts)
        if not encoding:
            return None, body
        block = body if is_block(encoding) else None
        if size < _ON_THREAD_FROM:
            return block, unpacked(body, encoding, self._bytes_max)
        return block, await asyncio.to_thread(unpacked, body, encoding, self._bytes_max)


def _tenant(request: web.Request) -> str:
    return tenant_of(request.headers.get(TENANT_HEADER, ""))


def _message(request: web.Request) -> Signal:
    """Return which version of remote write a request is; without a parameter it is 1.0."""
    _, _, parameters = request.headers.get("Content-Type", "").partition(";")
    proto = "prometheus.WriteRequest"
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "proto":
            proto = value.strip()
    if request.content_type != PROTOBUF or proto not in _MESSAGES:
        raise InvalidInput(
            "UNKNOWN_CONTENT", f"Send {PROTOBUF} with one of the messages {', '.join(_MESSAGES)}."
        )
    return _MESSAGES[proto]


def _tell_written(answer: web.Response, accepted: Accepted) -> None:
    written = accepted.written
    for kind in ("Samples", "Histograms", "Exemplars"):
        answer.headers[f"X-Prometheus-Remote-Write-{kind}-Written"] = str(written[kind.lower()])


def _encoded(message: Message, *, as_json: bool) -> web.Response:
    if as_json:
        return web.Response(body=to_json(message), content_type=JSON)
    return web.Response(body=message.SerializeToString(), content_type=PROTOBUF)


def _tell(answer: web.Response, error: MeshError) -> None:
    """Give *answer* the status of *error*, and when to come back."""
    found = next((code for kind, code in _STATUSES if isinstance(error, kind)), None)
    answer.set_status(found or _OF_REASONS.get(error.reason, HTTPStatus.BAD_REQUEST))
    if isinstance(error, Overloaded | Unavailable):
        seconds = max(1, round(error.retry_after.total_seconds()))
        answer.headers["Retry-After"] = str(seconds)
