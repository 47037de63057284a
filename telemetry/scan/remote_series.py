"""A series of a remote write, of both versions: its samples, histograms, and where it is folded."""

# ruff: noqa: PLR0917, PLR1714 - compiled: no keyword arguments, and sets are slow

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from telemetry.scan.hashing import find, int_hash
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
    note,
)
from telemetry.scan.wire import bare, field, number64, varint


if TYPE_CHECKING:
    from telemetry.scan.sink import Sink
    from telemetry.scan.wire import Bytes

MS_MAX = 9_000_000_000_000
"""Times beyond don't fit into nanoseconds."""

_ITEMS, _TIME, _NO_NAME = int(Count.ITEMS), int(Count.TIME), int(Count.NO_NAME)
_FOLDED, _SERIES_LIMIT = int(Count.FOLDED), int(Count.SERIES_LIMIT)
_FOLD_ALL, _FOLDED_FLAG, _REFUSE_NEW = np.uint64(FOLD_ALL), np.uint64(FOLDED), int(REFUSE_NEW)
_METRIC, _KIND, _RESOURCE, _RESOURCE_END, _HEADER, _HEADER_END, _RECEIVED, _FLAGS, _FOLD = (
    int(one) for one in list(Place)[:9]
)
_UNKNOWN = np.uint64(Kind.UNKNOWN)
_WHOLE, _VALUE = int(Part.WHOLE), int(Sample.VALUE)
_NAME = np.uint64(0x5F5F656D616E5F5F)
"""`__name__` as a number."""

_U0 = np.uint64(0)


@bare
def is_name(data: Bytes, start: int, stop: int) -> bool:
    """Return whether a label is `__name__`."""
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
def scan_sample(
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
def scan_series(
    data: Bytes,
    start: int,
    first: int,
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
        first: Where to look for them from.
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
    at = first
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
            scan_sample(data, begin, at, series, since, sink)
        else:
            remote_histogram(data, begin, at, series, since, sink)
        if not noted and sink.filled[0] + sink.filled[2] > before:
            noted = True
            note(sink, series, _WHOLE, _U0, start, stop)


@bare
def folded_series(
    root: np.uint64, labels: np.uint64, metric: np.uint64, key: np.uint64, label: np.uint64
) -> np.uint64:
    """Return the series without the folded *label*, 0 if it hasn't it."""
    if key == _FOLD_ALL:
        return int_hash(root + (metric ^ FOLDED_MIX))
    if label == _U0:
        return _U0
    return int_hash(root + labels - label + (FOLDED_MIX ^ key))
