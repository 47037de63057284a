"""What there is: series, labels, metrics, exemplars."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshkit.errors import InvalidInput
from telemetry.http import formats, parameters, responses
from telemetry.http.parameters import Naming
from telemetry.promql.numbers import number
from telemetry.promql.parse import parse, selectors


if TYPE_CHECKING:
    from aiohttp import web

    from telemetry.query.queries import Queries

_KINDS = {"updown": "gauge"}


class Listings:
    """Lists. `start` and `end` choose nothing but exemplars: what was ever seen is listed."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    async def series(self, request: web.Request) -> web.Response:
        given = await parameters.read(request)
        chosen = given.getall("match[]", [])
        if not chosen:
            raise InvalidInput("INVALID_PARAMETER", "no match[] parameter provided")
        parameters.times(given)
        with Naming("match[]"):
            found = await self._queries.series(chosen)
        return responses.listed([dict(labels) for labels in found], parameters.limit(given))

    async def labels(self, request: web.Request) -> web.Response:
        given = await parameters.read(request)
        parameters.times(given)
        with Naming("match[]"):
            found = await self._queries.label_names(given.getall("match[]", []))
        return responses.listed(found, parameters.limit(given))

    async def label_values(self, request: web.Request) -> web.Response:
        given = await parameters.read(request)
        parameters.times(given)
        name = formats.label_name(request.match_info["name"])
        with Naming("match[]"):
            found = await self._queries.label_values(name, given.getall("match[]", []))
        return responses.listed(found, parameters.limit(given))

    async def metadata(self, request: web.Request) -> web.Response:
        given = await parameters.read(request)
        limit = parameters.limit(given)
        families = await self._queries.metric_families(given.get("metric", ""))
        return responses.data(
            {
                family.name: [
                    {
                        "type": _KINDS.get(family.kind, family.kind),
                        "help": family.description,
                        "unit": family.unit,
                    }
                ]
                for family in families[: limit or None]
            }
        )

    async def exemplars(self, request: web.Request) -> web.Response:
        given = await parameters.read(request)
        start_ms, end_ms = parameters.times(given)
        with Naming("query"):
            tree = parse(given.get("query", ""), self._queries.limits.query)
        found = await self._queries.exemplars(selectors(tree), start_ms, end_ms)
        return responses.data(
            [
                {
                    "seriesLabels": dict(one.labels),
                    "exemplars": [
                        {
                            "labels": dict(exemplar.labels),
                            "value": number(exemplar.value),
                            "timestamp": exemplar.ts_ms / 1000,
                        }
                        for exemplar in one.exemplars
                    ],
                }
                for one in found
            ]
        )
