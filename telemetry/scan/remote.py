"""
The compiled scanners of Prometheus's remote write, 1.0 and 2.0.

    1.0  prometheus.WriteRequest: series with labels in full
    2.0  io.prometheus.write.v2.Request: labels are numbers of symbols

A series has the same id in both: a sum over its labels, whatever their order.
"""

# ruff: noqa: PLR0917, PLR1714 - compiled: no keyword arguments, and sets are slow

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from telemetry.scan.hashing import find, int_hash, xxhash64
from telemetry.scan.points import in_time
from telemetry.scan.remote_histograms import remote_histogram
from telemetry.scan.sink import (
    FOLD_ALL,
    FOLDED,
    FOLDED_MIX,
    REFUSE_NEW,
    Count,
    Kind,
    Part,
    Place,
    Sample,
    emit,
    fold_key,
    note,
)
from telemetry.scan.wire import bare, compiled, field, number64, varint


if TYPE_CHECKING:
    from numpy.typing import NDArray

    from telemetry.scan.sink import Sink
    from telemetry.scan.wire import Bytes

MS_MAX = 9_000_000_000_000
"""Times beyond don't fit into nanoseconds."""

_ITEMS, _ROWS, _TIME, _NO_NAME, _LABELS = (
    int(one) for one in (Count.ITEMS, Count.ROWS, Count.TIME, Count.NO_NAME, Count.LABELS)
)
_FOLDED, _SERIES_LIMIT = int(Count.FOLDED), int(Count.SERIES_LIMIT)
_FOLD_ALL, _FOLDED_FLAG, _REFUSE_NEW = np.uint64(FOLD_ALL), np.uint64(FOLDED), int(REFUSE_NEW)
_METRIC, _KIND, _RESOURCE, _RESOURCE_END, _HEADER, _HEADER_END, _RECEIVED, _FLAGS, _FOLD = (
    int(one) for one in list(Place)[:9]
)
_UNKNOWN = np.uint64(Kind.UNKNOWN)
_WHOLE, _VALUE = int(Part.WHOLE), int(Sample.VALUE)
_REMOTE = np.uint64(0x70726F6D65746865)
_NAME = np.uint64(0x5F5F656D616E5F5F)
"""`__name__` as a number."""

_U0 = np.uint64(0)


@bare
def _is_name(data: Bytes, start: int, stop: int) -> bool:
    return stop - start == 8 and number64(data, start) == _NAME


@bare
def label_hash(name: np.uint64, value: np.uint64) -> np.uint64:
    """Return what a label adds to its series' id."""
    return int_hash(name + int_hash(value))


@bare
def time_of(ms: np.uint64) -> np.uint64:
    """Return the nanoseconds of a remote write's *ms*; 1, which is refused, if it has none."""
    number = np.int64(ms)
    if number <= 0 or number > MS_MAX:
        return np.uint64(1)
    return np.uint64(number * 1_000_000)


@bare
def _sample(
    data: Bytes, start: int, stop: int, series: np.uint64, since: np.uint64, sink: Sink
) -> None:
    """Scan a Sample: value 1, milliseconds 2, and in 2.0 since when it counts 3."""
    value, ms = _U0, _U0
    at = start
    while at < stop:
        number, begin, at = field(data, at, stop)
        if number == 1:
            value = number64(data, begin)
        elif number == 2:
            ms, _ = varint(data, begin, at)
        elif number == 3:
            own, _ = varint(data, begin, at)
            since = time_of(own)
    time = time_of(ms)
    if not in_time(time, sink.place[_RECEIVED]):
        sink.counts[_TIME] += 1
        return
    row = emit(sink, series, time, since, sink.place[_FLAGS])
    if row >= 0:
        sink.samples[_VALUE, row] = value


@bare
def _series(
    data: Bytes,
    start: int,
    stop: int,
    metric: np.uint64,
    named: bool,  # noqa: FBT001 - compiled
    series: np.uint64,
    folded: np.uint64,
    histograms: int,
    since: np.uint64,
    sink: Sink,
) -> None:
    """
    Scan the samples (field 2) and *histograms* of a TimeSeries whose labels are read.

    Args:
        folded: The series that it counts as where it isn't known; 0: itself.

    """
    place = sink.place
    place[_METRIC] = metric
    place[_KIND] = _UNKNOWN
    place[_HEADER] = np.uint64(start)
    place[_HEADER_END] = np.uint64(stop)
    place[_FLAGS] = _U0
    refused = False
    if (folded != _U0 or place[_REFUSE_NEW] != _U0) and find(sink.known, series) < 0:
        if folded != _U0:
            series = folded
            place[_FLAGS] = _FOLDED_FLAG
        refused = place[_REFUSE_NEW] != _U0 and find(sink.known, series) < 0
    noted = False
    at = start
    while at < stop:
        number, begin, at = field(data, at, stop)
        if number != 2 and number != histograms:
            continue
        sink.counts[_ITEMS] += 1
        if not named:
            sink.counts[_NO_NAME] += 1
            continue
        if refused:
            sink.counts[_SERIES_LIMIT] += 1
            continue
        sink.counts[_FOLDED] += place[_FLAGS] == _FOLDED_FLAG
        before = sink.filled[0] + sink.filled[2]
        if number == 2:
            _sample(data, begin, at, series, since, sink)
        else:
            remote_histogram(data, begin, at, series, since, sink)
        if not noted and sink.filled[0] + sink.filled[2] > before:
            noted = True
            note(sink, series, _WHOLE, _U0, start, stop)


@bare
def _folded(
    root: np.uint64, labels: np.uint64, metric: np.uint64, key: np.uint64, label: np.uint64
) -> np.uint64:
    """Return the series without the folded *label*, 0 if it hasn't it."""
    if key == _FOLD_ALL:
        return int_hash(root + (metric ^ FOLDED_MIX))
    if label == _U0:
        return _U0
    return int_hash(root + labels - label + (FOLDED_MIX ^ key))


@bare
def _in_full(data: Bytes, start: int, stop: int, key: np.uint64) -> np.uint64:
    """Return what the label whose name's hash is *key* adds to its series' id; 0: there is none."""
    at = start
    while at < stop:
        number, begin, at = field(data, at, stop)
        if number != 1:
            continue
        name, value = _U0, _U0
        inner = begin
        while inner < at:
            part, place, inner = field(data, inner, at)
            if part == 1:
                name = xxhash64(data, place, inner)
            elif part == 2:
                value = xxhash64(data, place, inner)
        if name == key:
            return label_hash(name, value)
    return _U0


@bare
def _by_reference(
    data: Bytes, start: int, stop: int, key: np.uint64, hashes: NDArray[np.uint64]
) -> np.uint64:
    """Return the same of a series whose labels are symbols."""
    at = start
    while at < stop:
        number, begin, at = field(data, at, stop)
        if number != 1:
            continue
        while begin < at:
            name, begin = varint(data, begin, at)
            value, begin = varint(data, begin, at)
            if begin > 0 and hashes[name] == key:
                return label_hash(key, hashes[value])
    return _U0


@bare
def scan_remote_write(data: Bytes, tenant: np.uint64, received: np.uint64, sink: Sink) -> None:
    """
    Scan a checked WriteRequest into *sink*.

    Args:
        tenant: xxHash64 of the tenant's name.
        received: When the request came, Unix nanoseconds.

    """
    sink.place[_RECEIVED] = received
    root = int_hash(tenant + _REMOTE)
    at = 0
    while at < data.shape[0]:
        number, begin, at = field(data, at, data.shape[0])
        if number != 1:
            continue
        metric, named, labels = _U0, False, _U0
        inner = begin
        while inner < at:
            found, start, inner = field(data, inner, at)
            if found != 1:
                continue
            name_at, name_end, value_at, value_end = start, start, start, start
            deep = start
            while deep < inner:
                part, place, deep = field(data, deep, inner)
                if part == 1:
                    name_at, name_end = place, deep
                elif part == 2:
                    value_at, value_end = place, deep
            if value_at == value_end:
                continue  # An empty label is none.
            value = xxhash64(data, value_at, value_end)
            if _is_name(data, name_at, name_end):
                metric, named = value, True
            labels += label_hash(xxhash64(data, name_at, name_end), value)
        key = fold_key(sink, int_hash(tenant + metric))
        folded = _U0
        sink.place[_FOLD] = key
        if key != _U0:
            folded = _folded(root, labels, metric, key, _in_full(data, begin, at, key))
        _series(data, begin, at, metric, named, int_hash(root + labels), folded, 4, _U0, sink)


@compiled
def _symbols(data: Bytes) -> NDArray[np.int64]:
    """Return where each symbol of a 2.0 request begins and ends."""
    count = 0
    at = 0
    while at < data.shape[0]:
        number, begin, at = field(data, at, data.shape[0])
        if number == 4:
            count += 1
    places = np.zeros((count, 2), np.int64)
    count = 0
    at = 0
    while at < data.shape[0]:
        number, begin, at = field(data, at, data.shape[0])
        if number == 4:
            places[count, 0], places[count, 1] = begin, at
            count += 1
    return places


@compiled
def scan_remote_write_2(data: Bytes, tenant: np.uint64, received: np.uint64, sink: Sink) -> None:
    """Scan a checked io.prometheus.write.v2.Request into *sink*; see `scan_remote_write`."""
    sink.place[_RECEIVED] = received
    root = int_hash(tenant + _REMOTE)
    places = _symbols(data)
    symbols: Any = places.shape[0]
    hashes = np.zeros(symbols, np.uint64)
    name_symbol = -1
    for i in range(symbols):
        hashes[i] = xxhash64(data, places[i, 0], places[i, 1])
        if _is_name(data, places[i, 0], places[i, 1]):
            name_symbol = i
    at = 0
    while at < data.shape[0]:
        number, begin, at = field(data, at, data.shape[0])
        if number != 5:
            continue
        metric, named, labels, since = _U0, False, _U0, _U0
        references, samples, bad, name = 0, 0, False, np.int64(0)
        inner = begin
        while inner < at:
            found, start, inner = field(data, inner, at)
            if found == 2 or found == 3:
                samples += 1
            elif found == 6:
                created, _ = varint(data, start, inner)
                since = time_of(created) if created != _U0 else _U0
            elif found == 1:
                deep = start
                while deep < inner:
                    reference, deep = varint(data, deep, inner)
                    if reference >= np.uint64(symbols):
                        bad = True
                        continue
                    references += 1
                    if references % 2:
                        name = np.int64(reference)
                    elif places[reference, 0] < places[reference, 1]:
                        if name == name_symbol:
                            metric, named = hashes[reference], True
                        labels += label_hash(hashes[name], hashes[reference])
        if bad or references % 2:
            sink.counts[_ITEMS] += samples
            sink.counts[_LABELS] += samples
            continue
        key = fold_key(sink, int_hash(tenant + metric))
        folded = _U0
        sink.place[_FOLD] = key
        if key != _U0:
            label = _by_reference(data, begin, at, key, hashes)
            folded = _folded(root, labels, metric, key, label)
        _series(data, begin, at, metric, named, int_hash(root + labels), folded, 3, since, sink)
