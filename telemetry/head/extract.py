"""
The samples of a checked request of metrics, as columns; no Python per point.

It reads by the rules of `telemetry/scan/points.py` and `telemetry/load/statements.py`: the same
points, the same series ids, times and values. Whoever calls it compares the count with the
scanner's, and a contract test the samples with the store's.
"""

# ruff: noqa: PLR0917, PLR1714 - compiled: no keyword arguments, and sets are slow

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from telemetry.scan.hashing import int_hash, xxhash64
from telemetry.scan.points import in_time
from telemetry.scan.wire import compiled, field, number64, varint
from telemetry.store.model import STALE_NAN_BITS


if TYPE_CHECKING:
    from numpy.typing import NDArray

    from telemetry.scan.wire import Bytes

    Ids = NDArray[np.uint64]
    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

_U0, _U1 = np.uint64(0), np.uint64(1)
_CUMULATIVE = np.uint64(2)
_STALE = np.uint64(STALE_NAN_BITS)
_INFINITY = np.uint64(0x7FF0000000000000)
_MILLION = np.uint64(1_000_000)
_SUM, _COUNT, _BUCKET, _QUANTILE = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(4)
_GAUGE, _COUNTER, _UPDOWN, _HISTOGRAM, _SUMMARY = 1, 2, 3, 4, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Samples as they came, in the order of the request."""

    ids: Ids
    """Series ids."""

    ts_ms: Ints
    values: Floats


def extract(request: bytes, tenant: str, received_ns: int, rows: int) -> Columns | None:
    """
    Return the samples of a *request* that the scanner let through; None if they aren't *rows*.

    Args:
        rows: How many the scanner counted.

    """
    name = np.frombuffer(tenant.encode(), np.uint8)
    tenant_hash = np.uint64(xxhash64(name, 0, len(name)))
    ids = np.empty(rows, np.uint64)
    ts_ms = np.empty(rows, np.int64)
    values = np.empty(rows, np.float64)
    found = _request(
        np.frombuffer(request, np.uint8),
        tenant_hash,
        np.uint64(received_ns),
        ids,
        ts_ms,
        values,
        values.view(np.uint64),
    )
    return Columns(ids=ids, ts_ms=ts_ms, values=values) if found == rows else None


@compiled
def _put(
    at: int,
    series: np.uint64,
    ts: int,
    value: float,
    ended: bool,  # noqa: FBT001 - as above
    ids: Ids,
    ts_ms: Ints,
    values: Floats,
    bits: Ids,
) -> int:
    """Write a sample at row *at* if there is room; return the next row."""
    if at < ids.shape[0]:
        ids[at] = series
        ts_ms[at] = ts
        if ended:
            bits[at] = _STALE
        else:
            values[at] = value
    return at + 1


@compiled
def _time(time: np.uint64, received: np.uint64) -> int:
    nanoseconds = received if time == _U0 else time
    return np.int64(nanoseconds // _MILLION)  # type: ignore[return-value]  # numba's int


@compiled
def _number(
    data: Bytes,
    start: int,
    stop: int,
    base: np.uint64,
    received: np.uint64,
    at: int,
    ids: Ids,
    ts_ms: Ints,
    values: Floats,
    bits: Ids,
) -> int:
    """Extract a NumberDataPoint."""
    time, attributes, flags = _U0, _U0, _U0
    double, whole, raw = False, False, _U0
    place = start
    while place < stop:
        number, begin, place = field(data, place, stop)
        if number == 3:
            time = number64(data, begin)
        elif number == 4:
            double, raw = True, number64(data, begin)
        elif number == 6:
            whole, raw = True, number64(data, begin)
        elif number == 7:
            attributes += xxhash64(data, begin, place)
        elif number == 8:
            flags, _ = varint(data, begin, place)
    ended = flags & _U1 == _U1
    if not in_time(time, received) or not (double or whole or ended):
        return at
    value = 0.0
    if whole:
        value = float(np.int64(raw))
    row = at
    at = _put(
        at,
        int_hash(base + attributes),
        _time(time, received),
        value,
        ended,
        ids,
        ts_ms,
        values,
        bits,
    )
    if double and not ended and row < bits.shape[0]:
        bits[row] = raw
    return at


@compiled
def _histogram(
    data: Bytes,
    start: int,
    stop: int,
    base: np.uint64,
    received: np.uint64,
    at: int,
    ids: Ids,
    ts_ms: Ints,
    values: Floats,
    bits: Ids,
) -> int:
    """Extract a HistogramDataPoint: its count, sum and cumulated buckets."""
    time, attributes, flags, count, total = _U0, _U0, _U0, _U0, _U0
    has_sum, counts, bounds = False, 0, 0
    place = start
    while place < stop:
        number, begin, place = field(data, place, stop)
        if number == 3:
            time = number64(data, begin)
        elif number == 4:
            count = number64(data, begin)
        elif number == 5:
            has_sum, total = True, number64(data, begin)
        elif number == 6:
            counts += (place - begin) // 8
        elif number == 7:
            bounds += (place - begin) // 8
        elif number == 9:
            attributes += xxhash64(data, begin, place)
        elif number == 10:
            flags, _ = varint(data, begin, place)
    if not in_time(time, received):
        return at
    if counts != bounds + 1 and (counts != 0 or bounds != 0):
        return at
    series, ts, ended = int_hash(base + attributes), _time(time, received), flags & _U1 == _U1
    parts = int_hash(series + _BUCKET)
    one = int_hash(series + _COUNT)
    at = _put(at, one, ts, float(count), ended, ids, ts_ms, values, bits)
    one = int_hash(parts ^ _INFINITY)
    at = _put(at, one, ts, float(count), ended, ids, ts_ms, values, bits)
    if has_sum:
        row = at
        at = _put(at, int_hash(series + _SUM), ts, 0.0, ended, ids, ts_ms, values, bits)
        if not ended and row < bits.shape[0]:
            bits[row] = total
    if bounds == 0:
        return at
    edges = np.empty(bounds, np.uint64)
    sizes = np.empty(counts, np.uint64)
    edge = size = 0
    place = start
    while place < stop:
        number, begin, place = field(data, place, stop)
        if number == 6:
            for offset in range(begin, place, 8):
                sizes[size] = number64(data, offset)
                size += 1
        elif number == 7:
            for offset in range(begin, place, 8):
                edges[edge] = number64(data, offset)
                edge += 1
    cumulated = _U0
    for i in range(bounds):
        cumulated += sizes[i]
        one = int_hash(parts ^ edges[i])
        at = _put(at, one, ts, float(cumulated), ended, ids, ts_ms, values, bits)
    return at


@compiled
def _summary(
    data: Bytes,
    start: int,
    stop: int,
    base: np.uint64,
    received: np.uint64,
    at: int,
    ids: Ids,
    ts_ms: Ints,
    values: Floats,
    bits: Ids,
) -> int:
    """Extract a SummaryDataPoint: its sum, count and quantiles."""
    time, attributes, flags, count, total = _U0, _U0, _U0, _U0, _U0
    place = start
    while place < stop:
        number, begin, place = field(data, place, stop)
        if number == 3:
            time = number64(data, begin)
        elif number == 4:
            count = number64(data, begin)
        elif number == 5:
            total = number64(data, begin)
        elif number == 7:
            attributes += xxhash64(data, begin, place)
        elif number == 8:
            flags, _ = varint(data, begin, place)
    if not in_time(time, received):
        return at
    series, ts, ended = int_hash(base + attributes), _time(time, received), flags & _U1 == _U1
    row = at
    at = _put(at, int_hash(series + _SUM), ts, 0.0, ended, ids, ts_ms, values, bits)
    if not ended and row < bits.shape[0]:
        bits[row] = total
    at = _put(at, int_hash(series + _COUNT), ts, float(count), ended, ids, ts_ms, values, bits)
    parts = int_hash(series + _QUANTILE)
    place = start
    while place < stop:
        number, begin, place = field(data, place, stop)
        if number != 6:
            continue
        quantile, value = _U0, _U0
        inner = begin
        while inner < place:
            inner_number, payload, inner = field(data, inner, place)
            if inner_number == 1:
                quantile = number64(data, payload)
            elif inner_number == 2:
                value = number64(data, payload)
        row = at
        at = _put(at, int_hash(parts ^ quantile), ts, 0.0, ended, ids, ts_ms, values, bits)
        if not ended and row < bits.shape[0]:
            bits[row] = value
    return at


@compiled
def _metric(
    data: Bytes,
    start: int,
    stop: int,
    target: np.uint64,
    received: np.uint64,
    at: int,
    ids: Ids,
    ts_ms: Ints,
    values: Floats,
    bits: Ids,
) -> int:
    """Extract the points of one Metric."""
    name, unit, named = xxhash64(data, 0, 0), xxhash64(data, 0, 0), False
    kind, points, points_end = 0, 0, 0
    place = start
    while place < stop:
        number, begin, place = field(data, place, stop)
        if number == 1:
            name, named = xxhash64(data, begin, place), place > begin
        elif number == 3:
            unit = xxhash64(data, begin, place)
        elif number == 5 or number == 7 or number == 9 or number == 10 or number == 11:
            kind, points, points_end = number, begin, place
    if not named or kind == 0 or kind == 10:
        return at
    cumulative, monotonic = False, False
    place = points
    while place < points_end:
        number, begin, place = field(data, place, points_end)
        if number == 2 and kind != 5:
            value, _ = varint(data, begin, place)
            cumulative = value == _CUMULATIVE
        elif number == 3 and kind == 7:
            value, _ = varint(data, begin, place)
            monotonic = value != _U0
    if (kind == 7 or kind == 9) and not cumulative:
        return at
    if kind == 5:
        series_kind = _GAUGE
    elif kind == 7:
        series_kind = _COUNTER if monotonic else _UPDOWN
    else:
        series_kind = _HISTOGRAM if kind == 9 else _SUMMARY
    base = int_hash(target + int_hash(name + int_hash(unit + np.uint64(series_kind))))
    place = points
    while place < points_end:
        number, begin, place = field(data, place, points_end)
        if number != 1:
            continue
        if kind == 9:
            at = _histogram(data, begin, place, base, received, at, ids, ts_ms, values, bits)
        elif kind == 11:
            at = _summary(data, begin, place, base, received, at, ids, ts_ms, values, bits)
        else:
            at = _number(data, begin, place, base, received, at, ids, ts_ms, values, bits)
    return at


@compiled
def _request(
    data: Bytes,
    tenant: np.uint64,
    received: np.uint64,
    ids: Ids,
    ts_ms: Ints,
    values: Floats,
    bits: Ids,
) -> int:
    """Extract the samples of a checked request; return how many there are."""
    found = at = 0
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
                if deep_number == 2:
                    found = _metric(
                        data, start, deep, target, received, found, ids, ts_ms, values, bits
                    )
    return found
