"""Answers and errors in Prometheus's envelope, with its statuses."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import structlog
from aiohttp import web

from meshkit.errors import (
    InvalidInput,
    MeshError,
    Overloaded,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)
from telemetry.http import encode, guard
from telemetry.promql.errors import QUERY_FAILED, QUERY_TIMED_OUT, QUERY_TOO_LARGE


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = structlog.get_logger()

_COMPRESSED_FROM_BYTES = 32 * 1024
_EXECUTION = frozenset({QUERY_FAILED, QUERY_TOO_LARGE, "QUERY_TOO_EXPENSIVE"})
"""Reasons that Prometheus calls errors of execution."""

TRUNCATED = "results truncated due to limit"


def data(value: Any, warnings: Sequence[str] = ()) -> web.Response:
    """Return *value* in the envelope of success."""
    return raw(encode.success(encode.compact(value), warnings))


def listed(found: Sequence[Any], limit: int) -> web.Response:
    """Return at most *limit* of *found*, all if it is 0, and say where some are missing."""
    if 0 < limit < len(found):
        return data(found[:limit], [TRUNCATED])
    return data(found)


def raw(text: str, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    """Return JSON."""
    response = web.Response(text=text, status=status, content_type="application/json")
    if len(text) >= _COMPRESSED_FROM_BYTES:
        response.enable_compression()
    return response


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let in who may ask, and answer errors in Prometheus's form."""
    if request.path in request.app.get(guard.SELF_GUARDED, ()):
        return await handler(request)
    try:
        guard.check(request)
        return await handler(request)
    except MeshError as error:
        status, kind = _status(error)
        response = raw(encode.failure(kind, str(error)), status)
        if isinstance(error, (Overloaded, Unavailable)):
            response.headers["Retry-After"] = f"{error.retry_after.total_seconds():.0f}"
        return response
    except web.HTTPException as error:
        kind = "not_found" if error.status == HTTPStatus.NOT_FOUND else "bad_data"
        response = raw(encode.failure(kind, error.reason), HTTPStatus(error.status))
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response
    except Exception:
        log.exception("query failed", path=request.path)
        return raw(encode.failure("internal", "internal error"), HTTPStatus.INTERNAL_SERVER_ERROR)


def _status(error: MeshError) -> tuple[HTTPStatus, str]:
    match error:
        case Unauthenticated():
            return HTTPStatus.UNAUTHORIZED, "bad_data"
        case PermissionDenied():
            return HTTPStatus.FORBIDDEN, "bad_data"
        case Unavailable() if error.reason == QUERY_TIMED_OUT:
            return HTTPStatus.SERVICE_UNAVAILABLE, "timeout"
        case Overloaded():
            return HTTPStatus.TOO_MANY_REQUESTS, "unavailable"
        case Unavailable():
            return HTTPStatus.SERVICE_UNAVAILABLE, "unavailable"
        case InvalidInput() if error.reason in _EXECUTION:
            return HTTPStatus.UNPROCESSABLE_ENTITY, "execution"
        case _:
            return HTTPStatus.BAD_REQUEST, "bad_data"
