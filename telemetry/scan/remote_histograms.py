"""The compiled scanner of remote write's native histograms: of 1.0 and 2.0, of integers or floats."""

# ruff: noqa: PLR0917, PLR1714 - compiled: no keyword arguments, and sets are slow

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from telemetry.scan.exponential import BUCKETS_MAX, SCHEMA_MAX, SCHEMA_MIN, histogram_row, signed
from telemetry.scan.points import in_time
from telemetry.scan.sink import Count, Filled, Histogram, Place
from telemetry.scan.wire import as_bits, as_float, bare, field, number64, varint


if TYPE_CHECKING:
    from telemetry.scan.sink import Sink
    from telemetry.scan.wire import Bytes

_TIME, _SCALE, _BUCKETS = int(Count.TIME), int(Count.SCALE), int(Count.BUCKETS)
_RECEIVED = int(Place.RECEIVED)
_FILLED_BUCKETS = int(Filled.BUCKETS)
_SUM, _SCHEMA, _COUNT, _ZERO, _THRESHOLD = (
    int(one)
    for one in (
        Histogram.SUM,
        Histogram.SCHEMA,
        Histogram.COUNT,
        Histogram.ZERO_COUNT,
        Histogram.ZERO_THRESHOLD,
    )
)
_POSITIVE, _NEGATIVE = int(Histogram.POSITIVE_OFFSET), int(Histogram.NEGATIVE_OFFSET)
_BOUNDS, _HINT = int(Histogram.BOUNDS_LENGTH), int(Histogram.HINT)
CUSTOM = -53
_U0 = np.uint64(0)
_MS_MAX = 9_000_000_000_000


@bare
def _span(data: Bytes, start: int, stop: int) -> tuple[int, int]:
    """Return (offset from the end of the one before, length) of a BucketSpan."""
    offset: Any = 0
    length: Any = 0
    at = start
    while at < stop:
        number, begin, at = field(data, at, stop)
        value, _ = varint(data, begin, at)
        if number == 1:
            offset = signed(value)
        elif number == 2:
            length = np.int64(value)
    return offset, length


@bare
def _width(data: Bytes, start: int, stop: int, spans: int) -> Any:
    """Return how many buckets from the first to the last the *spans* reach; -1 if too many."""
    width: Any = 0
    first = True
    at = start
    while at < stop:
        number, begin, at = field(data, at, stop)
        if number != spans:
            continue
        offset, length = _span(data, begin, at)
        if (
            length < 0
            or length > BUCKETS_MAX
            or (not first and (offset < 0 or offset > BUCKETS_MAX))
        ):
            return -1
        if first and abs(offset) > 1 << 30:
            return -1
        width += length if first else offset + length
        first = False
        if width > BUCKETS_MAX:
            return -1
    return width


@bare
def _counts(data: Bytes, start: int, stop: int, spans: int) -> int:
    """Return how many counts there are for *spans*: deltas in the next field or floats after it."""
    count = 0
    at = start
    while at < stop:
        number, begin, at = field(data, at, stop)
        if number == spans + 1:
            inner = begin
            while inner < at:
                _, inner = varint(data, inner, at)
                count += 1
        elif number == spans + 2:
            count += (at - begin) // 8
    return count


@bare
def _lengths(data: Bytes, start: int, stop: int, spans: int) -> int:
    """Return how many buckets *spans* name."""
    count = 0
    at = start
    while at < stop:
        number, begin, at = field(data, at, stop)
        if number == spans:
            _, length = _span(data, begin, at)
            count += length
    return count


@bare
def _emit_side(
    data: Bytes, start: int, stop: int, spans: int, row: int, column: int, sink: Sink
) -> None:
    """Put the buckets of one side behind the others, gaps filled with zeros."""
    base: Any = sink.filled[_FILLED_BUCKETS]
    room = sink.buckets.shape[0]
    width = _width(data, start, stop, spans)
    for i in range(width):
        if base + i < room:
            sink.buckets[base + i] = 0.0
    sink.filled[_FILLED_BUCKETS] = base + width
    if base + width > room or row < 0:
        return
    # Spans and counts are walked side by side.
    first: Any = 0
    place: Any = 0
    left: Any = 0
    seen = False
    cumulated: Any = np.int64(0)
    span_at = start
    at = start
    while at < stop:
        number, begin, at = field(data, at, stop)
        if number != spans + 1 and number != spans + 2:
            continue
        inner = begin
        while inner < at:
            if number == spans + 1:
                raw, inner = varint(data, inner, at)
                cumulated += signed(raw)
                value: Any = np.float64(cumulated)
            else:
                value = as_float(number64(data, inner))
                inner += 8
            while left == 0 and span_at < stop:
                found, span, span_at = field(data, span_at, stop)
                if found == spans:
                    offset, left = _span(data, span, span_at)
                    if seen:
                        place += offset
                    else:
                        first, seen = offset, True
            sink.buckets[base + place] = value
            place += 1
            left -= 1
    sink.histograms[column, row] = np.uint64(np.int64(first))
    sink.histograms[column + 1, row] = np.uint64(width)


@bare
def _well_formed(data: Bytes, start: int, stop: int) -> bool:
    """Whether both sides' spans and counts agree and aren't too wide."""
    for spans in (8, 11):
        if _width(data, start, stop, spans) < 0:
            return False
        if _counts(data, start, stop, spans) != _lengths(data, start, stop, spans):
            return False
    return True


@bare
def remote_histogram(
    data: Bytes, start: int, stop: int, series: np.uint64, since: np.uint64, sink: Sink
) -> None:
    """Scan a native histogram of *series*."""
    ms, total, threshold = _U0, _U0, _U0
    count, zero = 0.0, 0.0
    hint = _U0
    bounds = 0
    schema: Any = 0
    at = start
    while at < stop:
        number, begin, at = field(data, at, stop)
        if number == 1 or number == 6:
            value, _ = varint(data, begin, at)
            if number == 1:
                count = np.float64(value)
            else:
                zero = np.float64(value)
        elif number == 2:
            count = as_float(number64(data, begin))
        elif number == 7:
            zero = as_float(number64(data, begin))
        elif number == 3:
            total = number64(data, begin)
        elif number == 4:
            value, _ = varint(data, begin, at)
            schema = signed(value)
        elif number == 5:
            threshold = number64(data, begin)
        elif number == 14:
            hint, _ = varint(data, begin, at)
        elif number == 15:
            ms, _ = varint(data, begin, at)
        elif number == 16:
            bounds += (at - begin) // 8
        elif number == 17:
            own, _ = varint(data, begin, at)
            since = own * np.uint64(1_000_000) if np.int64(own) < _MS_MAX else _U0
    if np.int64(ms) <= 0 or np.int64(ms) > _MS_MAX:
        sink.counts[_TIME] += 1
        return
    time = ms * np.uint64(1_000_000)
    if not in_time(time, sink.place[_RECEIVED]):
        sink.counts[_TIME] += 1
        return
    if (schema < SCHEMA_MIN or schema > SCHEMA_MAX) and schema != CUSTOM:
        sink.counts[_SCALE] += 1
        return
    if bounds > BUCKETS_MAX or not _well_formed(data, start, stop):
        sink.counts[_BUCKETS] += 1
        return
    row = histogram_row(sink, series, time, since)
    if row >= 0:
        sink.histograms[_SUM, row] = total
        sink.histograms[_SCHEMA, row] = np.uint64(np.int64(schema))
        sink.histograms[_COUNT, row] = as_bits(count)
        sink.histograms[_ZERO, row] = as_bits(zero)
        sink.histograms[_THRESHOLD, row] = threshold
        sink.histograms[_HINT, row] = min(hint, np.uint64(3))
    _emit_side(data, start, stop, 11, row, _POSITIVE, sink)
    _emit_side(data, start, stop, 8, row, _NEGATIVE, sink)
    if schema == CUSTOM:
        _emit_bounds(data, start, stop, row, sink)


@bare
def _emit_bounds(data: Bytes, start: int, stop: int, row: int, sink: Sink) -> None:
    """Put a custom histogram's bounds behind its buckets."""
    base: Any = sink.filled[_FILLED_BUCKETS]
    room = sink.buckets.shape[0]
    count: Any = 0
    at = start
    while at < stop:
        number, begin, at = field(data, at, stop)
        if number == 16:
            for offset in range(begin, at, 8):
                if base + count < room:
                    sink.buckets[base + count] = as_float(number64(data, offset))
                count += 1
    sink.filled[_FILLED_BUCKETS] = base + count
    if row >= 0:
        sink.histograms[_BOUNDS, row] = np.uint64(count)
