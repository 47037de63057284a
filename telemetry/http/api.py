"""The handlers of `/api/v1`: parameters in, queries out, Prometheus's JSON and statuses."""

from __future__ import annotations

import asyncio
import re
import time
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING

import structlog
from aiohttp import web
from multidict import MultiDict

from meshkit.errors import (
    InvalidInput,
    MeshError,
    Overloaded,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)
from telemetry.http import encode, formats, guard
from telemetry.promql.errors import (
    QUERY_FAILED,
    QUERY_INVALID,
    QUERY_TIMED_OUT,
    QUERY_TOO_LARGE,
)
from telemetry.promql.parse import parse
from telemetry.promql.printing import pretty


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from telemetry.promql.engine import Answer
    from telemetry.query.queries import Queries

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = structlog.get_logger()

BODY_BYTES_MAX = 1024 * 1024
VERSION = "3.0.0"
"""The version of Prometheus whose API this is; Grafana chooses its requests by it."""

_POINTS_AT_ONCE = 5_000
"""An answer of more points is encoded on another thread."""

_COMPRESSED_FROM_BYTES = 32 * 1024
_KINDS = {"updown": "gauge"}
_EXECUTION = frozenset({QUERY_FAILED, QUERY_TOO_LARGE, "QUERY_TOO_EXPENSIVE"})
"""Reasons that Prometheus calls errors of execution."""

_DIGITS = re.compile(r"\d{1,9}", re.ASCII)


def bad_parameter(name: str, why: str) -> InvalidInput:
    """Return the error of a parameter that is missing or can't be read."""
    return InvalidInput(
        "INVALID_PARAMETER", f'invalid parameter "{name}": {why}', field_violations={name: why}
    )


def make_app(queries: Queries) -> web.Application:
    """Return the application; whoever mounts it serves mutual TLS or a Unix socket."""
    api = Api(queries)
    app = web.Application(client_max_size=BODY_BYTES_MAX, middlewares=[_answer_errors])
    for path, handler in (
        ("query", api.query),
        ("query_range", api.query_range),
        ("series", api.series),
        ("labels", api.labels),
        ("format_query", api.format_query),
    ):
        app.router.add_get(f"/api/v1/{path}", handler)
        app.router.add_post(f"/api/v1/{path}", handler)
    app.router.add_get("/api/v1/label/{name}/values", api.label_values)
    app.router.add_get("/api/v1/metadata", api.metadata)
    app.router.add_get("/api/v1/status/buildinfo", api.build_info)
    return app


class Api:
    """The handlers. Parameters come in the query string, in a form, or in both."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    async def query(self, request: web.Request) -> web.Response:
        given = await _parameters(request)
        at_ms = _time(given, "time", time.time_ns() // 1_000_000)
        limit = _limit(given)
        timeout, lookback = _length(given, "timeout"), _length(given, "lookback_delta")
        with _Naming("query"):
            answer = await self._queries.instant(
                given.get("query", ""), at_ms, lookback=lookback, timeout=timeout
            )
        return await _answered(answer, at_ms, limit)

    async def query_range(self, request: web.Request) -> web.Response:
        given = await _parameters(request)
        start_ms, end_ms = _time(given, "start"), _time(given, "end")
        if end_ms < start_ms:
            raise bad_parameter("end", "end timestamp must not be before start time")
        step_ms = _duration(given, "step")
        if step_ms <= 0:
            raise bad_parameter(
                "step",
                "zero or negative query resolution step widths are not accepted. "
                "Try a positive integer",
            )
        if (end_ms - start_ms) // step_ms >= self._queries.limits.query.steps_max:
            raise InvalidInput(
                "TOO_MANY_STEPS",
                f"exceeded maximum resolution of {self._queries.limits.query.steps_max:,} points "
                "per timeseries. Try decreasing the query resolution (?step=XX)",
            )
        limit = _limit(given)
        timeout, lookback = _length(given, "timeout"), _length(given, "lookback_delta")
        with _Naming("query"):
            answer = await self._queries.range(
                given.get("query", ""),
                (start_ms, end_ms, step_ms),
                lookback=lookback,
                timeout=timeout,
            )
        return await _answered(answer, end_ms, limit)

    async def series(self, request: web.Request) -> web.Response:
        given = await _parameters(request)
        selectors = given.getall("match[]", [])
        if not selectors:
            raise InvalidInput("INVALID_PARAMETER", "no match[] parameter provided")
        _check_range(given)
        with _Naming("match[]"):
            found = await self._queries.series(selectors)
        return _listed([dict(labels) for labels in found], _limit(given))

    async def labels(self, request: web.Request) -> web.Response:
        given = await _parameters(request)
        _check_range(given)
        with _Naming("match[]"):
            found = await self._queries.label_names(given.getall("match[]", []))
        return _listed(found, _limit(given))

    async def label_values(self, request: web.Request) -> web.Response:
        given = await _parameters(request)
        _check_range(given)
        name = formats.label_name(request.match_info["name"])
        with _Naming("match[]"):
            found = await self._queries.label_values(name, given.getall("match[]", []))
        return _listed(found, _limit(given))

    async def metadata(self, request: web.Request) -> web.Response:
        given = await _parameters(request)
        limit = _limit(given)
        families = await self._queries.metric_families(given.get("metric", ""))
        shown = {
            family.name: [
                {
                    "type": _KINDS.get(family.kind, family.kind),
                    "help": family.description,
                    "unit": family.unit,
                }
            ]
            for family in families[: limit or None]
        }
        return _json(encode.success(encode.compact(shown)))

    async def format_query(self, request: web.Request) -> web.Response:
        given = await _parameters(request)
        with _Naming("query"):
            text = pretty(parse(given.get("query", ""), self._queries.limits.query))
        return _json(encode.success(encode.compact(text)))

    async def build_info(self, _request: web.Request) -> web.Response:
        info = {
            "version": VERSION,
            "revision": "",
            "branch": "",
            "buildUser": "",
            "buildDate": "",
            "goVersion": "",
        }
        return _json(encode.success(encode.compact(info)))


class _Naming:
    """Says which parameter it was, where a query's text can't be read."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, InvalidInput) and error.reason == QUERY_INVALID:
            raise bad_parameter(self._name, str(error)) from error


async def _parameters(request: web.Request) -> MultiDict[str]:
    """Return the form's parameters, and behind them the query string's."""
    given: MultiDict[str] = MultiDict()
    if request.method == "POST":
        form = await request.post()
        given.extend([(name, value) for name, value in form.items() if isinstance(value, str)])
    given.extend(request.query)
    return given


def _time(given: MultiDict[str], name: str, default: int | None = None) -> int:
    text = given.get(name, "")
    if not text and default is not None:
        return default
    try:
        return formats.time_ms(text)
    except ValueError as error:
        raise bad_parameter(name, str(error)) from error


def _duration(given: MultiDict[str], name: str) -> int:
    try:
        return formats.duration_ms(given.get(name, ""))
    except ValueError as error:
        raise bad_parameter(name, str(error)) from error


def _length(given: MultiDict[str], name: str) -> timedelta | None:
    if not given.get(name):
        return None
    length = timedelta(milliseconds=_duration(given, name))
    if length <= timedelta(0):
        raise bad_parameter(name, "must be longer than 0")
    return length


def _limit(given: MultiDict[str]) -> int:
    text = given.get("limit", "")
    if not text:
        return 0
    if not _DIGITS.fullmatch(text):
        raise bad_parameter("limit", "limit must be a non-negative number")
    return int(text)


def _check_range(given: MultiDict[str]) -> None:
    """Read `start` and `end`, which choose nothing: series are listed whenever they were seen."""
    start_ms, end_ms = _time(given, "start", 0), _time(given, "end", 1 << 52)
    if end_ms < start_ms:
        raise bad_parameter("end", "end timestamp must not be before start timestamp")


async def _answered(answer: Answer, at_ms: int, limit: int) -> web.Response:
    if sum(one.ts.size for one in answer.series) > _POINTS_AT_ONCE:
        return _json(await asyncio.to_thread(encode.answer, answer, at_ms, limit))
    return _json(encode.answer(answer, at_ms, limit))


def _listed(found: list[str] | list[dict[str, str]], limit: int) -> web.Response:
    if 0 < limit < len(found):
        shown = encode.compact(found[:limit])
        return _json(encode.success(shown, ["results truncated due to limit"]))
    return _json(encode.success(encode.compact(found)))


def _json(text: str, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    response = web.Response(text=text, status=status, content_type="application/json")
    if len(text) >= _COMPRESSED_FROM_BYTES:
        response.enable_compression()
    return response


@web.middleware
async def _answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let in who may ask, and answer errors in Prometheus's form."""
    if request.path in request.app.get(guard.SELF_GUARDED, ()):
        return await handler(request)
    try:
        guard.check(request)
        return await handler(request)
    except MeshError as error:
        status, kind = _status(error)
        response = _json(encode.failure(kind, str(error)), status)
        if isinstance(error, (Overloaded, Unavailable)):
            response.headers["Retry-After"] = f"{error.retry_after.total_seconds():.0f}"
        return response
    except web.HTTPException as error:
        kind = "not_found" if error.status == HTTPStatus.NOT_FOUND else "bad_data"
        response = _json(encode.failure(kind, error.reason), HTTPStatus(error.status))
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response
    except Exception:
        log.exception("query failed", path=request.path)
        return _json(encode.failure("internal", "internal error"), HTTPStatus.INTERNAL_SERVER_ERROR)


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
