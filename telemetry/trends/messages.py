"""What was computed, as the contract's messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from google.protobuf import duration_pb2, timestamp_pb2

from aerofusion.telemetry.v1 import forecast_service_pb2 as pb
from telemetry.trends.exhaustion import NEVER, exhaustion
from telemetry.trends.forecast import Refused


if TYPE_CHECKING:
    from collections.abc import Sequence

    from telemetry.trends.asking import Past, Span
    from telemetry.trends.bands import Bands
    from telemetry.trends.forecast import Forecast
    from telemetry.trends.sizing import Sizing


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a caller wants to know of each forecast."""

    span: Span
    threshold: float | None
    rising: bool
    with_history: bool


def series_forecast(past: Past, made: Forecast | Refused, asked: Asked) -> pb.SeriesForecast:
    """Return one series' forecast."""
    span = asked.span
    out = pb.SeriesForecast(
        labels=dict(past.labels), reasons=made.reasons, step=_duration(span.step_ms)
    )
    if asked.with_history:
        out.history.extend(past.values.tolist())
        out.history_start_ms = span.start_ms
    if isinstance(made, Refused):
        return out
    steps = range(1, made.point.size + 1)
    out.timestamps_ms.extend(span.end_ms + step * span.step_ms for step in steps)
    for name in ("point", "p10", "p50", "p90"):
        getattr(out, name).extend(getattr(made, name).tolist())
    out.seasons.extend(seasons(made.seasons, span.step_ms))
    judged = made.backtest
    out.backtest.CopyFrom(
        pb.Backtest(
            mae=judged.mae,
            mase=judged.mase,
            naive_mase=judged.naive_mase,
            origins=judged.residuals.shape[0],
            weights=judged.weights,
        )
    )
    if asked.threshold is not None:
        out.exhaustion.CopyFrom(_exhaustion(made, asked, asked.threshold))
    return out


def _exhaustion(made: Forecast, asked: Asked, threshold: float) -> pb.Exhaustion:
    found = exhaustion(made, threshold, rising=asked.rising)
    out = pb.Exhaustion(probability=found.probability)
    for name, points in (
        ("likely_time", found.likely),
        ("earliest_time", found.earliest),
        ("latest_time", found.latest),
    ):
        if points != NEVER:
            at = asked.span.end_ms + points * asked.span.step_ms
            getattr(out, name).CopyFrom(_timestamp(at))
    return out


def anomaly_bands(past: Past, used: tuple[int, ...], found: Bands, span: Span) -> pb.AnomalyBands:
    """Return one series' bands."""
    return pb.AnomalyBands(
        labels=dict(past.labels),
        timestamps_ms=range(span.start_ms, span.end_ms + 1, span.step_ms),
        values=past.values.tolist(),
        expected=found.expected.tolist(),
        lower=found.lower.tolist(),
        upper=found.upper.tolist(),
        seasons=seasons(used, span.step_ms),
    )


def size_advice(
    service: str, *, replicas: int, cpu: Sizing | None, memory: Sizing | None
) -> pb.SizeAdvice:
    """Return the advice on one service; what nothing is known of is absent."""
    out = pb.SizeAdvice(service=service, replicas=replicas)
    if cpu is not None:
        out.cpu.CopyFrom(_resource(cpu))
    if memory is not None:
        out.memory.CopyFrom(_resource(memory))
    return out


def _resource(found: Sizing) -> pb.ResourceAdvice:
    return pb.ResourceAdvice(
        p50=found.p50,
        p95=found.p95,
        peak=found.peak,
        expected_peak=found.expected_peak,
        request=found.request,
        limit=found.limit,
        reasons=found.reasons,
    )


def seasons(used: Sequence[int], step_ms: int) -> list[duration_pb2.Duration]:
    """Return lengths in points as durations."""
    return [_duration(points * step_ms) for points in used]


def _duration(length_ms: int) -> duration_pb2.Duration:
    out = duration_pb2.Duration()
    out.FromMilliseconds(length_ms)
    return out


def _timestamp(at_ms: int) -> timestamp_pb2.Timestamp:
    out = timestamp_pb2.Timestamp()
    out.FromMilliseconds(at_ms)
    return out
