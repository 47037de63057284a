"""
The compiled scanner of exponential histograms: a row each, in Prometheus's terms.

OTLP's bucket i ends at base^(offset + i + 1), Prometheus's bucket n at base^n: so n is
offset + i + 1. Scales above 8 are merged down to 8, the finest schema that Prometheus has.
"""

# ruff: noqa: PLR0917 - compiled: no keyword arguments

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from telemetry.scan.exemplars import exemplar
from telemetry.scan.hashing import xxhash64
from telemetry.scan.points import STALE, in_time
from telemetry.scan.sink import (
    DELTA,
    Count,
    Filled,
    Histogram,
    Kind,
    Part,
    Place,
    enter,
    note,
    refuse,
    series_of,
)
from telemetry.scan.wire import as_bits, bare, field, number64, varint


if TYPE_CHECKING:
    from telemetry.scan.sink import Sink, Words
    from telemetry.scan.wire import Bytes

SCHEMA_MIN, SCHEMA_MAX = -4, 8
BUCKETS_MAX = 10_000
"""Most buckets on one side of zero."""

_OFFSET_MAX = 1 << 31

_ROWS, _ITEMS, _TIME, _SCALE, _TOO_MANY = (
    int(one) for one in (Count.ROWS, Count.ITEMS, Count.TIME, Count.SCALE, Count.BUCKETS)
)
_RECEIVED, _FLAGS, _METRIC = int(Place.RECEIVED), int(Place.FLAGS), int(Place.METRIC)
_FILLED, _FILLED_BUCKETS = int(Filled.HISTOGRAMS), int(Filled.BUCKETS)
_H_SUM, _H_START, _H_FLAGS, _H_SCHEMA, _H_COUNT, _H_ZERO, _H_THRESHOLD = (
    int(one) for one in list(Histogram)[3:10]
)
_POSITIVE, _NEGATIVE = int(Histogram.POSITIVE_OFFSET), int(Histogram.NEGATIVE_OFFSET)
_BOUNDS, _HINT = int(Histogram.BOUNDS_LENGTH), int(Histogram.HINT)
_GAUGE = np.uint64(3)
"""The hint of deltas: they are no counter."""

_BASE, _POINTS, _POINTS_END = int(Place.BASE), int(Place.POINTS), int(Place.POINTS_END)
_KIND, _EXPONENTIAL = int(Place.KIND), int(Kind.EXPONENTIAL)
_WHOLE = int(Part.WHOLE)
_U0 = np.uint64(0)
_U1 = np.uint64(1)
_MILLION = np.uint64(1_000_000)


@bare
def signed(value: np.uint64) -> Any:
    """Return the number that a varint's *value* is in sint32 or sint64."""
    return np.int64(value >> _U1) ^ -np.int64(value & _U1)


@bare
def _side(data: Bytes, start: int, stop: int) -> tuple[int, int]:
    """Return (offset, buckets) of a Buckets message."""
    offset: Any = 0
    buckets = 0
    at = start
    while at < stop:
        number, begin, at = field(data, at, stop)
        if number == 1:
            value, _ = varint(data, begin, at)
            offset = signed(value)
        elif number == 2:
            inner = begin
            while inner < at:
                _, inner = varint(data, inner, at)
                buckets += 1
    return offset, buckets


@bare
def _emit_side(
    data: Bytes, start: int, stop: int, offset: int, shift: int, row: int, column: int, sink: Sink
) -> None:
    """Put the buckets of one side behind the others, merged 2^*shift* to one."""
    at_bucket: Any = sink.filled[_FILLED_BUCKETS]
    first: Any = offset >> shift
    room = sink.buckets.shape[0]
    index: Any = np.int64(offset)
    length: Any = 0
    at = start
    while at < stop:
        number, begin, at = field(data, at, stop)
        if number != 2:
            continue
        inner = begin
        while inner < at:
            value, inner = varint(data, inner, at)
            place: Any = (index >> shift) - first
            while length <= place:
                if at_bucket + length < room:
                    sink.buckets[at_bucket + length] = 0.0
                length += 1
            if at_bucket + place < room:
                sink.buckets[at_bucket + place] += np.float64(value)
            index += 1
    sink.filled[_FILLED_BUCKETS] = at_bucket + length
    if row >= 0:
        sink.histograms[column, row] = np.uint64(first + 1)
        sink.histograms[column + 1, row] = np.uint64(length)


@bare
def exponential_point(data: Bytes, start: int, stop: int, base: np.uint64, sink: Sink) -> None:
    """Scan an ExponentialHistogramDataPoint."""
    time, since, attributes, flags, count, total = _U0, _U0, _U0, _U0, _U0, _U0
    zero, threshold = _U0, _U0
    scale: Any = 0
    positive, positive_end, negative, negative_end, exemplars = 0, 0, 0, 0, 0
    at = start
    while at < stop:
        number, begin, at = field(data, at, stop)
        if number == 1:
            attributes += xxhash64(data, begin, at)
        elif number == 2:
            since = number64(data, begin)
        elif number == 3:
            time = number64(data, begin)
        elif number == 4:
            count = number64(data, begin)
        elif number == 5:
            total = number64(data, begin)
        elif number == 6:
            value, _ = varint(data, begin, at)
            scale = signed(value)
        elif number == 7:
            zero = number64(data, begin)
        elif number == 8:
            positive, positive_end = begin, at
        elif number == 9:
            negative, negative_end = begin, at
        elif number == 10:
            flags, _ = varint(data, begin, at)
        elif number == 11:
            exemplars += 1
        elif number == 14:
            threshold = number64(data, begin)
    fault = _fault(data, time, scale, positive, positive_end, negative, negative_end, sink)
    if fault:
        sink.counts[fault] += 1
        return
    series = series_of(data, start, stop, base, attributes, 0, 1, sink)
    if series == _U0:
        return
    note(sink, series, _WHOLE, _U0, start, stop)
    sink.counts[_ROWS] += 1
    row = histogram_row(sink, series, time, since)
    shift: Any = max(0, scale - SCHEMA_MAX)
    if row >= 0:
        sink.histograms[_H_SUM, row] = STALE if flags & _U1 else total
        sink.histograms[_H_SCHEMA, row] = np.uint64(np.int64(scale - shift))
        sink.histograms[_H_COUNT, row] = as_bits(np.float64(count))
        sink.histograms[_H_ZERO, row] = as_bits(np.float64(zero))
        sink.histograms[_H_THRESHOLD, row] = threshold
    offset, _ = _side(data, positive, positive_end)
    _emit_side(data, positive, positive_end, offset, shift, row, _POSITIVE, sink)
    offset, _ = _side(data, negative, negative_end)
    _emit_side(data, negative, negative_end, offset, shift, row, _NEGATIVE, sink)
    at = start
    while exemplars and at < stop:
        number, begin, at = field(data, at, stop)
        if number == 11:
            exemplar(data, begin, at, series, sink)


@bare
def histogram_row(sink: Sink, series: np.uint64, time: np.uint64, since: np.uint64) -> Any:
    """Begin a histogram's row; return where it stands, -1 if there is no room."""
    row: Any = sink.filled[_FILLED]
    sink.filled[_FILLED] = row + 1
    if row >= sink.histograms.shape[1]:
        return -1
    out = sink.histograms
    out[0, row] = sink.place[_METRIC]
    out[1, row] = series
    out[2, row] = (time if time != _U0 else sink.place[_RECEIVED]) // _MILLION
    out[_H_START, row] = since // _MILLION
    out[_H_FLAGS, row] = sink.place[_FLAGS]
    out[_BOUNDS, row] = _U0
    out[_HINT, row] = _GAUGE if sink.place[_FLAGS] & np.uint64(DELTA) else _U0
    return row


@bare
def _fault(
    data: Bytes,
    time: np.uint64,
    scale: int,
    positive: int,
    positive_end: int,
    negative: int,
    negative_end: int,
    sink: Sink,
) -> int:
    """Return the reason to refuse a point, or 0."""
    if not in_time(time, sink.place[_RECEIVED]):
        return _TIME
    if scale < SCHEMA_MIN or scale > 20:
        return _SCALE
    for start, stop in ((positive, positive_end), (negative, negative_end)):
        offset, buckets = _side(data, start, stop)
        if buckets > BUCKETS_MAX or abs(offset) >= _OFFSET_MAX - BUCKETS_MAX:
            return _TOO_MANY
    return 0


@bare
def scan_exponentials(data: Bytes, metrics: Words, sink: Sink) -> None:
    """Scan the points of exponential histograms among *metrics* into *sink*."""
    for i in range(metrics.shape[0]):
        metric = metrics[i]
        if metric[_KIND] != np.uint64(_EXPONENTIAL):
            continue
        refused = enter(sink, metric)
        base = metric[_BASE]
        at: Any = np.int64(metric[_POINTS])
        stop: Any = np.int64(metric[_POINTS_END])
        while at < stop:
            number, begin, at = field(data, at, stop)
            if number != 1:
                continue
            if refused:
                refuse(sink)
                continue
            sink.counts[_ITEMS] += 1
            exponential_point(data, begin, at, base, sink)
