"""What evaluations leave behind as samples: recorded series, `ALERTS`, `ALERTS_FOR_STATE`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from telemetry.promql.labels import NAME, make
from telemetry.rules.states import Phase


if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from telemetry.promql.labels import Labels
    from telemetry.rules.states import RuleState

ALERTS = "ALERTS"
ALERTS_FOR_STATE = "ALERTS_FOR_STATE"
_NO_RECORDED_VALUE = 1
"""OTLP's flag of a point that says "the series ended here"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One sample to store."""

    labels: Labels
    at_ms: int
    value: float
    ended: bool = False
    """Whether it only says that the series has ended."""


def alert_series(state: RuleState) -> dict[Labels, float]:
    """Return the series that tell of a rule's pending and firing alerts, as Prometheus's do."""
    series: dict[Labels, float] = {}
    for labels, alert in state.alerts.items():
        if alert.phase is Phase.RESOLVED:
            continue
        plain = dict(labels)
        series[make(plain | {NAME: ALERTS, "alertstate": alert.phase.value})] = 1.0
        series[make(plain | {NAME: ALERTS_FOR_STATE})] = alert.active_ms / 1000
    return series


def samples(now: Mapping[Labels, float], before: Iterable[Labels], at_ms: int) -> list[Sample]:
    """Return a sample of each series there is *now*, and the end of those only there *before*."""
    found = [Sample(labels=labels, at_ms=at_ms, value=value) for labels, value in now.items()]
    found += [
        Sample(labels=labels, at_ms=at_ms, value=0.0, ended=True)
        for labels in before
        if labels not in now
    ]
    return found


def encode(found: Iterable[Sample]) -> bytes:
    """Return an OTLP request of the samples: gauges without a unit, whose names stay as they are."""
    request = ExportMetricsServiceRequest()
    add = request.resource_metrics.add().scope_metrics.add().metrics.add
    by_name: dict[str, list[Sample]] = {}
    for sample in found:
        name = next(value for key, value in sample.labels if key == NAME)
        by_name.setdefault(name, []).append(sample)
    for name, rows in by_name.items():
        points = add(name=name).gauge.data_points
        for row in rows:
            point = points.add(time_unix_nano=row.at_ms * 1_000_000)
            if row.ended:
                point.flags = _NO_RECORDED_VALUE
            else:
                point.as_double = row.value
            for key, value in row.labels:
                if key != NAME:
                    point.attributes.add(key=key).value.string_value = value
    return request.SerializeToString()
