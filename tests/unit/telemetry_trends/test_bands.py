import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from telemetry.trends.bands import bands
from telemetry.trends.decompose import decompose
from telemetry.trends.grid import filled, on_grid
from telemetry.trends.seasons import find_seasons


def day(days: int) -> np.ndarray:
    return 100 + 50 * np.sin(2 * np.pi * np.arange(24 * days) / 24)


def test_a_usual_day_stays_within_its_bands_and_an_odd_hour_does_not(rng):
    y = day(20) + rng.normal(0, 2, 480)
    y[470] += 40

    got = bands(y, (24,))

    beyond = np.flatnonzero((y > got.upper) | (y < got.lower))
    assert 470 in beyond
    assert beyond.size <= 5


def test_an_outlier_in_the_past_does_not_widen_the_bands(rng):
    y = day(20) + rng.normal(0, 2, 480)
    spoiled = y.copy()
    spoiled[470 - 24] = 1e9

    np.testing.assert_allclose(bands(spoiled, (24,)).upper[470], bands(y, (24,)).upper[470], atol=5)


def test_bands_know_only_what_came_before(rng):
    y = day(15) + rng.normal(0, 2, 360)
    later = y.copy()
    later[300:] = 0

    early, late = bands(y, (24,)), bands(later, (24,))

    np.testing.assert_array_equal(early.upper[:301], late.upper[:301])


def test_too_little_past_has_no_band(rng):
    got = bands(rng.normal(0, 1, 100), (24,))

    assert np.isnan(got.expected[:72]).all()
    assert np.isfinite(got.expected[96:]).all()


@given(
    hnp.arrays(np.float64, st.integers(0, 200), elements=st.floats(-1e6, 1e6) | st.just(np.nan)),
    st.sampled_from([(), (7,), (5, 20)]),
)
@settings(deadline=None)
def test_bands_are_ordered_and_as_long_as_the_series(y, seasons):
    got = bands(y, seasons)

    assert got.lower.shape == got.upper.shape == y.shape
    known = ~np.isnan(got.expected)
    assert (got.lower[known] <= got.expected[known]).all()
    assert (got.expected[known] <= got.upper[known]).all()


def test_the_parts_of_a_series_sum_to_it(rng):
    y = day(20) + 0.5 * np.arange(480) + rng.normal(0, 1, 480)

    parts = decompose(y, (24,))

    np.testing.assert_allclose(parts.trend + sum(parts.seasonal) + parts.remainder, y)
    assert parts.seasonal_strength > 0.95
    assert 0.48 < np.polyfit(np.arange(400), parts.trend[40:440], 1)[0] < 0.52


def test_noise_has_no_season(rng):
    assert find_seasons(rng.normal(0, 1, 2000)) == ()


def test_a_trend_is_no_season():
    assert find_seasons(np.arange(500.0)) == ()


def test_a_season_is_found_among_outliers_and_gaps(rng):
    y = day(14) + rng.normal(0, 5, 336)
    y[::50] = 5000
    y[100:110] = np.nan

    assert find_seasons(y) == (24,)


def test_a_gap_takes_what_is_usual_at_that_hour():
    y = day(10)
    gone = y.copy()
    gone[100:112] = np.nan

    np.testing.assert_allclose(filled(gone, (24,)), y, atol=1e-6)


def test_samples_off_the_grid_and_infinite_ones_are_gaps():
    ts = np.array([0, 1000, 1500, 3000])

    got = on_grid(ts, np.array([1.0, np.inf, 2.0, 4.0]), 0, 1000, 4)

    np.testing.assert_array_equal(got, [1, np.nan, np.nan, 4])
