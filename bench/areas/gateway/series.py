"""How many series an Envoy's relay tells of it, with 10,000 routes that are all called."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
from typing import TYPE_CHECKING, Any, Final

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2

from aerofusion.gateway.v1 import object_pb2, service_pb2
from bench.control_plane import METHODS, ControlPlane, free_port
from bench.many_services import grpc_service, service
from meshkit.identity import Workload


if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.report import Report

SERVICES: Final = 1_000
SERVICES_AT_ONCE: Final = 250
INTERVALS_S: Final = 7.0
"""Envoy tells each 2 s: three times at the least."""

METRICS: Final = "opentelemetry.proto.collector.metrics.v1.MetricsService"


class Telemetry:
    """Takes metrics in, and counts the series."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.at_once = 0
        """Most series that were told together."""

        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
        self._lock = threading.Lock()
        handler = grpc.unary_unary_rpc_method_handler(
            self._export,
            request_deserializer=metrics_service_pb2.ExportMetricsServiceRequest.FromString,
            response_serializer=lambda response: response.SerializeToString(),
        )
        self.server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(METRICS, {"Export": handler}),)
        )

    def _export(self, request: Any, _: Any) -> Any:
        told: set[Any] = set()
        for resource in request.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    told.update(_series(metric))
        with self._lock:
            self.names.update(name for name, _, _ in told)
            self.at_once = max(self.at_once, len(told))
        return metrics_service_pb2.ExportMetricsServiceResponse()


def _series(metric: Any) -> Iterator[tuple[str, Any, int]]:
    """Yield what PromQL makes of it: a series for each bucket of a histogram, its sum and count."""
    for point in getattr(metric, metric.WhichOneof("data")).data_points:
        tags = frozenset((one.key, one.value.string_value) for one in point.attributes)
        buckets = getattr(point, "bucket_counts", ())
        for part in range(len(buckets) + 2) if buckets else range(1):
            yield metric.name, tags, part


def _behind(port: int, number: int) -> service_pb2.Service:
    """Return a service that the backend stands behind; it says that it has no such method."""
    made = service(number)
    made.identity = "bench"
    made.endpoints.add(address="127.0.0.1", port=port)
    return made


def _call_all(plane: ControlPlane) -> None:
    """Call each method once; the backend answers that there is none."""
    credentials = grpc.ssl_channel_credentials(plane.bundle_pem)
    metadata = (("authorization", f"Bearer {plane.token()}"),)
    with grpc.secure_channel(f"localhost:{plane.edge_port}", credentials) as channel:
        for number in range(SERVICES):
            calls = [
                channel.unary_unary(f"/{grpc_service(number)}/Method{method}").future(
                    b"", metadata=metadata, timeout=30
                )
                for method in range(METHODS)
            ]
            codes = {call.code() for call in calls}
            if codes != {grpc.StatusCode.UNIMPLEMENTED}:
                raise RuntimeError(f"the backend said {codes}")


def measure(report: Report) -> None:
    """Take the figure; about a minute and a half."""
    telemetry, port = Telemetry(), free_port()
    with ControlPlane(preflight=False) as plane:
        plane.load(SERVICES)
        backend = plane.start_backend("0")
        for first in range(0, SERVICES, SERVICES_AT_ONCE):
            numbers = range(first, first + SERVICES_AT_ONCE)
            plane.apply([object_pb2.Object(service=_behind(backend, n)) for n in numbers])
        workload = asyncio.run(Workload.open(plane.client_settings("telemetry"), "telemetry"))
        telemetry.server.add_secure_port(f"127.0.0.1:{port}", workload.server_credentials())
        telemetry.server.start()
        plane.environment["RELAY_TELEMETRY_ADDRESS"] = f"127.0.0.1:{port}"
        plane.start_edge()
        plane.settled()
        _call_all(plane)
        time.sleep(INTERVALS_S)  # paces
        if "edge.service.duration" not in telemetry.names:
            raise RuntimeError(f"nothing of services: {sorted(telemetry.names)[:20]}")
        report.add("envoy_series_10k_routes", telemetry.at_once, bound="<= 2000")
        telemetry.server.stop(1)
