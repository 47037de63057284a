"""Requests of metrics as senders make them: encoded by OpenTelemetry's SDK, times put in later."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.metrics.export import (
    Gauge,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope


if TYPE_CHECKING:
    from numpy.typing import NDArray

_MARK = 0x1122334455667788
"""Stands where a time will be."""


@dataclass(slots=True)
class Request:
    """One request whose points' times and values can be set."""

    data: bytearray
    times: NDArray[np.int64]
    """Where each point's time stands, 8 bytes each."""

    points: int

    def at(self, time_ns: int) -> bytes:
        """Return the request with all its points at *time_ns*."""
        view = np.frombuffer(self.data, np.uint8)
        view[self.times[:, None] + np.arange(8)] = np.frombuffer(
            struct.pack("<Q", time_ns), np.uint8
        )
        return bytes(self.data)


def requests(series: int, points_each: int) -> list[Request]:
    """
    Return requests that hold a point of each of *series* gauges together.

    8 resource attributes, 6 of the point; a resource has one request.
    """
    made = []
    for number, first in enumerate(range(0, series, points_each)):
        points = [
            NumberDataPoint(
                attributes={
                    "http.request.method": "GET",
                    "http.response.status_code": 200,
                    "http.route": f"/api/flights/{n % 50}",
                    "network.protocol.name": "http",
                    "server.address": f"gate-{n // 50 % 100}",
                    "flight": n,
                },
                start_time_unix_nano=0,
                time_unix_nano=_MARK,
                value=n * 0.25,
            )
            for n in range(first, min(series, first + points_each))
        ]
        data = encode_metrics(
            MetricsData(
                [
                    ResourceMetrics(
                        _resource(number),
                        [
                            ScopeMetrics(
                                InstrumentationScope("bench"),
                                [Metric("bench.load", "", "1", Gauge(points))],
                                "",
                            )
                        ],
                        "",
                    )
                ]
            )
        ).SerializeToString()
        mark = struct.pack("<Q", _MARK)
        places, at = [], data.find(mark)
        while at >= 0:
            places.append(at)
            at = data.find(mark, at + 8)
        made.append(Request(bytearray(data), np.array(places), len(points)))
    return made


def _resource(number: int) -> Resource:
    return Resource(
        {
            "service.name": f"bench-{number % 20}",
            "service.namespace": "mesh",
            "service.instance.id": str(number),
            "service.version": "1.2.3",
            "host.name": f"host-{number}",
            "deployment.environment.name": "bench",
            "telemetry.sdk.language": "python",
            "process.pid": number,
        }
    )
