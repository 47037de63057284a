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

_SESSION = b"0000000000000000"
"""Stands where a session's number will be."""


@dataclass(slots=True)
class Request:
    """One request whose points' times and values can be set."""

    data: bytearray
    times: NDArray[np.int64]
    """Where each point's time stands, 8 bytes each."""

    points: int
    sessions: NDArray[np.int64]
    """Where each point's session stands, if they have one."""

    def at(self, time_ns: int, first_session: int = 0) -> bytes:
        """Return the request with all its points at *time_ns*, of sessions from the first on."""
        view = np.frombuffer(self.data, np.uint8)
        view[self.times[:, None] + np.arange(8)] = np.frombuffer(
            struct.pack("<Q", time_ns), np.uint8
        )
        if len(self.sessions):
            numbers = first_session + np.arange(len(self.sessions))
            digits = numbers[:, None] // 10 ** np.arange(len(_SESSION) - 1, -1, -1) % 10
            view[self.sessions[:, None] + np.arange(len(_SESSION))] = digits + ord("0")
        return bytes(self.data)


def requests(
    series: int, points_each: int, *, metrics: int = 1, sessions: bool = False
) -> list[Request]:
    """
    Return requests that hold a point of each of *series* gauges together.

    8 resource attributes, 6 of the point; a resource has one request.

    Args:
        metrics: How many metrics share the requests.
        sessions: Whether points have a label more, whose value can be set.

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
                    **({"session": _SESSION.decode()} if sessions else {}),
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
                                [Metric(_metric(number % metrics), "", "1", Gauge(points))],
                                "",
                            )
                        ],
                        "",
                    )
                ]
            )
        ).SerializeToString()
        times = _places(data, struct.pack("<Q", _MARK))
        made.append(Request(bytearray(data), times, len(points), _places(data, _SESSION)))
    return made


def _metric(number: int) -> str:
    return f"bench.load.{number}" if number else "bench.load"


def _places(data: bytes, mark: bytes) -> NDArray[np.int64]:
    found, at = [], data.find(mark)
    while at >= 0:
        found.append(at)
        at = data.find(mark, at + len(mark))
    return np.array(found, np.int64)


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
