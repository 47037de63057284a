"""The compiled scanner of OTLP metrics down to their points: what holds for all of a metric."""

# ruff: noqa: PLR1714 - sets are slow when compiled

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from telemetry.scan.hashing import int_hash, xxhash64
from telemetry.scan.sink import ADDS, DELTA, PLACES, Count, Kind, Place
from telemetry.scan.wire import bare, compiled, field, varint


if TYPE_CHECKING:
    from telemetry.scan.sink import Words
    from telemetry.scan.wire import Bytes

_NO_NAME, _TEMPORALITY = int(Count.NO_NAME), int(Count.TEMPORALITY)
_GAUGE, _COUNTER, _UPDOWN = int(Kind.GAUGE), int(Kind.COUNTER), int(Kind.UPDOWN)
_HISTOGRAM, _SUMMARY, _EXPONENTIAL = (
    int(Kind.HISTOGRAM),
    int(Kind.SUMMARY),
    int(Kind.EXPONENTIAL),
)
_METRIC, _KIND, _RESOURCE, _RESOURCE_END, _HEADER, _HEADER_END, _RECEIVED, _FLAGS = (
    int(one) for one in list(Place)[:8]
)
_GROUP, _BASE, _POINTS, _POINTS_END, _REFUSAL = (int(one) for one in list(Place)[9:])
_DELTA_FLAG, _ADDS_FLAG = np.uint64(DELTA), np.uint64(ADDS)
_DELTA_KIND = np.uint64(16)
"""What a delta stream's kind differs by in its id: a cumulative one of the name is another."""

_OTLP_DELTA, _OTLP_CUMULATIVE = np.uint64(1), np.uint64(2)
_U0 = np.uint64(0)


@bare
def _kind(number: int, monotonic: bool) -> int:  # noqa: FBT001 - compiled
    """Return the `Kind` of a metric whose data is in field *number*."""
    if number == 5:
        return _GAUGE
    if number == 7:
        return _COUNTER if monotonic else _UPDOWN
    if number == 9:
        return _HISTOGRAM
    return _EXPONENTIAL if number == 10 else _SUMMARY


@bare
def _metric(data: Bytes, start: int, stop: int, target: np.uint64, row: Words) -> None:
    """Put what holds for all of a Metric into *row*."""
    name, unit, named = xxhash64(data, 0, 0), xxhash64(data, 0, 0), False
    which, points, points_end = 0, 0, 0
    at = start
    while at < stop:
        number, begin, at = field(data, at, stop)
        if number == 1:
            name, named = xxhash64(data, begin, at), at > begin
        elif number == 3:
            unit = xxhash64(data, begin, at)
        elif number == 5 or number == 7 or number == 9 or number == 10 or number == 11:
            which, points, points_end = number, begin, at
    temporality, monotonic = _U0, False
    at = points
    while at < points_end:
        number, begin, at = field(data, at, points_end)
        if number == 2 and which != 5:
            temporality, _ = varint(data, begin, at)
        elif number == 3 and which == 7:
            value, _ = varint(data, begin, at)
            monotonic = value != _U0
    delta = temporality == _OTLP_DELTA
    refusal = 0
    if not named:
        refusal = _NO_NAME
    elif which != 5 and which != 11 and not delta and temporality != _OTLP_CUMULATIVE:
        refusal = _TEMPORALITY
    kind = _kind(which, monotonic) if which else 0
    marked = np.uint64(kind) + (_DELTA_KIND if delta else _U0)
    row[_METRIC] = name
    row[_KIND] = np.uint64(kind)
    row[_HEADER] = np.uint64(start)
    row[_HEADER_END] = np.uint64(stop)
    row[_FLAGS] = (_DELTA_FLAG if delta else _U0) | (_U0 if kind == _GAUGE else _ADDS_FLAG)
    row[_BASE] = int_hash(target + int_hash(name + int_hash(unit + marked)))
    row[_POINTS] = np.uint64(points)
    row[_POINTS_END] = np.uint64(points_end)
    row[_REFUSAL] = np.uint64(refusal)


@compiled
def list_metrics(data: Bytes, tenant: np.uint64, received: np.uint64) -> Words:
    """
    Return the metrics of a checked ExportMetricsServiceRequest, a row of `Place` each.

    Args:
        tenant: xxHash64 of the tenant's name.
        received: When the request came, Unix nanoseconds.

    """
    rows = np.zeros((16, PLACES), np.uint64)
    count = 0
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
        inner = begin
        while inner < at:
            inner_number, start, inner = field(data, inner, at)
            if inner_number != 2:
                continue
            deep, deep_end = start, inner
            while deep < deep_end:
                deep_number, start, deep = field(data, deep, deep_end)
                if deep_number != 2:
                    continue
                if count == rows.shape[0]:
                    more = np.zeros((count * 2, PLACES), np.uint64)
                    more[:count] = rows
                    rows = more
                row = rows[count]
                row[_RESOURCE] = np.uint64(resource)
                row[_RESOURCE_END] = np.uint64(resource_end)
                row[_RECEIVED] = received
                row[_GROUP] = int_hash(tenant)
                _metric(data, start, deep, target, row)
                row[_GROUP] = int_hash(tenant + row[_METRIC])
                count += 1
    return rows[:count]
