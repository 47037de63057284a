"""`forecast` and its kin as PromQL has them."""

import numpy as np
import pytest

from meshkit.errors import InvalidInput
from telemetry.promql.engine import Engine
from telemetry.promql.labels import make
from tests.scenarios.telemetry_query.memory import MemorySource


HOUR_MS = 3_600_000


def load(hours: int) -> np.ndarray:
    return 100 + 50 * np.sin(2 * np.pi * np.arange(hours) / 24)


@pytest.fixture
def engine() -> Engine:
    source = MemorySource()
    for hour, value in enumerate(load(24 * 28)):
        source.add(make({"__name__": "load", "host": "a"}), hour * HOUR_MS, np.float64(value))
        source.add(make({"__name__": "disk", "host": "a"}), hour * HOUR_MS, np.float64(10 + hour))
    return Engine(source=source)


END_MS = (24 * 28 - 1) * HOUR_MS


def value(engine: Engine, query: str, at_ms: int = END_MS) -> float:
    (one,) = engine.instant(query, at_ms).series
    return float(one.values[0])


def test_a_forecast_follows_the_season(engine):
    assert value(engine, "forecast(load[28d], 6 * 3600)") == pytest.approx(load(700)[677], abs=3)
    assert value(engine, "forecast(load[28d], 18 * 3600)") == pytest.approx(load(700)[689], abs=3)


def test_a_forecast_follows_a_trend(engine):
    assert value(engine, "forecast(disk[28d], 7 * 86400)") == pytest.approx(681 + 168, rel=0.01)


def test_a_higher_quantile_is_no_lower(engine):
    low, high = (value(engine, f"forecast(load[28d], 3600, {q})") for q in (0.1, 0.9))

    assert low <= high


def test_the_newest_value_is_judged_by_those_before(engine):
    lower = value(engine, "anomaly_lower(load[28d])")
    upper = value(engine, "anomaly_upper(load[28d])")

    assert lower <= load(672)[-1] <= upper


def test_more_deviations_make_a_wider_band(engine):
    assert value(engine, "anomaly_upper(load[28d], 9)") >= value(engine, "anomaly_upper(load[28d])")


def test_a_subquery_can_be_forecast(engine):
    found = value(engine, "forecast(avg_over_time(disk[2h])[14d:1h], 86400)")

    assert found == pytest.approx(680.5 + 24, rel=0.01)


def test_too_short_a_window_has_no_forecast(engine):
    assert not engine.instant("forecast(load[5h], 60)", END_MS).series


@pytest.mark.parametrize("query", ["forecast(load[1d], 5 * 86400)", "forecast(load[1d], 0)"])
def test_a_time_that_is_too_far_ahead_is_refused(engine, query):
    with pytest.raises(InvalidInput, match="time ahead") as caught:
        engine.instant(query, END_MS)

    assert caught.value.reason == "QUERY_FAILED"


def test_a_quantile_outside_0_to_1_is_refused(engine):
    with pytest.raises(InvalidInput, match="quantile"):
        engine.instant("forecast(load[28d], 60, 1)", END_MS)


def test_too_many_windows_are_refused_before_any_is_computed(engine):
    with pytest.raises(InvalidInput) as caught:
        engine.range("forecast(load[28d], 60)", 0, END_MS, 300_000)

    assert caught.value.reason == "QUERY_TOO_LARGE"
