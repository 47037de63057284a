"""
The scanner of metrics: counts what will be stored and refused, and finds series never seen.

It sees a request that `wire.check` let through. What it counts as stored is exactly the rows
that `telemetry/load/metrics.sql` makes of the same bytes; both refuse by the same rules.
"""

# ruff: noqa: PLR0917, PLR1714 - compiled: no keyword arguments, and sets are slow

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from telemetry.scan.hashing import find, int_hash, xxhash64
from telemetry.scan.wire import compiled, field, number64, varint


if TYPE_CHECKING:
    from numpy.typing import NDArray

    from telemetry.scan.wire import Bytes

    Counts = NDArray[np.int64]
    New = NDArray[np.uint64]


class Count(IntEnum):
    """What a scan counts. From `TIME` on: points refused, by reason."""

    ITEMS = 0
    ROWS = 1
    TIME = 2
    NO_VALUE = 3
    NO_NAME = 4
    DELTA = 5
    EXPONENTIAL = 6
    BUCKETS = 7
    ID = 8


class Kind(IntEnum):
    """A metric's kind, as in the table `series`."""

    GAUGE = 1
    COUNTER = 2
    UPDOWN = 3
    HISTOGRAM = 4
    SUMMARY = 5


class Part(IntEnum):
    """Which series of a point: its only one, or one of a histogram's or summary's."""

    WHOLE = 0
    SUM = 1
    COUNT = 2
    BUCKET = 3
    QUANTILE = 4


NEW_FIELDS = 11
"""A new series: id, metric hash, kind, part, bound's bits, offsets of resource, metric, point."""

PAST_NS = 90 * 86_400 * 1_000_000_000
FUTURE_NS = 600 * 1_000_000_000
"""How far from the time of receipt an item may be: the retention, and ten minutes."""

_ITEMS, _ROWS, _TIME, _NO_VALUE, _NO_NAME, _DELTA, _EXPONENTIAL, _BUCKETS = range(8)
_GAUGE, _COUNTER, _UPDOWN, _HISTOGRAM, _SUMMARY = 1, 2, 3, 4, 5
_WHOLE, _SUM, _COUNT, _BUCKET, _QUANTILE = range(5)
_U0 = np.uint64(0)
_INFINITY = np.uint64(0x7FF0000000000000)
_CUMULATIVE = np.uint64(2)


@compiled
def in_time(time: np.uint64, received: np.uint64) -> bool:
    """Whether an item of Unix nanosecond *time* is accepted; 0 means unknown, so now."""
    if time == _U0:
        return True
    return bool(received - np.uint64(PAST_NS) <= time <= received + np.uint64(FUTURE_NS))


@compiled
def _note(
    known: NDArray[np.uint64],
    new: New,
    at: int,
    series: np.uint64,
    place: NDArray[np.uint64],
    part: int,
    bound: np.uint64,
    point: int,
    point_end: int,
) -> int:
    """Write down *series* at row *at* of *new* unless it is known; return the next free row."""
    if find(known, series) >= 0:
        return at
    if at < new.shape[0]:
        new[at, 0] = series
        new[at, 1] = place[0]
        new[at, 2] = place[1]
        new[at, 3] = np.uint64(part)
        new[at, 4] = bound
        new[at, 5] = place[2]
        new[at, 6] = place[3]
        new[at, 7] = place[4]
        new[at, 8] = place[5]
        new[at, 9] = np.uint64(point)
        new[at, 10] = np.uint64(point_end)
    return at + 1


@compiled
def _number(data: Bytes, start: int, stop: int, received: np.uint64) -> tuple[int, np.uint64]:
    """Return (reason to refuse or 0, attributes' hash) of a NumberDataPoint."""
    time, attributes, flags, has_value = _U0, _U0, _U0, False
    at = start
    while at < stop:
        number, begin, at = field(data, at, stop)
        if number == 3:
            time = number64(data, begin)
        elif number == 4 or number == 6:
            has_value = True
        elif number == 7:
            attributes += xxhash64(data, begin, at)
        elif number == 8:
            flags, _ = varint(data, begin, at)
    if not in_time(time, received):
        return _TIME, attributes
    if not has_value and flags & np.uint64(1) == _U0:
        return _NO_VALUE, attributes
    return 0, attributes


@compiled
def _histogram(
    data: Bytes, start: int, stop: int, received: np.uint64
) -> tuple[int, np.uint64, int, bool]:
    """Return (reason to refuse or 0, attributes' hash, bounds, whether there is a sum)."""
    time, attributes, counts, bounds, has_sum = _U0, _U0, 0, 0, False
    at = start
    while at < stop:
        number, begin, at = field(data, at, stop)
        if number == 3:
            time = number64(data, begin)
        elif number == 5:
            has_sum = True
        elif number == 6:
            counts += (at - begin) // 8
        elif number == 7:
            bounds += (at - begin) // 8
        elif number == 9:
            attributes += xxhash64(data, begin, at)
    if not in_time(time, received):
        return _TIME, attributes, bounds, has_sum
    if counts != bounds + 1 and (counts != 0 or bounds != 0):
        return _BUCKETS, attributes, bounds, has_sum
    return 0, attributes, bounds, has_sum


@compiled
def _scan_points(
    data: Bytes,
    start: int,
    stop: int,
    base: np.uint64,
    kind: int,
    received: np.uint64,
    known: NDArray[np.uint64],
    new: New,
    filled: int,
    place: NDArray[np.uint64],
    counts: Counts,
) -> int:
    """Scan the points of one metric's data; return how many rows of *new* are filled."""
    at = start
    while at < stop:
        number, begin, at = field(data, at, stop)
        if number != 1:
            continue
        counts[_ITEMS] += 1
        if kind == _HISTOGRAM:
            fault, attributes, bounds, has_sum = _histogram(data, begin, at, received)
        elif kind == _SUMMARY:
            fault, attributes, bounds, has_sum = _summary(data, begin, at, received)
        else:
            fault, attributes = _number(data, begin, at, received)
            bounds, has_sum = 0, False
        if fault:
            counts[fault] += 1
            continue
        series = int_hash(base + attributes)
        if kind < _HISTOGRAM:
            counts[_ROWS] += 1
            filled = _note(known, new, filled, series, place, _WHOLE, _U0, begin, at)
            continue
        counts[_ROWS] += bounds + (2 if kind == _HISTOGRAM else 1) + has_sum
        if has_sum:
            one = int_hash(series + np.uint64(_SUM))
            filled = _note(known, new, filled, one, place, _SUM, _U0, begin, at)
        one = int_hash(series + np.uint64(_COUNT))
        filled = _note(known, new, filled, one, place, _COUNT, _U0, begin, at)
        part = _BUCKET if kind == _HISTOGRAM else _QUANTILE
        parts = int_hash(series + np.uint64(part))
        if kind == _HISTOGRAM:
            one = int_hash(parts ^ _INFINITY)
            filled = _note(known, new, filled, one, place, part, _INFINITY, begin, at)
        if bounds:
            filled = _scan_bounds(data, begin, at, parts, kind, known, new, filled, place, part)
    return filled


@compiled
def _summary(
    data: Bytes, start: int, stop: int, received: np.uint64
) -> tuple[int, np.uint64, int, bool]:
    """Return (reason to refuse or 0, attributes' hash, quantiles, True) of a SummaryDataPoint."""
    time, attributes, quantiles = _U0, _U0, 0
    at = start
    while at < stop:
        number, begin, at = field(data, at, stop)
        if number == 3:
            time = number64(data, begin)
        elif number == 6:
            quantiles += 1
        elif number == 7:
            attributes += xxhash64(data, begin, at)
    return (0 if in_time(time, received) else _TIME), attributes, quantiles, True


@compiled
def _scan_bounds(
    data: Bytes,
    start: int,
    stop: int,
    parts: np.uint64,
    kind: int,
    known: NDArray[np.uint64],
    new: New,
    filled: int,
    place: NDArray[np.uint64],
    part: int,
) -> int:
    """Note the series of each bound of a histogram's point, or quantile of a summary's."""
    at = start
    while at < stop:
        number, begin, at = field(data, at, stop)
        if kind == _HISTOGRAM and number == 7:
            for offset in range(begin, at, 8):
                bound = number64(data, offset)
                one = int_hash(parts ^ bound)
                filled = _note(known, new, filled, one, place, part, bound, start, stop)
        elif kind == _SUMMARY and number == 6:
            bound = _U0
            inner = begin
            while inner < at:
                field_number, value, inner = field(data, inner, at)
                if field_number == 1:
                    bound = number64(data, value)
            one = int_hash(parts ^ bound)
            filled = _note(known, new, filled, one, place, part, bound, start, stop)
    return filled


@compiled
def _scan_metric(
    data: Bytes,
    start: int,
    stop: int,
    target: np.uint64,
    received: np.uint64,
    known: NDArray[np.uint64],
    new: New,
    filled: int,
    place: NDArray[np.uint64],
    counts: Counts,
) -> int:
    """Scan one Metric; return how many rows of *new* are filled."""
    name, unit, named = xxhash64(data, 0, 0), xxhash64(data, 0, 0), False
    kind, points, points_end = 0, 0, 0
    at = start
    while at < stop:
        number, begin, at = field(data, at, stop)
        if number == 1:
            name, named = xxhash64(data, begin, at), at > begin
        elif number == 3:
            unit = xxhash64(data, begin, at)
        elif number == 5 or number == 7 or number == 9 or number == 10 or number == 11:
            kind, points, points_end = number, begin, at
    if kind == 0:
        return filled
    items, cumulative, monotonic = 0, False, False
    at = points
    while at < points_end:
        number, begin, at = field(data, at, points_end)
        if number == 1:
            items += 1
        elif number == 2 and kind != 5:
            value, _ = varint(data, begin, at)
            cumulative = value == _CUMULATIVE
        elif number == 3 and kind == 7:
            value, _ = varint(data, begin, at)
            monotonic = value != _U0
    refusal = 0
    if not named:
        refusal = _NO_NAME
    elif kind == 10:
        refusal = _EXPONENTIAL
    elif (kind == 7 or kind == 9) and not cumulative:
        refusal = _DELTA
    if refusal:
        counts[_ITEMS] += items
        counts[refusal] += items
        return filled
    if kind == 5:
        series_kind = _GAUGE
    elif kind == 7:
        series_kind = _COUNTER if monotonic else _UPDOWN
    else:
        series_kind = _HISTOGRAM if kind == 9 else _SUMMARY
    base = int_hash(target + int_hash(name + int_hash(unit + np.uint64(series_kind))))
    place[0] = name
    place[1] = np.uint64(series_kind)
    place[4] = np.uint64(start)
    place[5] = np.uint64(stop)
    return _scan_points(
        data, points, points_end, base, series_kind, received, known, new, filled, place, counts
    )


@compiled
def scan_metrics(
    data: Bytes, tenant: np.uint64, received: np.uint64, known: NDArray[np.uint64], new: New
) -> tuple[Counts, int]:
    """
    Return (counts by `Count`, rows of *new* filled).

    More rows than *new* has means that it was too small: try again with as many.

    Args:
        tenant: xxHash64 of the tenant's name.
        received: When the request came, Unix nanoseconds.
        known: Hash set of the ids of known series.
        new: Gets a row of `NEW_FIELDS` for each sample of a series not known.

    """
    counts = np.zeros(9, np.int64)
    place = np.zeros(6, np.uint64)
    filled = 0
    at = 0
    while at < data.shape[0]:
        number, begin, at = field(data, at, data.shape[0])
        if number != 1:
            continue
        resource, resource_end, attributes = begin, begin, _U0
        inner = begin
        while inner < at:
            inner_number, start, inner = field(data, inner, at)
            if inner_number == 1:
                resource, resource_end = start, inner
        inner = resource
        while inner < resource_end:
            inner_number, start, inner = field(data, inner, resource_end)
            if inner_number == 1:
                attributes += xxhash64(data, start, inner)
        target = int_hash(attributes + tenant)
        place[2] = np.uint64(resource)
        place[3] = np.uint64(resource_end)
        inner = begin
        while inner < at:
            inner_number, start, inner = field(data, inner, at)
            if inner_number != 2:
                continue
            deep, deep_end = start, inner
            while deep < deep_end:
                deep_number, start, deep = field(data, deep, deep_end)
                if deep_number == 2:
                    filled = _scan_metric(
                        data, start, deep, target, received, known, new, filled, place, counts
                    )
    return counts, filled
