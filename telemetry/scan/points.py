"""
The compiled scanner of metrics' points: rows of what is stored, counts of what is refused.

It sees points of a request that `wire.check` let through. A classic histogram's or summary's
point is a row for each of its series, as Prometheus has them.
"""

# ruff: noqa: PLR0917, PLR1714 - compiled: no keyword arguments, and sets are slow

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from telemetry.scan.exemplars import exemplar
from telemetry.scan.hashing import int_hash, xxhash64
from telemetry.scan.sink import (
    Count,
    Kind,
    Part,
    Place,
    Sample,
    emit,
    enter,
    note,
    refuse,
    series_of,
)
from telemetry.scan.wire import as_bits, as_float, bare, field, number64, varint


if TYPE_CHECKING:
    from telemetry.scan.sink import Sink, Words
    from telemetry.scan.wire import Bytes

PAST_NS = 90 * 86_400 * 1_000_000_000
FUTURE_NS = 600 * 1_000_000_000
"""How far from the time of receipt an item may be: the retention, and ten minutes."""

STALE = np.uint64(0x7FF0000000000002)
"""`telemetry.store.model.STALE_NAN_BITS`."""

_TIME, _NO_VALUE, _BUCKETS = int(Count.TIME), int(Count.NO_VALUE), int(Count.BUCKETS)
_ROWS, _ITEMS = int(Count.ROWS), int(Count.ITEMS)
_HISTOGRAM, _SUMMARY, _UPDOWN = int(Kind.HISTOGRAM), int(Kind.SUMMARY), int(Kind.UPDOWN)
_BASE, _POINTS, _POINTS_END = int(Place.BASE), int(Place.POINTS), int(Place.POINTS_END)
_KIND = int(Place.KIND)
_WHOLE, _SUM, _COUNT = int(Part.WHOLE), int(Part.SUM), int(Part.COUNT)
_BUCKET, _QUANTILE = int(Part.BUCKET), int(Part.QUANTILE)
_VALUE = int(Sample.VALUE)
_RECEIVED, _FLAGS = int(Place.RECEIVED), int(Place.FLAGS)
_U0 = np.uint64(0)
_U1 = np.uint64(1)
_INFINITY = np.uint64(0x7FF0000000000000)


@bare
def in_time(time: np.uint64, received: np.uint64) -> bool:
    """Whether an item of Unix nanosecond *time* is accepted; 0 means unknown, so now."""
    if time == _U0:
        return True
    return bool(received - np.uint64(PAST_NS) <= time <= received + np.uint64(FUTURE_NS))


@bare
def number_point(data: Bytes, start: int, stop: int, base: np.uint64, sink: Sink) -> None:
    """Scan a NumberDataPoint of the metric that the sink's place describes."""
    time, since, attributes, flags, value = _U0, _U0, _U0, _U0, _U0
    kind, exemplars = 0, 0
    at = start
    while at < stop:
        number, begin, at = field(data, at, stop)
        if number == 7:
            attributes += xxhash64(data, begin, at)
        elif number == 3:
            time = number64(data, begin)
        elif number == 4 or number == 6:
            kind = number
            value = number64(data, begin)
        elif number == 2:
            since = number64(data, begin)
        elif number == 5:
            exemplars += 1
        elif number == 8:
            flags, _ = varint(data, begin, at)
    if not in_time(time, sink.place[_RECEIVED]):
        sink.counts[_TIME] += 1
        return
    if kind == 0 and flags & _U1 == _U0:
        sink.counts[_NO_VALUE] += 1
        return
    series = series_of(data, start, stop, base, attributes, 0, 7, sink)
    if series == _U0:
        return
    note(sink, series, _WHOLE, _U0, start, stop)
    sink.counts[_ROWS] += 1
    row = emit(sink, series, time, since, sink.place[_FLAGS])
    if row >= 0:
        if flags & _U1:
            sink.samples[_VALUE, row] = STALE
        elif kind == 6:
            sink.samples[_VALUE, row] = as_bits(np.float64(np.int64(value)))
        else:
            sink.samples[_VALUE, row] = value
    if exemplars:
        at = start
        while at < stop:
            number, begin, at = field(data, at, stop)
            if number == 5:
                exemplar(data, begin, at, series, sink)


@bare
def _put(sink: Sink, row: int, value: np.float64, flags: np.uint64) -> None:
    if row >= 0:
        if flags & _U1:
            sink.samples[_VALUE, row] = STALE
        else:
            sink.samples[_VALUE, row] = as_bits(value)


@bare
def histogram_point(data: Bytes, start: int, stop: int, base: np.uint64, sink: Sink) -> None:
    """Scan a HistogramDataPoint."""
    time, since, attributes, flags, count, total = _U0, _U0, _U0, _U0, _U0, _U0
    counts, bounds, exemplars, has_sum = 0, 0, 0, False
    at = start
    while at < stop:
        number, begin, at = field(data, at, stop)
        if number == 9:
            attributes += xxhash64(data, begin, at)
        elif number == 3:
            time = number64(data, begin)
        elif number == 2:
            since = number64(data, begin)
        elif number == 4:
            count = number64(data, begin)
        elif number == 5:
            total, has_sum = number64(data, begin), True
        elif number == 6:
            counts += (at - begin) // 8
        elif number == 7:
            bounds += (at - begin) // 8
        elif number == 8:
            exemplars += 1
        elif number == 10:
            flags, _ = varint(data, begin, at)
    if not in_time(time, sink.place[_RECEIVED]):
        sink.counts[_TIME] += 1
        return
    if counts != bounds + 1 and (counts != 0 or bounds != 0):
        sink.counts[_BUCKETS] += 1
        return
    series = series_of(data, start, stop, base, attributes, _COUNT, 9, sink)
    if series == _U0:
        return
    marks = sink.place[_FLAGS]
    sink.counts[_ROWS] += bounds + 2 + has_sum
    if has_sum:
        one = int_hash(series + np.uint64(_SUM))
        note(sink, one, _SUM, _U0, start, stop)
        row = emit(sink, one, time, since, marks)
        if row >= 0:
            sink.samples[_VALUE, row] = STALE if flags & _U1 else total
    one = int_hash(series + np.uint64(_COUNT))
    note(sink, one, _COUNT, _U0, start, stop)
    _put(sink, emit(sink, one, time, since, marks), np.float64(count), flags)
    parts = int_hash(series + np.uint64(_BUCKET))
    one = int_hash(parts ^ _INFINITY)
    note(sink, one, _BUCKET, _INFINITY, start, stop)
    _put(sink, emit(sink, one, time, since, marks), np.float64(count), flags)
    if bounds:
        _buckets(data, start, stop, parts, time, since, flags, sink)
    if exemplars:
        _histogram_exemplars(data, start, stop, parts, sink)


@bare
def _buckets(
    data: Bytes,
    start: int,
    stop: int,
    parts: np.uint64,
    time: np.uint64,
    since: np.uint64,
    flags: np.uint64,
    sink: Sink,
) -> None:
    """Emit the cumulated buckets: bounds and counts may stand in several runs of fields each."""
    marks = sink.place[_FLAGS]
    cumulated = _U0
    at, run, run_end = start, 0, 0  # where the counts are read
    bounds_at = start
    while bounds_at < stop:
        number, begin, bounds_at = field(data, bounds_at, stop)
        if number != 7:
            continue
        for offset in range(begin, bounds_at, 8):
            while run >= run_end and at < stop:
                found, run, at = field(data, at, stop)
                run_end = at if found == 6 else run
            cumulated += number64(data, run)
            run += 8
            bound = number64(data, offset)
            one = int_hash(parts ^ bound)
            note(sink, one, _BUCKET, bound, start, stop)
            _put(sink, emit(sink, one, time, since, marks), np.float64(cumulated), flags)


@bare
def _histogram_exemplars(data: Bytes, start: int, stop: int, parts: np.uint64, sink: Sink) -> None:
    """Note the exemplars of a histogram's point, each at the bucket that its value is in."""
    at = start
    while at < stop:
        number, begin, at = field(data, at, stop)
        if number == 8:
            place = exemplar(data, begin, at, _U0, sink)
            if place < 0:
                continue
            value = as_float(sink.exemplars[3, place])
            bound = _bound_of(data, start, stop, value)
            sink.exemplars[1, place] = int_hash(parts ^ bound)


@bare
def _bound_of(data: Bytes, start: int, stop: int, value: float) -> np.uint64:
    """Return the bits of the least bound that is not below *value*."""
    at = start
    while at < stop:
        number, begin, at = field(data, at, stop)
        if number == 7:
            for offset in range(begin, at, 8):
                bits = number64(data, offset)
                if as_float(bits) >= value:
                    return bits
    return _INFINITY


@bare
def summary_point(data: Bytes, start: int, stop: int, base: np.uint64, sink: Sink) -> None:
    """Scan a SummaryDataPoint."""
    time, since, attributes, flags, count, total = _U0, _U0, _U0, _U0, _U0, _U0
    quantiles = 0
    at = start
    while at < stop:
        number, begin, at = field(data, at, stop)
        if number == 7:
            attributes += xxhash64(data, begin, at)
        elif number == 3:
            time = number64(data, begin)
        elif number == 2:
            since = number64(data, begin)
        elif number == 4:
            count = number64(data, begin)
        elif number == 5:
            total = number64(data, begin)
        elif number == 6:
            quantiles += 1
        elif number == 8:
            flags, _ = varint(data, begin, at)
    if not in_time(time, sink.place[_RECEIVED]):
        sink.counts[_TIME] += 1
        return
    series = series_of(data, start, stop, base, attributes, _COUNT, 7, sink)
    if series == _U0:
        return
    marks = sink.place[_FLAGS]
    sink.counts[_ROWS] += quantiles + 2
    one = int_hash(series + np.uint64(_SUM))
    note(sink, one, _SUM, _U0, start, stop)
    row = emit(sink, one, time, since, marks)
    if row >= 0:
        sink.samples[_VALUE, row] = STALE if flags & _U1 else total
    one = int_hash(series + np.uint64(_COUNT))
    note(sink, one, _COUNT, _U0, start, stop)
    _put(sink, emit(sink, one, time, since, marks), np.float64(count), flags)
    parts = int_hash(series + np.uint64(_QUANTILE))
    at = start
    while quantiles and at < stop:
        number, begin, at = field(data, at, stop)
        if number != 6:
            continue
        quantile, value, inner = _U0, _U0, begin
        while inner < at:
            inner_number, place, inner = field(data, inner, at)
            if inner_number == 1:
                quantile = number64(data, place)
            elif inner_number == 2:
                value = number64(data, place)
        one = int_hash(parts ^ quantile)
        note(sink, one, _QUANTILE, quantile, start, stop)
        row = emit(sink, one, time, since, marks)
        if row >= 0:
            sink.samples[_VALUE, row] = STALE if flags & _U1 else value


@bare
def scan_numbers(data: Bytes, metrics: Words, sink: Sink) -> None:
    """Scan the points of gauges and sums among *metrics* into *sink*."""
    for i in range(metrics.shape[0]):
        metric = metrics[i]
        if metric[_KIND] == _U0 or metric[_KIND] > np.uint64(_UPDOWN):
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
            number_point(data, begin, at, base, sink)


@bare
def scan_histograms(data: Bytes, metrics: Words, sink: Sink) -> None:
    """Scan the points of classic histograms among *metrics* into *sink*."""
    for i in range(metrics.shape[0]):
        metric = metrics[i]
        if metric[_KIND] != np.uint64(_HISTOGRAM):
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
            histogram_point(data, begin, at, base, sink)


@bare
def scan_summaries(data: Bytes, metrics: Words, sink: Sink) -> None:
    """Scan the points of summaries among *metrics* into *sink*."""
    for i in range(metrics.shape[0]):
        metric = metrics[i]
        if metric[_KIND] != np.uint64(_SUMMARY):
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
            summary_point(data, begin, at, base, sink)
