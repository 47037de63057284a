"""What Prometheus tells of itself, told of us."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from telemetry.http import formats, parameters, responses


if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp import web

    from telemetry.query.queries import Queries
    from telemetry.store.cardinality import Count

VERSION = "3.0.0"
"""The version of Prometheus whose API this is; Grafana chooses its requests by it."""

_TOP_DEFAULT, _TOP_MAX = 10, 10_000


class About:
    """Status pages."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries
        self._started = datetime.now(UTC)

    async def build_info(self, _request: web.Request) -> web.Response:
        empty = ("revision", "branch", "buildUser", "buildDate", "goVersion")
        return responses.data({"version": VERSION, **dict.fromkeys(empty, "")})

    async def runtime_info(self, _request: web.Request) -> web.Response:
        return responses.data(
            {
                "startTime": formats.rfc3339(self._started),
                "reloadConfigSuccess": True,
                "storageRetention": "90d",
            }
        )

    async def flags(self, _request: web.Request) -> web.Response:
        limits = self._queries.limits.query
        return responses.data(
            {
                "query.lookback-delta": "5m",
                "query.max-samples": str(limits.samples_max),
                "query.timeout": f"{limits.timeout.total_seconds():g}s",
                "query.max-concurrency": str(self._queries.limits.concurrent_max),
            }
        )

    async def cardinality(self, request: web.Request) -> web.Response:
        """Tell which metrics and labels there are most of: of the head, and of all ever seen."""
        given = await parameters.read(request)
        top = min(parameters.limit(given) or _TOP_DEFAULT, _TOP_MAX)
        found = await self._queries.cardinality(top)
        head = self._queries.head_extent()
        return responses.data(
            {
                "headStats": {
                    "numSeries": head.series,
                    "numLabelPairs": found.pairs,
                    "chunkCount": head.blocks,
                    "minTime": head.start_ms,
                    "maxTime": head.end_ms,
                },
                "seriesCountByMetricName": _counts(found.series_by_metric),
                "labelValueCountByLabelName": _counts(found.values_by_label),
                "memoryInBytesByLabelName": _counts(found.bytes_by_label),
                "seriesCountByLabelValuePair": _counts(found.series_by_pair),
            }
        )


def _counts(counts: Sequence[Count]) -> list[dict[str, str | int]]:
    return [{"name": one.name, "value": one.value} for one in counts]
