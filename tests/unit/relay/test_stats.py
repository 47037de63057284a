"""What Envoy counts, kept to a bounded number of series."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality

from gateway.compile.envoy_api import make
from gateway.relay import stats
from gateway.relay.messages import item_of
from gateway.relay.stats import OTHER, SERIES_MAX, SERVICES_MAX, TOUCHED_FOR, EdgeStats


ROOT = Path(__file__).parents[3]
DELTA = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
ROUTES = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"


class Told:
    """What Envoy tells of one interval."""

    def __init__(self):
        self.request = ExportMetricsServiceRequest()
        resource = self.request.resource_metrics.add()
        tag = resource.resource.attributes.add(key="service.instance.id")
        tag.value.string_value = "edge-7"
        self.metrics = resource.scope_metrics.add().metrics

    def counter(self, name, count, **tags):
        metric = self.metrics.add(name=name)
        metric.sum.is_monotonic = True
        metric.sum.aggregation_temporality = DELTA
        self._tag(metric.sum.data_points.add(as_int=count), tags)
        return self

    def gauge(self, name, value, **tags):
        self._tag(self.metrics.add(name=name).gauge.data_points.add(as_int=value), tags)
        return self

    def service(self, name, count, *, code=2, grpc=0, ms=7.0):
        self.counter("cluster.upstream_rq_xx", count, cluster_name=name, response_code_class=code)
        self.counter(f"cluster.grpc.{grpc}", count, cluster_name=name)
        point = self.metrics.add(name="cluster.upstream_rq_time").histogram.data_points.add(
            count=count,
            sum=ms * count,
            explicit_bounds=stats.BOUNDS_MS,
            bucket_counts=[0, count] + [0] * (len(stats.BOUNDS_MS) - 1),
        )
        self._tag(point, {"cluster_name": name})
        return self

    @staticmethod
    def _tag(point, tags):
        for key, value in tags.items():
            point.attributes.add(key=f"envoy.{key}").value.string_value = str(value)


def exported(edge):
    """Sums and gauges by metric and labels; of histograms, counts."""
    found = {}
    (resource,) = edge.export("0", 2_000).resource_metrics
    for metric in resource.scope_metrics[0].metrics:
        data = getattr(metric, metric.WhichOneof("data"))
        for point in data.data_points:
            tags = {one.key: one.value.string_value for one in point.attributes}
            value = point.count if metric.HasField("histogram") else point.as_int
            found[metric.name, frozenset(tags.values())] = value
    return found


def named(edge):
    return {
        name for key in exported(edge) if key[0] == "edge.service.duration" for name in key[1]
    } - {OTHER, "edge-7"}


def series_of(edge):
    """As PromQL counts: each bucket, the sum and the count of a histogram are one each."""
    (resource,) = edge.export("0", 2_000).resource_metrics
    return sum(
        len(point.bucket_counts) + 2 if metric.HasField("histogram") else 1
        for metric in resource.scope_metrics[0].metrics
        for point in getattr(metric, metric.WhichOneof("data")).data_points
    )


def test_counts_of_intervals_add_up():
    edge = EdgeStats()
    edge.take(Told().service("services/a", 3).service("services/a", 2, code=5, grpc=14).request, 1)
    edge.take(Told().service("services/a", 4).request, 2)
    told = exported(edge)
    assert told["edge.service.requests", frozenset({"2xx", "edge-7", "services/a"})] == 7
    assert told["edge.service.requests", frozenset({"5xx", "edge-7", "services/a"})] == 2
    assert told["edge.service.rpcs", frozenset({"edge-7", "ok", "services/a"})] == 7
    assert told["edge.service.rpcs", frozenset({"edge-7", "server_error", "services/a"})] == 2
    assert told["edge.service.duration", frozenset({"edge-7", "services/a"})] == 9


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (0, "ok"),
        (3, "client_error"),
        (7, "client_error"),
        (4, "server_error"),
        (13, "server_error"),
    ],
)
def test_a_grpc_status_is_nobodys_the_callers_or_the_servers_fault(status, outcome):
    edge = EdgeStats()
    edge.take(Told().service("services/a", 1, grpc=status).request, 1)
    assert exported(edge)["edge.service.rpcs", frozenset({"edge-7", outcome, "services/a"})] == 1


def test_envoys_own_gauges_stay_and_its_counters_add_up():
    edge = EdgeStats()
    for heap in (5, 6):
        told = Told().gauge("server.memory_allocated", heap)
        edge.take(told.counter("cluster.upstream_rq_total", 2, cluster_name="relay").request, 1)
    told = exported(edge)
    assert told["envoy.server.memory_allocated", frozenset()] == 6
    assert told["envoy.cluster.upstream_rq_total", frozenset({"relay"})] == 4


def test_services_without_series_of_their_own_are_in_other():
    edge = EdgeStats()
    told = Told()
    for number in range(SERVICES_MAX + 30):
        told.service(f"services/s{number}", 1_000 - number)
    edge.take(told.request, 1)
    assert named(edge) == {f"services/s{number}" for number in range(SERVICES_MAX)}
    assert exported(edge)["edge.service.requests", frozenset({"2xx", "edge-7", OTHER})] == sum(
        1_000 - number for number in range(SERVICES_MAX, SERVICES_MAX + 30)
    )


def full():
    edge = EdgeStats()
    told = Told()
    for number in range(SERVICES_MAX):
        told.service(f"services/s{number}", 100 + number)
    edge.take(told.request, 1)
    return edge


def test_a_service_twice_as_busy_takes_the_place_of_the_least_busy():
    edge = full()
    edge.take(Told().service("services/new", 90).request, 2)
    assert "services/new" not in named(edge)
    edge.take(Told().service("services/new", 100_000).request, 3)
    assert "services/new" in named(edge)
    assert "services/s0" not in named(edge)


def test_a_service_that_was_changed_has_series_however_quiet_it_is():
    edge = full()
    edge.touch({"services/new"})
    edge.take(Told().service("services/new", 1).request, 2)
    busy = Told().service("services/busy", 100_000)
    edge.take(busy.request, 3)
    assert {"services/new", "services/busy"} <= named(edge)
    for moment in range(TOUCHED_FOR):
        edge.take(Told().service("services/busier", 1).request, moment)
    edge.take(Told().service("services/busier", 100_000).request, 2_000)
    edge.take(Told().service("services/busiest", 100_000).request, 2_000)
    assert "services/new" not in named(edge)


def test_a_change_of_everything_gives_nobody_series():
    edge = full()
    edge.touch({f"services/t{number}" for number in range(1_000)})
    edge.take(Told().service("services/t5", 1).request, 2)
    assert "services/t5" not in named(edge)


def test_what_there_is_no_room_for_of_envoys_own_is_dropped_and_counted():
    edge = EdgeStats()
    told = Told()
    for number in range(stats.ENVOY_SERIES_MAX + 5):
        told.gauge(f"http.edge.rbac.policy{number}", 1)
    edge.take(told.request, 1)
    assert edge.dropped == 5
    assert series_of(edge) == stats.ENVOY_SERIES_MAX


@given(
    st.lists(
        st.tuples(
            st.integers(0, 10_000),
            st.integers(0, 100),
            st.sampled_from([2, 3, 4, 5]),
            st.integers(0, 16),
        ),
        max_size=300,
    )
)
def test_there_are_never_more_series_than_the_budget_and_no_request_is_lost(calls):
    edge = EdgeStats()
    for at in range(0, len(calls), 50):
        told = Told()
        told.gauge("server.live", 1)
        for name, count, code, status in calls[at : at + 50]:
            told.service(f"services/s{name}", count, code=code, grpc=status)
        edge.take(told.request, at)
        assert series_of(edge) == edge.series() <= SERIES_MAX


def test_a_changed_cluster_and_the_clusters_of_changed_routes_are_found():
    cluster = item_of("services/a", "1", make("envoy.config.cluster.v3.Cluster", name="services/a"))
    routes = item_of(
        "test.V1",
        "1",
        make(
            "envoy.config.route.v3.RouteConfiguration",
            name="test.V1",
            virtual_hosts=[
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "services/b-2"}}],
                }
            ],
        ),
    )
    assert stats.changed_services(CLUSTER, [cluster]) == {"services/a"}
    assert stats.changed_services(ROUTES, [routes]) == {"services/b-2"}
    assert stats.changed_services("type.googleapis.com/other", [routes]) == frozenset()


def test_the_bootstrap_has_the_bounds_that_are_counted_on():
    text = (ROOT / "envoy" / "bootstrap.yaml").read_text()
    (bounds,) = re.findall(r"buckets: \[([0-9, ]+)\]", text)
    assert tuple(int(one) for one in bounds.split(", ")) == stats.BOUNDS_MS
