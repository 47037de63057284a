"""ForecastService, through a real server with mutual TLS, over a real store."""

import math

import grpc
import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from aerofusion.telemetry.v1 import forecast_service_pb2 as pb
from meshkit.status import from_rpc_error
from tests.contract.telemetry_trends.conftest import END_MS, HOURS, START_MS, load


pytestmark = pytest.mark.asyncio(loop_scope="module")
DAY = 86_400


def at(ms):
    return Timestamp(seconds=ms // 1000)


def days(number):
    return Duration(seconds=DAY * number)


async def refused(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


async def test_a_week_is_forecast_with_its_seasons_and_backtest(asking):
    answer = await asking.trends.Forecast(
        pb.ForecastRequest(query="load", horizon=days(1), time=at(END_MS), with_history=True)
    )

    (one,) = answer.forecasts
    assert [season.seconds // 3600 for season in one.seasons] == [24, 168]
    np.testing.assert_allclose(one.point, load(np.arange(HOURS, HOURS + 24)), rtol=0.1)
    assert one.timestamps_ms[0] == END_MS + 3_600_000
    assert len(one.point) == len(one.p10) == len(one.p50) == len(one.p90) == 24
    assert one.backtest.origins > 1
    assert sum(one.backtest.weights.values()) == pytest.approx(1)
    assert one.history_start_ms == START_MS
    assert len(one.history) == HOURS
    assert answer.notes.samples_touched > 0


async def test_a_full_disk_has_a_date_with_an_interval(asking):
    answer = await asking.trends.Forecast(
        pb.ForecastRequest(
            query="disk_used", horizon=days(14), threshold=1000 + HOURS + 100, time=at(END_MS)
        )
    )

    found = answer.forecasts[0].exhaustion
    expected_s = END_MS / 1000 + 101 * 3600
    assert found.earliest_time.seconds <= found.likely_time.seconds <= found.latest_time.seconds
    assert abs(found.likely_time.seconds - expected_s) <= 4 * 3600
    assert found.probability == 1


async def test_a_threshold_beyond_the_horizon_has_no_date(asking):
    answer = await asking.trends.Forecast(
        pb.ForecastRequest(query="disk_used", horizon=days(1), threshold=1e9, time=at(END_MS))
    )

    found = answer.forecasts[0].exhaustion
    assert not found.HasField("likely_time")
    assert found.probability == 0


async def test_too_young_a_series_gets_the_reason_instead(asking):
    answer = await asking.trends.Forecast(
        pb.ForecastRequest(query="new_thing", horizon=days(1), time=at(END_MS))
    )

    (one,) = answer.forecasts
    assert list(one.reasons) == ["5 values are too few; a forecast takes 16."]
    assert not one.point
    assert not one.HasField("backtest")


async def test_told_seasons_are_used(asking):
    answer = await asking.trends.Forecast(
        pb.ForecastRequest(query="load", horizon=days(1), seasons=[days(1)], time=at(END_MS))
    )

    assert [season.seconds for season in answer.forecasts[0].seasons] == [DAY]


async def test_bands_are_columns_as_long_as_the_range(asking):
    answer = await asking.trends.ComputeAnomalyBands(
        pb.ComputeAnomalyBandsRequest(
            query="load",
            start_time=at(START_MS),
            end_time=at(END_MS),
            step=Duration(seconds=3600),
        )
    )

    (one,) = answer.bands
    assert len(one.timestamps_ms) == len(one.values) == len(one.lower) == len(one.upper) == HOURS
    assert math.isnan(one.expected[0])
    assert one.lower[-1] <= one.values[-1] <= one.upper[-1]


async def test_sizes_come_from_what_was_used_and_what_is_expected(asking):
    answer = await asking.trends.AdviseSizes(pb.AdviseSizesRequest(history=days(21)))

    (one,) = answer.advice
    assert (one.service, one.replicas) == ("aerofusion/notifier", 1)
    assert 0.6 < one.cpu.p95 <= one.cpu.request < 1.2
    assert one.cpu.limit == 0
    assert one.memory.expected_peak > one.memory.peak
    assert one.memory.request == pytest.approx(1.15 * one.memory.expected_peak)
    assert one.memory.limit == pytest.approx(1.5 * one.memory.request)


async def test_services_may_be_named_without_their_namespace(asking):
    named = await asking.trends.AdviseSizes(
        pb.AdviseSizesRequest(history=days(21), services=["notifier"])
    )
    none = await asking.trends.AdviseSizes(
        pb.AdviseSizesRequest(history=days(21), services=["syncd"])
    )

    assert (len(named.advice), len(none.advice)) == (1, 0)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.ForecastRequest(horizon=days(1)), "query"),
        (pb.ForecastRequest(query="load"), "horizon"),
        (pb.ForecastRequest(query="load", horizon=days(200)), "horizon"),
        (pb.ForecastRequest(query="load", horizon=days(1), history=days(500)), "history"),
        (
            pb.ForecastRequest(query="load", horizon=days(1), step=Duration(seconds=1)),
            "step",
        ),
        (
            pb.ForecastRequest(query="load", horizon=days(1), seasons=[Duration(seconds=5)]),
            "seasons[0]",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_can_never_be_forecast_is_refused_by_field(asking, request_, field):
    error = await refused(asking.trends.Forecast(request_))

    assert error.reason == "INVALID_FIELD"
    assert field in error.field_violations


async def test_an_expression_that_cannot_be_read_is_refused_as_queries_are(asking):
    error = await refused(asking.trends.Forecast(pb.ForecastRequest(query="1+", horizon=days(1))))

    assert error.reason == "QUERY_INVALID"
