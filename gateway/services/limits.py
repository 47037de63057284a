"""What limits come to, and what services are to keep of them: the gRPC service."""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from aerofusion.gateway.v1 import limit_pb2, limit_service_pb2_grpc
from aerofusion.gateway.v1 import limit_service_pb2 as rpc
from gateway.compile.limits import LOCAL_PREFIX
from gateway.limits.reach import EDITION_KEY, LIMIT_KEY, reach_of
from gateway.model import Health, Strength
from gateway.services.counted import counters
from gateway.services.generic import fill
from gateway.xds.feed import Flavour
from meshkit.authz import current_caller
from meshkit.errors import InvalidInput, NotFound, Overloaded, PermissionDenied
from meshkit.gcra import NS


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from gateway.compile.inputs import Inputs
    from gateway.limits.allocator import Part
    from gateway.limits.parts import Limits
    from gateway.limits.strict import Counted
    from gateway.model import Catalog, Limit, Service
    from gateway.telemetry import Telemetry
    from gateway.xds.feed import Feed
    from meshkit.authz import Caller

    Context = Any

SERVICE: Final = "aerofusion.gateway.v1.LimitService"
WATCHERS_MAX: Final = 1_000
GRPC_SERVICES_MAX: Final = 64
GATEWAY: Final = "gateway"
"""What the one part of a strict limit's bucket is called."""

_LOCAL: Final = {
    "envoy_http_local_rate_limit_ok_total": "allowed",
    "envoy_http_local_rate_limit_enforced_total": "refused",
    "envoy_http_local_rate_limit_shadow_mode_total": "would_have_refused",
}
"""Envoy's counters of the filter with the prefix `limits`, by what they are here."""

PAGE_SIZE: Final = 100
PAGE_SIZE_MAX: Final = 1_000


class LimitService(limit_service_pb2_grpc.LimitServiceServicer):
    """
    The state of the limits at this replica.

    Args:
        inputs: What the newest configuration was compiled from.
        feed: Wakes whoever watches.
        telemetry: Knows what edges count.

    """

    def __init__(
        self,
        limits: Limits,
        *,
        inputs: Callable[[], Inputs],
        feed: Feed,
        stopping: asyncio.Event,
        telemetry: Telemetry,
    ) -> None:
        self._limits = limits
        self._telemetry = telemetry
        self._inputs = inputs
        self._feed = feed
        self._stopping = stopping
        self._watchers = 0

    async def WatchLimits(  # noqa: N802
        self, request: rpc.WatchLimitsRequest, context: Context
    ) -> AsyncIterator[rpc.WatchLimitsResponse]:
        asked = _asked(request, self._inputs().catalog)
        caller = current_caller()
        if self._watchers >= WATCHERS_MAX:
            raise Overloaded(
                "TOO_MANY_WATCHERS", "As many follow limits as this replica takes; try later."
            )
        wake = asyncio.Event()
        unwatch = self._feed.watch(Flavour.EDGE, wake.set)
        self._watchers += 1
        shown: rpc.WatchLimitsResponse | None = None
        try:
            while not self._stopping.is_set():
                wake.clear()
                inputs = self._inputs()
                own = _own(asked, inputs.catalog, caller)
                found = rpc.WatchLimitsResponse(rules=_rules(inputs, own))
                if found != shown:
                    shown = found
                    yield found
                await _either(wake, self._stopping)
        finally:
            self._watchers -= 1
            unwatch()

    async def GetUsage(  # noqa: N802
        self, request: rpc.GetUsageRequest, context: Context
    ) -> rpc.GetUsageResponse:
        if request.limit and request.limit not in self._inputs().catalog.limits:
            raise NotFound(
                "LIMIT_NOT_FOUND", f"There is no {request.limit[:200]}.", limit=request.limit[:200]
            )
        most = min(request.page_size or PAGE_SIZE, PAGE_SIZE_MAX)
        if most < 0:
            raise InvalidInput(
                "INVALID_PAGE_SIZE",
                "A page has 1 to 1,000 buckets.",
                field_violations={"page_size": "must not be negative"},
            )
        found = [one for one in self._usages() if request.limit in ("", one.limit)]
        found.sort(key=lambda one: (-_demand(one), one.limit, sorted(one.bucket.items())))
        return rpc.GetUsageResponse(
            usages=found[:most], buckets=len(found), reports=self._limits.reports
        )

    async def GetLocalUsage(  # noqa: N802
        self, request: rpc.GetLocalUsageRequest, context: Context
    ) -> rpc.GetLocalUsageResponse:
        found: dict[str, rpc.LocalUsage] = {}
        for one in await counters(self._telemetry, "|".join(_LOCAL)):
            if one.labels.get("envoy_local_http_ratelimit_prefix") != LOCAL_PREFIX:
                continue
            usage = found.setdefault(one.edge, rpc.LocalUsage(edge=one.edge))
            setattr(usage, _LOCAL[one.name], one.value)
        limits = self._inputs().catalog.limits.values()
        return rpc.GetLocalUsageResponse(
            usages=[usage for _, usage in sorted(found.items())],
            shadow_limits=sorted(
                one.name for one in limits if one.shadow and one.strength is Strength.LOCAL
            ),
        )

    def _usages(self) -> Iterator[rpc.LimitUsage]:
        now = time.monotonic()
        for key, limit, bucket in self._limits.quotas.buckets():
            yield rpc.LimitUsage(
                limit=limit.name,
                strength=limit_pb2.Limit.STRENGTH_QUOTA,
                shadow=limit.shadow,
                bucket={k: v for k, v in key if k not in (LIMIT_KEY, EDITION_KEY)},
                allowed_per_second_max=bucket.rate,
                parts=[
                    _part(edge, part, now, shadow=limit.shadow)
                    for edge, part in sorted(bucket.parts.items())
                ],
            )
        now_ns = time.monotonic_ns()
        for counted in self._limits.strict.buckets():
            yield _strict(counted, now_ns)


def _strict(counted: Counted, now_ns: int) -> rpc.LimitUsage:
    limit = counted.limit
    per_second = limit.requests / limit.cost / limit.interval.total_seconds()
    elapsed = max((now_ns - counted.began_at_ns) / NS, 1.0)
    part = rpc.BucketPart(
        edge=GATEWAY,
        assigned_per_second=per_second,
        demand_per_second=(counted.allowed + counted.refused) / elapsed,
        allowed=counted.allowed,
        refused=0 if limit.shadow else counted.refused,
        would_have_refused=counted.refused if limit.shadow else 0,
    )
    ago = timedelta(seconds=(now_ns - counted.decided_at_ns) / NS)
    part.report_time.FromDatetime(datetime.now(UTC) - ago)
    return rpc.LimitUsage(
        limit=limit.name,
        strength=limit_pb2.Limit.STRENGTH_STRICT,
        shadow=limit.shadow,
        bucket=dict(counted.descriptor[1:]),
        allowed_per_second_max=per_second,
        parts=[part],
    )


def _part(edge: str, part: Part, now: float, *, shadow: bool) -> rpc.BucketPart:
    made = rpc.BucketPart(
        edge=edge,
        assigned_per_second=part.assigned,
        demand_per_second=part.demand or 0.0,
        allowed=part.allowed,
        refused=0 if shadow else part.refused,
        would_have_refused=part.refused if shadow else 0,
    )
    made.report_time.FromDatetime(datetime.now(UTC) - timedelta(seconds=now - part.reported_at))
    return made


def _demand(usage: rpc.LimitUsage) -> float:
    return sum(part.demand_per_second for part in usage.parts)


def _asked(request: rpc.WatchLimitsRequest, catalog: Catalog) -> frozenset[str]:
    """Return the gRPC services asked for; a service may ask for its own only."""
    asked = frozenset(request.grpc_services)
    if not 1 <= len(request.grpc_services) <= GRPC_SERVICES_MAX:
        raise InvalidInput(
            "GRPC_SERVICES_INVALID",
            f"Ask for 1 to {GRPC_SERVICES_MAX} gRPC services.",
            field_violations={"grpc_services": f"must be 1 to {GRPC_SERVICES_MAX}"},
        )
    for name in asked:
        owner = catalog.owner_of(name)
        if owner is not None and not _may_watch(owner, current_caller()):
            raise PermissionDenied(
                "SERVICE_NOT_YOURS",
                "A service may watch the limits of what it serves itself, by the catalog.",
                grpc_service=name[:200],
            )
    return asked


def _may_watch(owner: Service, caller: Caller) -> bool:
    return caller.service in ("operator", owner.identity)


def _own(asked: frozenset[str], catalog: Catalog, caller: Caller) -> frozenset[str]:
    """Return what of it is the caller's by now: the catalog changes under a long stream."""
    owners = {name: catalog.owner_of(name) for name in asked}
    return frozenset(
        name for name, owner in owners.items() if owner is not None and _may_watch(owner, caller)
    )


def _rules(inputs: Inputs, asked: frozenset[str]) -> list[rpc.LimitRule]:
    made = []
    for _, limit in sorted(inputs.catalog.limits.items()):
        reach = reach_of(limit, inputs.catalog).within(asked)
        if not reach.nothing:
            rule = rpc.LimitRule(
                grpc_services=reach.grpc_services,
                methods=reach.methods,
                replicas=_replicas(limit, inputs, asked),
            )
            fill(rule.limit, limit)
            made.append(rule)
    return made


def _replicas(limit: Limit, inputs: Inputs, asked: frozenset[str]) -> int:
    """Return how many replicas share a limit: the most that any of the services has."""
    if limit.strength is Strength.LOCAL:
        return 1
    counts = [
        sum(one.health is Health.HEALTHY for one in inputs.endpoints_of(service))
        for service in inputs.catalog.services.values()
        if asked.intersection(service.grpc_services)
    ]
    return max([1, *counts])


async def _either(*events: asyncio.Event) -> None:
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
        for task in waiting:
            with contextlib.suppress(asyncio.CancelledError):
                await task
