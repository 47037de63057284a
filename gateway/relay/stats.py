"""
What Envoy counts, kept to a number of series that doesn't grow with the catalog.

A pure fold: Envoy tells what it counted since it last told, this adds it up. A few services have
series of their own: those whose configuration has just changed, then the busiest; all others are
one series, `other`, so that sums over services stay true. Whose slot is taken ends as a series,
and begins from 0 if it comes back.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric

from gateway.relay.older import renamed


if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from gateway.relay.session import Item

SERIES_MAX: Final = 2_000
"""Of one Envoy, as PromQL counts them: each bucket of a histogram is one."""

ENVOY_SERIES_MAX: Final = 600
"""Of them, what isn't of a service; later ones are dropped and counted."""

SERIES_OF_SERVICE: Final = 4 + 3 + 13
"""Classes of status codes, outcomes of calls, and a histogram of 10 bounds."""

SERVICES_MAX: Final = (SERIES_MAX - ENVOY_SERIES_MAX) // SERIES_OF_SERVICE - 1
"""Services with series of their own; one more is `other`."""

TOUCHED_AT_ONCE_MAX: Final = 16
"""Services of one change that get series for it; a larger change is no canary."""

OTHER: Final = "other"
BOUNDS_MS: Final = (5, 10, 25, 50, 100, 250, 500, 1000, 2500, 10000)
"""As `histogram_bucket_settings` of the bootstrap."""

TOUCHED_FOR: Final = 900
"""How many times Envoy tells until a service that was changed must be busy for its series."""

FADING: Final = 0.9
"""What one interval leaves of how busy a service was."""

_CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
_ROUTES = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
_SERVICE_NAME = re.compile(rb"services/[a-z][a-z0-9-]*")
_CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
_OF_SERVICE = "services/"
_SERVER_ERRORS = frozenset({"2", "4", "12", "13", "14", "15"})
"""gRPC's codes that tell of a fault of the server (OpenTelemetry: semantic conventions, rpc)."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A metric that the relay tells of its Envoy."""

    name: str
    unit: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class ExportedCounter(Exported):
    """A sum that only grows."""


@dataclass(frozen=True, slots=True)
class ExportedHistogram(Exported):
    """A histogram."""


REQUESTS: Final = ExportedCounter(
    "edge.service.requests",
    unit="{request}",
    description="Answered requests by `service`, `code` (`2xx` to `5xx`) and `edge`; a refused or "
    "failed gRPC call counts by its HTTP status",
)
RPCS: Final = ExportedCounter(
    "edge.service.rpcs",
    unit="{call}",
    description="Answered gRPC calls by `service`, `outcome` (`ok`, `client_error`, "
    "`server_error`) and `edge`",
)
DURATION: Final = ExportedHistogram(
    "edge.service.duration",
    unit="s",
    description="From the request's last byte at the edge to the response's, by `service` and `edge`",
)
ENVOY: Final = ExportedCounter(
    "envoy.…",
    description="Envoy's own counters, gauges and histograms besides those of services, with "
    "Envoy's tags as labels",
)


@dataclass(slots=True)
class _Counted:
    """What a service did: since Envoy last told, or ever."""

    requests: dict[str, int] = field(default_factory=dict)
    rpcs: dict[str, int] = field(default_factory=dict)
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_MS) + 1))
    sum_ms: float = 0.0


@dataclass(slots=True)
class _Service(_Counted):
    """What a service with series of its own did since it has them."""

    since_ns: int = 0
    busy: float = 0.0
    """Requests between two tellings, the newest counting most."""


@dataclass(slots=True)
class _Series:
    """A metric of Envoy's own and what its points came to."""

    metric: Metric
    series: int
    since_ns: int


Key = tuple[str, tuple[tuple[str, str], ...]]


class EdgeStats:
    """The sums of one Envoy. Owned by one task at a time."""

    def __init__(self) -> None:
        self._edge = ""
        self._envoy: dict[Key, _Series] = {}
        self._series = 0
        self._services: dict[str, _Service] = {}
        self._told = 0
        self._touched: dict[str, int] = {}
        """Until which telling a service has series for having been changed."""

        self.dropped = 0
        """Points of Envoy's own metrics that there was no room for."""

    def touch(self, services: Collection[str]) -> None:
        """Give *services*, whose configuration has changed, series of their own from now on."""
        if len(services) > TOUCHED_AT_ONCE_MAX:
            return
        for name in services:
            self._touched.pop(name, None)
            self._touched[name] = self._told + TOUCHED_FOR
        while len(self._touched) > SERVICES_MAX:
            del self._touched[next(iter(self._touched))]

    def take(self, told: ExportMetricsServiceRequest, now_ns: int) -> None:
        """Add what Envoy counted since it last told; *now_ns* since the epoch."""
        counted: dict[str, _Counted] = {}
        for resource in told.resource_metrics:
            for attribute in resource.resource.attributes:
                if attribute.key == "service.instance.id":
                    self._edge = attribute.value.string_value
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    self._take_metric(metric, counted, now_ns)
        self._choose(counted, now_ns)
        for name, one in counted.items():
            _add(self._services.get(name) or self._services[OTHER], one)

    def _take_metric(self, metric: Metric, counted: dict[str, _Counted], now_ns: int) -> None:
        kind = metric.WhichOneof("data")
        if kind not in {"sum", "gauge", "histogram"}:
            return
        for point in getattr(metric, kind).data_points:
            tags = {one.key: one.value.string_value for one in point.attributes}
            cluster = tags.get("envoy.cluster_name", "")
            if not cluster.startswith(_OF_SERVICE):
                self._take_own(metric, kind, point, tags, now_ns)
            else:
                _count(counted.setdefault(cluster, _Counted()), metric.name, point, tags)

    def _take_own(
        self, metric: Metric, kind: str, point: Any, tags: dict[str, str], now_ns: int
    ) -> None:
        name, labels = renamed(metric.name, tags)
        key = (name, tuple(sorted(labels.items())))
        known = self._envoy.get(key)
        if known is None:
            series = len(point.bucket_counts) + 2 if kind == "histogram" else 1
            if self._series + series > ENVOY_SERIES_MAX:
                self.dropped += 1
                return
            self._series += series
            known = self._envoy[key] = _Series(Metric(), series, now_ns)
            known.metric.name = f"envoy.{name}"
            known.metric.unit = metric.unit
            made = getattr(known.metric, kind).data_points.add()
            made.CopyFrom(point)
            if labels is not tags:
                del made.attributes[:]
                _tag(made, labels)
            if kind != "gauge":
                getattr(known.metric, kind).aggregation_temporality = _CUMULATIVE
                made.start_time_unix_nano = now_ns
            if kind == "sum":
                known.metric.sum.is_monotonic = metric.sum.is_monotonic
            return
        sums = getattr(known.metric, kind).data_points[0]
        _accumulate(sums, kind, point)

    def _choose(self, counted: dict[str, _Counted], now_ns: int) -> None:
        """Decide who has series of their own."""
        self._told += 1
        self._touched = {name: end for name, end in self._touched.items() if end >= self._told}
        services = self._services
        services.setdefault(OTHER, _Service(since_ns=now_ns))
        for name, service in services.items():
            now = _amount(counted[name]) if name in counted else 0
            service.busy = FADING * service.busy + (1 - FADING) * now
        news = [name for name, one in counted.items() if name not in services and _amount(one)]
        for name in sorted(news, key=lambda name: self._rank(name, counted[name]), reverse=True):
            if len(services) > SERVICES_MAX and not self._make_room(name, counted[name]):
                break
            services[name] = _Service(since_ns=now_ns, busy=float(_amount(counted[name])))

    def _rank(self, name: str, counted: _Counted) -> tuple[int, float]:
        return self._touched.get(name, 0), _amount(counted)

    def _make_room(self, newcomer: str, counted: _Counted) -> bool:
        """End the series of whoever needs them least, if that is less than *newcomer* does."""
        named = ((self._touched.get(n, 0), s.busy, n) for n, s in self._services.items())
        touched, busy, name = min(one for one in named if one[2] != OTHER)
        # Twice as busy, or two of a kind would take turns.
        if self._rank(newcomer, counted) <= (touched, 2 * busy):
            return False
        del self._services[name]
        return True

    def series(self) -> int:
        """Return how many series `export` tells, as PromQL counts them."""
        services = (
            len(one.requests) + len(one.rpcs) + (len(one.buckets) + 2 if any(one.buckets) else 0)
            for one in self._services.values()
        )
        return self._series + sum(services)

    def export(self, replica: str, now_ns: int) -> ExportMetricsServiceRequest:
        """Return all sums as they are now; *replica* is the relay's, `service.instance.id`."""
        told = ExportMetricsServiceRequest()
        resource = told.resource_metrics.add()
        identity = {
            "service.name": "edge",
            "service.namespace": "aerofusion",
            "service.instance.id": replica,
        }
        _tag(resource.resource, identity)
        scope = resource.scope_metrics.add()
        for known in self._envoy.values():
            kind = str(known.metric.WhichOneof("data"))
            getattr(known.metric, kind).data_points[0].time_unix_nano = now_ns
            scope.metrics.append(known.metric)
        scope.metrics.extend(self._of_services(now_ns))
        return told

    def _of_services(self, now_ns: int) -> Iterator[Metric]:
        requests, rpcs, duration = (
            Metric(name=one.name, unit=one.unit, description=one.description)
            for one in (REQUESTS, RPCS, DURATION)
        )
        for metric in (requests, rpcs):
            metric.sum.aggregation_temporality = _CUMULATIVE
            metric.sum.is_monotonic = True
        duration.histogram.aggregation_temporality = _CUMULATIVE
        for name, one in self._services.items():
            whose = {"service": name, "edge": self._edge}
            times = {"start_time_unix_nano": one.since_ns, "time_unix_nano": now_ns}
            for code, count in one.requests.items():
                point = requests.sum.data_points.add(as_int=count, **times)
                _tag(point, {**whose, "code": code})
            for outcome, count in one.rpcs.items():
                point = rpcs.sum.data_points.add(as_int=count, **times)
                _tag(point, {**whose, "outcome": outcome})
            if any(one.buckets):
                made = duration.histogram.data_points.add(
                    count=sum(one.buckets),
                    sum=one.sum_ms / 1000,
                    bucket_counts=one.buckets,
                    explicit_bounds=[bound / 1000 for bound in BOUNDS_MS],
                    **times,
                )
                _tag(made, whose)
        yield from (requests, rpcs, duration)


def _count(counted: _Counted, name: str, point: Any, tags: dict[str, str]) -> None:
    """Read one point of a service's cluster; what is of no use here is passed over."""
    if name == "cluster.upstream_rq_xx":
        code = f"{tags.get('envoy.response_code_class', '')}xx"
        counted.requests[code] = counted.requests.get(code, 0) + point.as_int
    elif name == "cluster.upstream_rq_time" and len(point.bucket_counts) == len(BOUNDS_MS) + 1:
        more = point.bucket_counts
        counted.buckets = [a + b for a, b in zip(counted.buckets, more, strict=True)]
        counted.sum_ms += point.sum
    elif name.startswith("cluster.grpc."):
        outcome = _outcome(name.rpartition(".")[2])
        counted.rpcs[outcome] = counted.rpcs.get(outcome, 0) + point.as_int


def _outcome(code: str) -> str:
    if code == "0":
        return "ok"
    return "server_error" if code in _SERVER_ERRORS else "client_error"


def _add(service: _Service, counted: _Counted) -> None:
    for have, more in ((service.requests, counted.requests), (service.rpcs, counted.rpcs)):
        for key, count in more.items():
            have[key] = have.get(key, 0) + count
    for place, count in enumerate(counted.buckets):
        service.buckets[place] += count
    service.sum_ms += counted.sum_ms


def _amount(counted: _Counted) -> int:
    return sum(counted.requests.values())


def _accumulate(sums: Any, kind: str, point: Any) -> None:
    if kind == "gauge":
        sums.CopyFrom(point)
    elif kind == "sum":
        sums.as_int += point.as_int
    elif list(sums.explicit_bounds) == list(point.explicit_bounds):
        sums.count += point.count
        sums.sum += point.sum
        for place, count in enumerate(point.bucket_counts):
            sums.bucket_counts[place] += count


def _tag(thing: Any, tags: Mapping[str, str]) -> None:
    for key, value in tags.items():
        thing.attributes.add(key=key).value.string_value = value


def changed_services(type_url: str, items: Iterable[Item]) -> frozenset[str]:
    """Return the services that a change of *items* concerns: clusters, and those of routes."""
    if type_url == _CLUSTER:
        return frozenset(one.name for one in items if one.name.startswith(_OF_SERVICE))
    if type_url == _ROUTES:
        names = (found for one in items for found in _SERVICE_NAME.findall(one.body))
        return frozenset(name.decode() for name in names)
    return frozenset()
