import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from telemetry.trends.backtest import origins_of, quantiles_of, weights_of
from telemetry.trends.exhaustion import NEVER, exhaustion
from telemetry.trends.forecast import POINTS_MIN, Forecast, Refused, forecast


def week(weeks: int) -> np.ndarray:
    """Hourly values with a day and a quieter weekend."""
    hours = np.arange(weeks * 168)
    day = 50 + 40 * np.sin(2 * np.pi * hours / 24)
    return day * np.where(hours // 24 % 7 >= 5, 0.5, 1.0)


def made(y: np.ndarray, horizon: int, seasons: tuple[int, ...] | None = None) -> Forecast:
    got = forecast(y, horizon, seasons)
    assert isinstance(got, Forecast)
    return got


@pytest.mark.parametrize("value", [0.0, 7.5, -3e9, 1e-12])
def test_what_never_changed_goes_on(value):
    got = made(np.full(100, value), 30)

    assert got.seasons == ()
    for line in (got.point, got.p10, got.p50, got.p90):
        np.testing.assert_allclose(line, value, rtol=1e-12)


@pytest.mark.parametrize("slope", [2.0, -0.5])
def test_a_straight_line_goes_on_straight(slope):
    y = 1000 + slope * np.arange(300)

    got = made(y, 60)

    np.testing.assert_allclose(got.point, 1000 + slope * np.arange(300, 360), rtol=1e-6)


def test_a_day_and_a_week_are_found_and_go_on():
    y = week(9)

    got = made(y[:-168], 168)

    assert got.seasons == (24, 168)
    np.testing.assert_allclose(got.point, y[-168:], atol=5)


def test_a_season_on_a_trend_goes_on_with_both():
    hours = np.arange(24 * 30)
    y = 3 * hours + 100 * np.sin(2 * np.pi * hours / 24)

    got = made(y[:-48], 48)

    assert got.seasons == (24,)
    np.testing.assert_allclose(got.point, y[-48:], rtol=0.02)


def test_gaps_and_outliers_hardly_move_the_forecast(rng):
    y = week(8)
    broken = y.copy()
    broken[rng.choice(y.size, 60, replace=False)] = np.nan
    broken[rng.choice(y.size, 10, replace=False)] = 1e6
    broken[300:310] = np.inf

    got = made(broken, 24)

    assert got.seasons == (24, 168)
    np.testing.assert_allclose(got.point, y[:24], atol=5)


def test_a_job_once_a_day_goes_on_although_it_is_rare():
    y = np.zeros(24 * 30)
    y[5::24] = 100.0

    got = made(y, 24)

    assert got.seasons == (24,)
    assert got.point.argmax() == 5
    assert got.point[5] > 90


def test_a_new_level_is_followed_and_not_taken_for_an_outlier():
    y = np.concatenate([np.full(100, 10.0), np.full(100, 500.0)])

    got = made(y, 20)

    np.testing.assert_allclose(got.point, 500, rtol=0.05)


def test_too_few_values_are_refused_with_their_number():
    got = forecast(np.arange(POINTS_MIN - 1.0), 5)

    assert got == Refused((f"{POINTS_MIN - 1} values are too few; a forecast takes {POINTS_MIN}.",))


def test_nothing_at_all_is_refused():
    assert isinstance(forecast(np.full(1000, np.nan), 5), Refused)


def test_a_season_not_seen_three_times_is_left_out_and_told(rng):
    got = made(rng.normal(10, 1, 200), 24, (24, 168))

    assert got.seasons == (24,)
    assert got.reasons[0].startswith("A season of 168 points was not seen three times")


def test_a_horizon_that_history_cannot_test_is_told_and_widens(rng):
    got = made(np.cumsum(rng.normal(0, 1, 100)), 400)

    width = got.p90 - got.p10
    assert any("could be tested" in reason for reason in got.reasons)
    assert width[-1] > 1.5 * width[50]


def test_noise_is_mostly_within_its_band(rng):
    inside = []
    for _ in range(40):
        y = 100 + 20 * np.sin(2 * np.pi * np.arange(624) / 24) + rng.normal(0, 5, 624)
        got = made(y[:600], 24)
        inside.append(np.mean((y[600:] >= got.p10) & (y[600:] <= got.p90)))

    assert 0.7 <= np.mean(inside) <= 0.9


def test_the_mixture_beats_the_seasonal_naive_on_a_noisy_season(rng):
    y = week(10) + rng.normal(0, 8, 1680)

    judged = made(y, 24).backtest

    assert judged.mae < 0.85 * judged.naive_mae
    assert judged.mase < judged.naive_mase
    assert sum(judged.weights.values()) == pytest.approx(1)


def test_a_full_disk_has_a_date():
    y = 100 + 1.0 * np.arange(200)

    got = exhaustion(made(y, 150), 400, rising=True)

    assert 98 <= got.earliest <= got.likely <= got.latest <= 104
    assert got.probability == 1


def test_what_does_not_run_out_has_no_date():
    got = exhaustion(made(np.full(100, 5.0), 50), 100, rising=True)

    assert (got.earliest, got.likely, got.latest, got.probability) == (NEVER, NEVER, NEVER, 0)


def test_a_falling_series_reaches_its_floor_from_above():
    got = exhaustion(made(1000 - 2.0 * np.arange(300), 250), 0, rising=False)

    assert 198 <= got.likely <= 204


@given(
    y=hnp.arrays(
        np.float64,
        st.integers(0, 260),
        elements=st.one_of(
            st.floats(-1e9, 1e9), st.just(0.0), st.just(np.nan), st.just(np.inf), st.just(1.0)
        ),
    ),
    horizon=st.integers(1, 60),
    seasons=st.one_of(st.none(), st.just(()), st.just((7,)), st.just((24, 7)), st.just((1000,))),
)
@settings(deadline=None, max_examples=150)
def test_whatever_comes_is_forecast_in_finite_ordered_numbers_or_refused(y, horizon, seasons):
    got = forecast(y, horizon, seasons)

    if isinstance(got, Refused):
        assert got.reasons
        return
    assert got.point.shape == got.p10.shape == got.p90.shape == (horizon,)
    assert np.isfinite(got.paths).all()
    assert (got.p10 <= got.p50).all()
    assert (got.p50 <= got.p90).all()


@given(shift=st.floats(-1e6, 1e6), scale=st.floats(0.001, 1000))
@settings(deadline=None, max_examples=25)
def test_other_units_make_the_same_forecast_in_those_units(shift, scale):
    y = np.cumsum(np.random.default_rng(4).normal(0, 1, 300)) - 1000

    plain, moved = made(y, 20, ()), made(scale * y - abs(shift), 20, ())

    tolerance = 1e-6 * (scale + abs(shift))
    np.testing.assert_allclose(moved.p90, scale * plain.p90 - abs(shift), atol=tolerance)


@given(points=st.integers(0, 500), season=st.integers(2, 60), horizon=st.integers(1, 100))
def test_origins_lie_whole_seasons_apart_and_within_the_series(points, season, horizon):
    got = origins_of(points, (season,), horizon)

    assert all(2 * season <= origin <= points - horizon for origin in got)
    assert all(b - a == season for a, b in itertools.pairwise(got))


def test_whoever_is_far_from_the_best_has_no_weight():
    np.testing.assert_allclose(weights_of(np.array([1.0, 1.0, 9.0])), [0.5, 0.5, 0])


def test_a_perfect_method_takes_all():
    np.testing.assert_allclose(weights_of(np.array([0.0, 0.1])), [1, 0])


def test_quantiles_take_conformal_ranks():
    residuals = np.arange(1.0, 20.0)[:, None]

    low, middle, high = quantiles_of(residuals, 1, (0.1, 0.5, 0.9))

    assert (low[0], middle[0], high[0]) == (2, 10, 18)
