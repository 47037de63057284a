"""Deltas become counters, exponential histograms native ones, and exemplars are kept."""

import time

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from telemetry.scan.shapes import Signal
from telemetry.settings import Settings
from telemetry.store.model import STALE_NAN_BITS
from telemetry.store.reader import Reader
from tests.contract.telemetry_intake.running import bits, opened, samples_of, series_of


SECOND = 10**9
DELTA, CUMULATIVE = 1, 2


@pytest.fixture
def settings(tmp_path):
    return Settings(state_dir=tmp_path / "state")


def counter(name, temporality, points, since=0, **marks):
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name=name)
    metric.sum.aggregation_temporality = temporality
    metric.sum.is_monotonic = True
    for at, value in points:
        metric.sum.data_points.add(
            time_unix_nano=at, start_time_unix_nano=since, as_double=value, **marks
        )
    return request.SerializeToString()


async def test_deltas_and_cumulative_values_of_one_counter_grow_alike_across_a_restart(settings):
    now = time.time_ns()
    steps = [0.1, 0.2, 5, 0, 3.25, 1e-3]
    total = 0.0
    for half in (steps[:3], steps[3:]):
        async with opened(settings) as (_, pipeline):
            for step in half:
                total += step
                now += SECOND
                for request in (
                    counter("delta", DELTA, [(now, step)]),
                    counter("whole", CUMULATIVE, [(now, total)]),
                ):
                    accepted = await pipeline.intake.accept(Signal.METRICS, request)
                    assert accepted.refused == 0

    async with opened(settings) as (sessions, pipeline):
        await pipeline.loader.flush()
        (delta,) = (await samples_of(sessions, "delta_total")).values()
        (whole,) = (await samples_of(sessions, "whole_total")).values()
    assert delta == whole
    assert len(whole) == len(steps)


async def test_a_late_delta_counts_once_and_makes_no_reset(settings):
    now = time.time_ns()
    async with opened(settings) as (sessions, pipeline):
        for at, value in ((0, 1), (20, 2), (10, 4), (30, 8)):
            request = counter("c", DELTA, [(now + at * SECOND, value)])
            await pipeline.intake.accept(Signal.METRICS, request)
        await pipeline.loader.flush()

        (values,) = (await samples_of(sessions, "c_total")).values()
    assert values == [1, 3, 7, 15]


async def test_a_delta_series_that_ends_is_marked_and_goes_on_where_it_was(settings):
    now = time.time_ns()
    async with opened(settings) as (sessions, pipeline):
        for at, value, marks in ((0, 1, {}), (1, 0, {"flags": 1}), (2, 2, {})):
            request = counter("c", DELTA, [(now + at * SECOND, value)], **marks)
            await pipeline.intake.accept(Signal.METRICS, request)
        await pipeline.loader.flush()

        (values,) = (await samples_of(sessions, "c_total")).values()
    assert [values[0], bits(values[1]), values[2]] == [1, STALE_NAN_BITS, 3]


async def test_start_times_are_kept(settings):
    now = time.time_ns()
    since = now - 3600 * SECOND
    async with opened(settings) as (sessions, pipeline):
        await pipeline.intake.accept(
            Signal.METRICS, counter("c", CUMULATIVE, [(now, 5)], since=since)
        )
        await pipeline.loader.flush()
        reader = Reader(sessions)
        found = await reader.read_samples(
            await series_of(reader, "c_total"), start_ms=0, end_ms=2**50
        )

    assert found.starts_ms.tolist() == [since // 1_000_000]


def exponential(now, **point):
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="h", unit="s")
    metric.exponential_histogram.aggregation_temporality = CUMULATIVE
    made = metric.exponential_histogram.data_points.add(time_unix_nano=now, **point)
    return request, made


async def read_back(sessions, name="h_seconds"):
    reader = Reader(sessions)
    series = await series_of(reader, name)
    found = await reader.read_histograms(series, start_ms=0, end_ms=2**50)
    return series, found


async def test_an_exponential_histogram_comes_back_as_a_native_one(settings):
    now = time.time_ns()
    request, point = exponential(
        now, scale=3, count=11, sum=4.5, zero_count=2, zero_threshold=0.25, start_time_unix_nano=9
    )
    point.positive.offset, point.negative.offset = -2, 7
    point.positive.bucket_counts.extend([3, 0, 300])
    point.negative.bucket_counts.extend([1])
    async with opened(settings) as (sessions, pipeline):
        await pipeline.intake.accept(Signal.METRICS, request.SerializeToString())
        await pipeline.loader.flush()
        (series,), found = await read_back(sessions)

    histograms = found.histograms
    assert series.kind == "exponential"
    assert found.ts_ms.tolist() == [now // 1_000_000]
    assert (histograms.schema[0], histograms.hint[0]) == (3, 0)
    assert (histograms.counts[0], histograms.sums[0]) == (11, 4.5)
    assert (histograms.zero_count[0], histograms.zero_threshold[0]) == (2, 0.25)
    # OTLP's bucket k is Prometheus's k + 1; empty ones are left out.
    assert (histograms.pos_index.tolist(), histograms.pos.tolist()) == ([-1, 1], [3, 300])
    assert (histograms.neg_index.tolist(), histograms.neg.tolist()) == ([8], [1])


async def test_a_scale_finer_than_prometheus_has_is_merged(settings):
    request, point = exponential(time.time_ns(), scale=10, count=6)
    point.positive.offset = -3
    point.positive.bucket_counts.extend([1, 1, 1, 1, 1, 1])  # buckets -3 to 2
    async with opened(settings) as (sessions, pipeline):
        await pipeline.intake.accept(Signal.METRICS, request.SerializeToString())
        await pipeline.loader.flush()
        _, found = await read_back(sessions)

    assert found.histograms.schema.tolist() == [8]
    assert found.histograms.pos_index.tolist() == [0, 1]
    assert found.histograms.pos.tolist() == [3, 3]


async def test_exponential_deltas_are_kept_as_such(settings):
    request, _ = exponential(time.time_ns(), scale=0, count=1)
    metric = request.resource_metrics[0].scope_metrics[0].metrics[0]
    metric.exponential_histogram.aggregation_temporality = DELTA
    async with opened(settings) as (sessions, pipeline):
        await pipeline.intake.accept(Signal.METRICS, request.SerializeToString())
        await pipeline.loader.flush()
        _, found = await read_back(sessions)

    assert found.histograms.hint.tolist() == [3]


async def test_exemplars_of_a_histogram_stand_at_the_buckets_their_values_are_in(settings):
    now = time.time_ns()
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="h", unit="s")
    metric.histogram.aggregation_temporality = CUMULATIVE
    point = metric.histogram.data_points.add(
        time_unix_nano=now, count=2, bucket_counts=[1, 0, 1], explicit_bounds=[0.1, 1]
    )
    for value, gate in ((0.05, "A1"), (7, "B2")):
        seen = point.exemplars.add(time_unix_nano=now, as_double=value, trace_id=b"t" * 16)
        seen.filtered_attributes.add(key="flight.gate").value.string_value = gate
    async with opened(settings) as (sessions, pipeline):
        await pipeline.intake.accept(Signal.METRICS, request.SerializeToString())
        await pipeline.loader.flush()
        reader = Reader(sessions)
        series = await series_of(reader, "h_seconds_bucket")
        found = await reader.read_exemplars(series, start_ms=0, end_ms=2**50)

    bounds = {dict(series[one.series].labels)["le"]: one for one in found}
    assert {le: one.value for le, one in bounds.items()} == {"0.1": 0.05, "+Inf": 7}
    assert bounds["0.1"].labels == {"flight_gate": "A1"}
    assert bounds["0.1"].trace_id == b"t" * 16
    assert bounds["0.1"].span_id == b""
