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
from telemetry.scan.labels import KEYED_FROM, Column, add, key_of, recall
from telemetry.scan.remote_series import (
    folded_series,
    is_name,
    label_hash,
    scan_sample,
    scan_series,
    time_of,
)
from telemetry.scan.sink import Count, Place, fold_key
from telemetry.scan.wire import bare, check, compiled, end_of, field, varint


if TYPE_CHECKING:
    from numpy.typing import NDArray

    from telemetry.scan.labels import Remembered
    from telemetry.scan.sink import Sink
    from telemetry.scan.wire import Bytes, Rules

_ITEMS, _LABELS = int(Count.ITEMS), int(Count.LABELS)
_METRIC, _RECEIVED, _FLAGS, _FOLD = (
    int(one) for one in (Place.METRIC, Place.RECEIVED, Place.FLAGS, Place.FOLD)
)
_LABELS_METRIC, _LABELS_SUM, _LABELS_KNOWN = (
    int(one) for one in (Column.METRIC, Column.LABELS, Column.KNOWN)
)
_REMOTE = np.uint64(0x70726F6D65746865)
_SERIES, _LABEL, _SAMPLE, _SAMPLE_VALUE, _SAMPLE_TIME = 0x0A, 0x0A, 0x12, 0x09, 0x10
"""Tags of 1.0, as Prometheus writes them."""

_U0 = np.uint64(0)


@bare
def _known_samples(
    data: Bytes, at: int, stop: int, metric: np.uint64, series: np.uint64, sink: Sink
) -> None:
    """Scan the samples of a known *series*; there is nothing else from *at* on."""
    sink.place[_METRIC] = metric
    sink.place[_FLAGS] = _U0
    while at < stop:
        _, begin, at = field(data, at, stop)
        sink.counts[_ITEMS] += 1
        scan_sample(data, begin, at, series, _U0, sink)


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
def _labels_end(data: Bytes, at: int, stop: int) -> int:
    """Return where the labels that begin a TimeSeries end; -1 if they can't be read."""
    while at < stop and data[np.uint64(at)] == _LABEL:
        length, begin = varint(data, at + 1, stop)
        if begin < 0 or length > np.uint64(stop - begin):
            return -1
        at = begin + np.int64(length)  # type: ignore[assignment]  # numba's ints are int64
    return at


@bare
def _are_samples(data: Bytes, at: int, stop: int) -> bool:
    """Whether there are well-formed Samples from *at* to *stop*, and nothing else."""
    while at < stop:
        if stop - at < 2 or data[np.uint64(at)] != _SAMPLE or data[np.uint64(at + 1)] > 0x7F:
            return False
        end: Any = at + 2 + np.int64(data[np.uint64(at + 1)])
        at += 2
        if end > stop:
            return False
        if at < end and data[np.uint64(at)] == _SAMPLE_VALUE:
            at += 9
        if at < end and data[np.uint64(at)] == _SAMPLE_TIME:
            _, at = varint(data, at + 1, end)
        if at != end:
            return False
    return True


@bare
def _labels(data: Bytes, at: int, stop: int) -> tuple[np.uint64, bool, np.uint64]:
    """Return the hash of the name, whether there is one, and the sum of all labels' hashes."""
    metric, named, labels = _U0, False, _U0
    while at < stop:
        found, start, at = field(data, at, stop)
        if found != 1:
            continue
        name_at, name_end, value_at, value_end = start, start, start, start
        deep = start
        while deep < at:
            part, place, deep = field(data, deep, at)
            if part == 1:
                name_at, name_end = place, deep
            elif part == 2:
                value_at, value_end = place, deep
        if value_at == value_end:
            continue  # An empty label is none.
        value = xxhash64(data, value_at, value_end)
        if is_name(data, name_at, name_end):
            metric, named = value, True
        labels += label_hash(xxhash64(data, name_at, name_end), value)
    return metric, named, labels


@bare
def scan_remote_write(
    data: Bytes,
    tenant: np.uint64,
    received: np.uint64,
    sink: Sink,
    rules: Rules,
    remembered: Remembered,
) -> tuple[int, int]:
    """
    Check and scan a WriteRequest into *sink*; return (fault, offset) as `check` does.

    Args:
        tenant: xxHash64 of the tenant's name.
        received: When the request came, Unix nanoseconds.
        rules: Fields are checked by them, except those that *remembered* says were checked.
        remembered: Gets those that are added.

    """
    sink.place[_RECEIVED] = received
    root = int_hash(tenant + _REMOTE)
    rows = remembered.rows
    size: Any = data.shape[0]
    row: Any = -1
    at = 0
    while at < size:
        begin, stop = at, end_of(data, at, size)
        last, row = row, -1
        first, plain, key = -1, False, _U0
        if data[np.uint64(at)] == _SERIES:
            length, begin = varint(data, at + 1, stop)
            if begin >= 0 and length == np.uint64(stop - begin):  # Else it is cut off.
                first = _labels_end(data, begin, stop)
            if first >= begin + KEYED_FROM and _are_samples(data, first, stop):
                plain = True
                key = key_of(remembered.secret, data, begin, first) ^ root
                row = recall(remembered, key, last + 1)
        if row >= 0:
            metric, named, labels = rows[row, _LABELS_METRIC], True, rows[row, _LABELS_SUM]
            series = int_hash(root + labels)
            if rows[row, _LABELS_KNOWN] == _U0 and find(sink.known, series) >= 0:
                rows[row, _LABELS_KNOWN] = np.uint64(1)
            if rows[row, _LABELS_KNOWN] != _U0:
                _known_samples(data, first, stop, metric, series, sink)
                at = stop
                continue
        else:
            fault, offset = check(data, at, stop, rules)
            if fault:
                return fault, offset
            number, begin, stop = field(data, at, size)
            if number != 1:
                at = stop
                continue
            metric, named, labels = _labels(data, begin, stop)
            if plain and named:
                add(remembered, key, metric, labels)
            else:
                first = begin
        at = stop
        folding = fold_key(sink, int_hash(tenant + metric))
        folded = _U0
        sink.place[_FOLD] = folding
        if folding != _U0:
            label = _in_full(data, begin, stop, folding)
            folded = folded_series(root, labels, metric, folding, label)
        series = int_hash(root + labels)
        scan_series(data, begin, first, stop, metric, named, series, folded, 4, _U0, sink)
    return 0, at


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
        if is_name(data, places[i, 0], places[i, 1]):
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
            folded = folded_series(root, labels, metric, key, label)
        series = int_hash(root + labels)
        scan_series(data, begin, begin, at, metric, named, series, folded, 3, since, sink)
