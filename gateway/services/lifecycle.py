"""Who calls what is on its way out: the gRPC service."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.timestamp_pb2 import Timestamp

from aerofusion.gateway.v1 import lifecycle_service_pb2 as rpc
from aerofusion.gateway.v1 import lifecycle_service_pb2_grpc
from aerofusion.telemetry.v1 import query_service_pb2 as logs
from gateway.lifecycle import deprecated
from gateway.services.counted import away
from gateway.telemetry import Unheard
from meshkit import paging
from meshkit.errors import InvalidInput, NotFound


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gateway.lifecycle import Deprecated
    from gateway.model import Catalog
    from gateway.telemetry import Telemetry

    Context = Any

SERVICE: Final = "aerofusion.gateway.v1.LifecycleService"
USUAL_TIME: Final = timedelta(days=30)
METHODS_MAX: Final = 2_000
"""Deprecated methods that one question may be about."""

PATHS_AT_ONCE: Final = 200
"""Of one question to telemetry, which takes 64 KiB of them."""

ASK_WITHIN_S: Final = 25.0
"""Telemetry itself gives up after 20 s, and says that it was too much."""

PAGE_SIZE: Final = 100
PAGE_SIZE_MAX: Final = 1_000

_EDGE: Final = "edge"
_PATH: Final = "rpc.path"
_GROUP_BY: Final = (
    _PATH,
    *("subject", "foreign_subject", "tenant", "issuer", "certificate_uri", "certificate_names"),
)
"""Attributes of access logs, as `gateway.compile.access_logs` has them."""

_NOTHING: Final = "-"
"""What Envoy logs where there is nothing."""

_UNSERVED: Final = logs.LogCondition(attribute="upstream", values=["", _NOTHING])


class LifecycleService(lifecycle_service_pb2_grpc.LifecycleServiceServicer):
    """The edges' access logs, as far as they are of what is deprecated."""

    def __init__(self, telemetry: Telemetry, *, catalog: Callable[[], Catalog]) -> None:
        self._telemetry = telemetry
        self._catalog = catalog

    async def GetDeprecatedUsage(  # noqa: N802
        self, request: rpc.GetDeprecatedUsageRequest, context: Context
    ) -> rpc.GetDeprecatedUsageResponse:
        most = paging.page_size(request.page_size, default=PAGE_SIZE, at_most=PAGE_SIZE_MAX)
        services = self._catalog().services
        if request.service and request.service not in services:
            name = request.service[:200]
            raise NotFound("SERVICE_NOT_FOUND", f"There is no {name}.", name=name)
        names = [request.service] if request.service else sorted(services)
        asked = [services[name] for name in names]
        # The descriptors of many services take a while to read.
        found = await asyncio.to_thread(lambda: list(deprecated(asked)))
        if len(found) > METHODS_MAX:
            raise InvalidInput(
                "TOO_MANY_DEPRECATED",
                f"More than {METHODS_MAX} methods are deprecated; ask for one service.",
                field_violations={"service": f"required beyond {METHODS_MAX} methods"},
            )
        answer = rpc.GetDeprecatedUsageResponse(methods=[_method(one) for one in found])
        question = _question(request, most)
        usages: list[rpc.DeprecatedUsage] = []
        for start in range(0, len(found), PATHS_AT_ONCE):
            some = found[start : start + PATHS_AT_ONCE]
            counted = await self._count(question, some)
            answer.usages_total += counted.groups
            usages += _usages(counted, some)
        usages.sort(key=lambda one: one.calls, reverse=True)
        answer.usages.extend(usages[:most])
        return answer

    async def _count(
        self, question: logs.CountLogsRequest, some: Sequence[Deprecated]
    ) -> logs.CountLogsResponse:
        request = logs.CountLogsRequest()
        request.CopyFrom(question)
        request.conditions.add(
            attribute=_PATH,
            values=[one.path for one in some if one.method],
            prefixes=[one.path for one in some if not one.method],
        )
        try:
            return await self._telemetry.count_logs(request, within_s=ASK_WITHIN_S)
        except Unheard as error:
            raise away(error) from None


def _question(request: rpc.GetDeprecatedUsageRequest, most: int) -> logs.CountLogsRequest:
    """Return what telemetry is asked, but for the methods."""
    end, start = Timestamp(), Timestamp()
    end.FromDatetime(datetime.now(UTC))
    if request.HasField("end_time"):
        end = request.end_time
    if request.HasField("start_time"):
        start = request.start_time
    else:
        start.FromSeconds(max(0, end.seconds - int(USUAL_TIME.total_seconds())))
    made = logs.CountLogsRequest(
        service=_EDGE,
        start_time=start,
        end_time=end,
        group_by=_GROUP_BY,
        page_size=most,
        apart=_UNSERVED,
    )
    if request.HasField("period"):
        made.interval.CopyFrom(request.period)
    return made


def _usages(
    counted: logs.CountLogsResponse, some: Sequence[Deprecated]
) -> Iterator[rpc.DeprecatedUsage]:
    owners = {one.grpc_service: one.service for one in some}
    for one in counted.counts:
        said = (value if value != _NOTHING else "" for value in one.values)
        path, subject, foreign_subject, tenant, issuer, uri, names = said
        grpc_service, _, method = path.removeprefix("/").partition("/")
        usage = rpc.DeprecatedUsage(
            service=owners[grpc_service],
            grpc_service=grpc_service,
            method=method,
            consumer=rpc.Consumer(
                subject=subject or foreign_subject,
                tenant=tenant,
                issuer=issuer,
                certificate_uri=uri,
                certificate_names=names,
            ),
            calls=one.records,
            unserved=one.apart,
            first_call_time=one.first_time,
            last_call_time=one.last_time,
        )
        if one.HasField("interval_start_time"):
            usage.period_start_time.CopyFrom(one.interval_start_time)
        yield usage


def _method(one: Deprecated) -> rpc.DeprecatedMethod:
    made = rpc.DeprecatedMethod(
        service=one.service,
        grpc_service=one.grpc_service,
        method=one.method,
        described=one.described,
    )
    if one.lifecycle is not None:
        made.successor = one.lifecycle.successor
        if one.lifecycle.deprecate_time is not None:
            made.deprecate_time.FromDatetime(one.lifecycle.deprecate_time)
        if one.lifecycle.sunset_time is not None:
            made.sunset_time.FromDatetime(one.lifecycle.sunset_time)
    return made
