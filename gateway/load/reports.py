"""
The load reporting service (LRS): what requests each edge has given to which endpoints.

An edge is told which clusters to report: those of changes that no request has been served by yet,
and no others, since walking all of 10,000 would cost it more than it tells. It reports each second,
and only then is told anew: what it is told restarts its clock.

https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/load_stats/v3/lrs.proto
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import grpc
import structlog

from gateway.compile.envoy_api import make, message_class
from meshkit.authz import current_caller
from meshkit.errors import InvalidInput, Overloaded, Unavailable


if TYPE_CHECKING:
    from gateway.changes.receipts import Receipts

SERVICE: Final = "envoy.service.load_stats.v3.LoadReportingService"
METHOD: Final = f"/{SERVICE}/StreamLoadStats"
STREAMS_MAX: Final = 500
CLUSTERS_MAX: Final = 1_000
"""Clusters that one edge reports at once."""

INTERVAL: Final = timedelta(seconds=1)
SLACK: Final = timedelta(milliseconds=50)
"""By which a window may have begun earlier than it seems: a report takes time to come."""

FIRST_WITHIN_S: Final = 5.0

_REQUEST: Final = "envoy.service.load_stats.v3.LoadStatsRequest"
_RESPONSE: Final = "envoy.service.load_stats.v3.LoadStatsResponse"

log = structlog.get_logger()


class LoadReports:
    """Takes reports, and tells receipts which clusters have served requests."""

    def __init__(self, receipts: Receipts, *, stopping: asyncio.Event) -> None:
        self._receipts = receipts
        self._stopping = stopping
        self._streams = 0

    def register(self, server: grpc.aio.Server) -> None:
        """Serve on *server*."""
        handler: Any = grpc.stream_stream_rpc_method_handler(
            self._stream,
            request_deserializer=message_class(_REQUEST).FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )
        handlers = {METHOD.rpartition("/")[2]: handler}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))

    async def _stream(self, requests: AsyncIterator[Any], context: Any) -> None:
        if self._streams >= STREAMS_MAX:
            raise Overloaded(
                "TOO_MANY_LOAD_STREAMS", "As many edges report their load as this replica takes."
            )
        self._streams += 1
        stopper = asyncio.create_task(self._stopping.wait())
        try:
            async with asyncio.timeout(FIRST_WITHIN_S):
                first = await _next(requests, stopper)
            if first is None:
                raise InvalidInput(
                    "LOAD_REPORT_MISSING", "A stream of load reports begins with a node."
                )
            node = first.node.id
            log.info("load_opened", node=node, replica=current_caller().replica)
            named: dict[str, datetime] = {}
            await self._name(node, named, context, first=True)
            while (report := await _next(requests, stopper)) is not None:
                self._take(node, named, report)
                await self._name(node, named, context)
            if self._stopping.is_set():
                raise Unavailable("SHUTTING_DOWN", "This replica is stopping; connect again.")
        finally:
            self._streams -= 1
            stopper.cancel()

    async def _name(
        self, node: str, named: dict[str, datetime], context: Any, *, first: bool = False
    ) -> None:
        """Tell an edge what to report from now on, if that differs."""
        wanted = set(sorted(self._receipts.unserved(node))[:CLUSTERS_MAX])
        if wanted == named.keys() and not first:
            return
        now = datetime.now(UTC)
        for name in named.keys() - wanted:
            del named[name]
        for name in wanted - named.keys():
            named[name] = now
        await context.write(
            make(
                _RESPONSE,
                clusters=sorted(wanted),
                load_reporting_interval=INTERVAL,
                report_endpoint_granularity=False,
            )
        )

    def _take(self, node: str, named: dict[str, datetime], report: Any) -> None:
        now = datetime.now(UTC)
        for stats in report.cluster_stats:
            began = named.get(stats.cluster_name)
            issued = sum(one.total_issued_requests for one in stats.upstream_locality_stats)
            if began is None or not issued:
                continue
            # A window begins when the cluster was named, or else where the one before ended.
            interval = stats.load_report_interval.ToTimedelta()
            start = max(began, now - interval - SLACK)
            self._receipts.served(node, (stats.cluster_name,), start, now)


async def _next(requests: AsyncIterator[Any], stopper: asyncio.Task[Any]) -> Any:
    """Return the next request; None: there is none, or we are stopping."""
    reader = asyncio.ensure_future(anext(requests, None))
    await asyncio.wait({reader, stopper}, return_when=asyncio.FIRST_COMPLETED)
    if reader.done():
        return reader.result()
    reader.cancel()
    return None
