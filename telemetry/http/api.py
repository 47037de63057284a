"""The handlers of `/api/v1`: parameters in, queries out, Prometheus's JSON and statuses."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from aiohttp import web

from meshkit.errors import InvalidInput
from telemetry.http import encode, parameters, responses, trees
from telemetry.http.about import About
from telemetry.http.listings import Listings
from telemetry.http.parameters import Naming, bad_parameter
from telemetry.http.rules import RulesApi
from telemetry.promql.parse import parse
from telemetry.promql.printing import pretty


if TYPE_CHECKING:
    from telemetry.http.rules import Rules
    from telemetry.promql.engine import Answer
    from telemetry.query.queries import Queries

BODY_BYTES_MAX = 1024 * 1024

_POINTS_AT_ONCE = 5_000
"""An answer of more points is encoded on another thread."""


def make_app(queries: Queries, rules: Rules | None = None) -> web.Application:
    """
    Return the application; whoever mounts it serves mutual TLS or a Unix socket.

    Args:
        rules: What is evaluated regularly; None: nothing is.

    """
    api, listings = Api(queries), Listings(queries)
    about, ruling = About(queries), RulesApi(rules, queries.limits.query)
    app = web.Application(client_max_size=BODY_BYTES_MAX, middlewares=[responses.answer_errors])
    for path, handler in (
        ("query", api.query),
        ("query_range", api.query_range),
        ("query_exemplars", listings.exemplars),
        ("series", listings.series),
        ("labels", listings.labels),
        ("format_query", api.format_query),
        ("parse_query", api.parse_query),
    ):
        app.router.add_get(f"/api/v1/{path}", handler)
        app.router.add_post(f"/api/v1/{path}", handler)
    for path, read in (
        ("label/{name}/values", listings.label_values),
        ("metadata", listings.metadata),
        ("rules", ruling.rules),
        ("alerts", ruling.alerts),
        ("status/buildinfo", about.build_info),
        ("status/runtimeinfo", about.runtime_info),
        ("status/flags", about.flags),
        ("status/tsdb", about.cardinality),
    ):
        app.router.add_get(f"/api/v1/{path}", read)
    return app


class Api:
    """Queries. Parameters come in the query string, in a form, or in both."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    async def query(self, request: web.Request) -> web.Response:
        given = await parameters.read(request)
        at_ms = parameters.time(given, "time", time.time_ns() // 1_000_000)
        limit = parameters.limit(given)
        timeout = parameters.length(given, "timeout")
        lookback = parameters.length(given, "lookback_delta")
        with Naming("query"):
            answer = await self._queries.instant(
                given.get("query", ""), at_ms, lookback=lookback, timeout=timeout
            )
        return await _answered(answer, at_ms, limit, stats=bool(given.get("stats")))

    async def query_range(self, request: web.Request) -> web.Response:
        given = await parameters.read(request)
        start_ms, end_ms = parameters.time(given, "start"), parameters.time(given, "end")
        if end_ms < start_ms:
            raise bad_parameter("end", "end timestamp must not be before start time")
        step_ms = parameters.duration(given, "step")
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
        limit = parameters.limit(given)
        timeout = parameters.length(given, "timeout")
        lookback = parameters.length(given, "lookback_delta")
        with Naming("query"):
            answer = await self._queries.range(
                given.get("query", ""),
                (start_ms, end_ms, step_ms),
                lookback=lookback,
                timeout=timeout,
            )
        return await _answered(answer, end_ms, limit, stats=bool(given.get("stats")))

    async def format_query(self, request: web.Request) -> web.Response:
        given = await parameters.read(request)
        with Naming("query"):
            text = pretty(parse(given.get("query", ""), self._queries.limits.query))
        return responses.data(text)

    async def parse_query(self, request: web.Request) -> web.Response:
        given = await parameters.read(request)
        with Naming("query"):
            tree = parse(given.get("query", ""), self._queries.limits.query)
        return responses.data(trees.tree(tree))


async def _answered(answer: Answer, at_ms: int, limit: int, *, stats: bool) -> web.Response:
    if sum(one.ts.size for one in answer.series) > _POINTS_AT_ONCE:
        text = await asyncio.to_thread(encode.answer, answer, at_ms, limit, stats=stats)
        return responses.raw(text)
    return responses.raw(encode.answer(answer, at_ms, limit, stats=stats))
