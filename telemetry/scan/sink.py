"""
Where the compiled scanners of metrics put what they find: rows, as columns of one table each.

A `Sink` is made of arrays, so that it passes into compiled code as it is. What doesn't fit is
counted all the same: whoever made it looks at `filled`, makes a larger one and scans again.
"""

# ruff: noqa: PLR0917 - compiled: no keyword arguments

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from telemetry.scan.hashing import find, int_hash, xxhash64
from telemetry.scan.wire import bare, field


if TYPE_CHECKING:
    from numpy.typing import NDArray

    from telemetry.scan.wire import Bytes

    Words = NDArray[np.uint64]
    Floats = NDArray[np.float64]


class Count(IntEnum):
    """What a scan counts. From `TIME` on: items refused, by reason; `FOLDED` ones are stored."""

    ITEMS = 0
    ROWS = 1
    FOLDED = 2
    TIME = 3
    NO_VALUE = 4
    NO_NAME = 5
    TEMPORALITY = 6
    SCALE = 7
    BUCKETS = 8
    ID = 9
    LABELS = 10
    SERIES_LIMIT = 11


COUNTS = len(Count)


class Kind(IntEnum):
    """A metric's kind, as in the table `series`."""

    GAUGE = 1
    COUNTER = 2
    UPDOWN = 3
    HISTOGRAM = 4
    SUMMARY = 5
    EXPONENTIAL = 6
    UNKNOWN = 7


class Part(IntEnum):
    """Which series of a point: its only one, or one of a histogram's or summary's."""

    WHOLE = 0
    SUM = 1
    COUNT = 2
    BUCKET = 3
    QUANTILE = 4


class Sample(IntEnum):
    """The columns of `Sink.samples`."""

    METRIC = 0
    SERIES = 1
    TIME = 2
    """Unix milliseconds."""

    VALUE = 3
    """A float's bits."""

    START = 4
    """Unix milliseconds since when the value counts; 0: unknown."""

    FLAGS = 5


SAMPLE_COLUMNS = len(Sample)


class Histogram(IntEnum):
    """The columns of `Sink.histograms`; the first six are those of `Sample`, `VALUE` the sum."""

    METRIC = 0
    SERIES = 1
    TIME = 2
    SUM = 3
    START = 4
    FLAGS = 5
    SCHEMA = 6
    COUNT = 7
    ZERO_COUNT = 8
    ZERO_THRESHOLD = 9
    POSITIVE_OFFSET = 10
    POSITIVE_LENGTH = 11
    NEGATIVE_OFFSET = 12
    NEGATIVE_LENGTH = 13
    BOUNDS_LENGTH = 14
    """Bounds of its own, with the schema -53."""

    HINT = 15
    """`telemetry.promql.native.columns.Hint`."""


HISTOGRAM_COLUMNS = len(Histogram)


class Exemplar(IntEnum):
    """The columns of `Sink.exemplars`; places are offsets in the request."""

    METRIC = 0
    SERIES = 1
    TIME = 2
    VALUE = 3
    TRACE = 4
    """Where the 16 bytes of the trace id are; 0: none."""

    SPAN = 5
    BEGIN = 6
    END = 7


EXEMPLAR_COLUMNS = len(Exemplar)


class New(IntEnum):
    """The columns of `Sink.new`: a series not known, and where in the request it is described."""

    SERIES = 0
    METRIC = 1
    KIND = 2
    PART = 3
    BOUND = 4
    RESOURCE = 5
    RESOURCE_END = 6
    HEADER = 7
    HEADER_END = 8
    POINT = 9
    POINT_END = 10
    FLAGS = 11
    FOLD = 12


NEW_COLUMNS = len(New)


class Place(IntEnum):
    """The columns of `Sink.place`: what holds for all points of a metric."""

    METRIC = 0
    KIND = 1
    RESOURCE = 2
    RESOURCE_END = 3
    HEADER = 4
    HEADER_END = 5
    RECEIVED = 6
    FLAGS = 7
    FOLD = 8
    GROUP = 9
    """The metric with its tenant; its series are limited together."""

    BASE = 10
    """What its series' ids begin with."""

    POINTS = 11
    POINTS_END = 12
    REFUSAL = 13
    """The `Count` by which all its points are refused; 0: they aren't."""


PLACES = len(Place)

REFUSE_NEW = PLACES
"""Behind the place: whether series that aren't known are refused."""


class Filled(IntEnum):
    """The columns of `Sink.filled`: how many rows each array of the sink would take."""

    SAMPLES = 0
    NEW = 1
    HISTOGRAMS = 2
    BUCKETS = 3
    EXEMPLARS = 4


DELTA = 1
"""Flag: the value is a difference to be added up."""

FOLDED = 2
"""Flag: the series stands for many, see `telemetry/intake/firewall.py`."""

ADDS = 4
"""Flag: values of folded series are added; of others the last stays."""

FOLD_ALL = 1
"""A fold key that means every label."""


class Sink(NamedTuple):
    """
    What a scan of metrics fills.

    `samples`, `histograms` and `exemplars` are (columns, capacity), floats in them as their bits.
    `known` is a hash set of series, `over` one of metrics whose unknown series are folded, by the
    key in `fold` at the same place.
    """

    known: Words
    over: Words
    fold: Words
    new: Words
    samples: Words
    histograms: Words
    buckets: Floats
    exemplars: Words
    place: Words
    filled: NDArray[np.int64]
    counts: NDArray[np.int64]


_U0 = np.uint64(0)
_MILLION = np.uint64(1_000_000)
FOLDED_MIX = np.uint64(0x5F6F766572666C6F)
_METRIC, _SERIES, _TIME, _VALUE, _START, _FLAGS = range(6)
_PLACE_METRIC, _PLACE_KIND, _RESOURCE, _RESOURCE_END, _HEADER, _HEADER_END = range(6)
_RECEIVED, _PLACE_FLAGS, _PLACE_FOLD = 6, 7, 8
_FILLED_SAMPLES, _FILLED_NEW = 0, 1
_FOLDED_FLAG = np.uint64(FOLDED)
_FOLD_ALL = np.uint64(FOLD_ALL)
_COUNT_FOLDED, _ITEMS = int(Count.FOLDED), int(Count.ITEMS)
_SERIES_LIMIT, _REFUSE_NEW = int(Count.SERIES_LIMIT), int(REFUSE_NEW)
_GROUP, _REFUSAL = int(Place.GROUP), int(Place.REFUSAL)


@bare
def fold_key(sink: Sink, group: np.uint64) -> np.uint64:
    """Return the key by which unknown series of the metric *group* are folded; 0: they aren't."""
    at = find(sink.over, group)
    return sink.fold[at] if at >= 0 else _U0


@bare
def enter(sink: Sink, metric: Words) -> bool:
    """Make *metric*, a row of `Place`, the sink's place; return whether its points are refused."""
    for column in range(metric.shape[0]):
        sink.place[column] = metric[column]
    sink.place[_PLACE_FOLD] = fold_key(sink, metric[_GROUP])
    return bool(metric[_REFUSAL] != _U0)


@bare
def refuse(sink: Sink) -> None:
    """Count a point of a metric that is refused."""
    sink.counts[_ITEMS] += 1
    sink.counts[np.int64(sink.place[_REFUSAL])] += 1


@bare
def emit(sink: Sink, series: np.uint64, time: np.uint64, start: np.uint64, flags: np.uint64) -> Any:
    """
    Add a sample's row without its value; return where it stands, -1 if there is no room.

    Args:
        time: Unix nanoseconds; 0: when it was received.
        start: Unix nanoseconds; 0: unknown.

    """
    at: Any = sink.filled[_FILLED_SAMPLES]
    sink.filled[_FILLED_SAMPLES] = at + 1
    if at >= sink.samples.shape[1]:
        return -1
    sink.samples[_METRIC, at] = sink.place[_PLACE_METRIC]
    sink.samples[_SERIES, at] = series
    sink.samples[_TIME, at] = (time if time != _U0 else sink.place[_RECEIVED]) // _MILLION
    sink.samples[_START, at] = start // _MILLION
    sink.samples[_FLAGS, at] = flags
    return at


@bare
def note(sink: Sink, series: np.uint64, part: int, bound: np.uint64, point: int, end: int) -> None:
    """Write *series* of the point at *point* down as new, unless it is known."""
    if find(sink.known, series) >= 0:
        return
    at: Any = sink.filled[_FILLED_NEW]
    sink.filled[_FILLED_NEW] = at + 1
    if at >= sink.new.shape[0]:
        return
    new, place = sink.new, sink.place
    new[at, 0] = series
    new[at, 1] = place[_PLACE_METRIC]
    new[at, 2] = place[_PLACE_KIND]
    new[at, 3] = np.uint64(part)
    new[at, 4] = bound
    new[at, 5] = place[_RESOURCE]
    new[at, 6] = place[_RESOURCE_END]
    new[at, 7] = place[_HEADER]
    new[at, 8] = place[_HEADER_END]
    new[at, 9] = np.uint64(point)
    new[at, 10] = np.uint64(end)
    new[at, 11] = place[_PLACE_FLAGS]
    new[at, 12] = _U0
    if place[_PLACE_FLAGS] & _FOLDED_FLAG:
        new[at, 12] = place[_PLACE_FOLD]


@bare
def _key_hash(data: Bytes, start: int, stop: int) -> np.uint64:
    """Return the hash of the key of a KeyValue."""
    at = start
    while at < stop:
        number, begin, at = field(data, at, stop)
        if number == 1:
            return xxhash64(data, begin, at)
    return xxhash64(data, 0, 0)


@bare
def series_of(
    data: Bytes,
    start: int,
    stop: int,
    base: np.uint64,
    attributes: np.uint64,
    part: int,
    number: int,
    sink: Sink,
) -> np.uint64:
    """
    Return the series of a point whose attributes' hashes sum to *attributes*; 0: it is refused.

    Where its metric has too many, an unknown one is folded: the label that explodes, or all of
    them, count as one value. Sets or clears `FOLDED` in the place's flags.

    Args:
        part: The part whose id tells whether the point is known.
        number: Field number of the point's attributes.

    """
    series = int_hash(base + attributes)
    place = sink.place
    place[_PLACE_FLAGS] = place[_PLACE_FLAGS] & ~_FOLDED_FLAG
    key = place[_PLACE_FOLD]
    refuse_new = place[_REFUSE_NEW] != _U0
    if (key == _U0 and not refuse_new) or _is_known(sink, series, part):
        return series
    if key != _U0:
        found, kept = _kept(data, start, stop, key, number)
        if found:
            series = int_hash(base + kept)
            refuse_new = refuse_new and not _is_known(sink, series, part)
            if not refuse_new:
                place[_PLACE_FLAGS] = place[_PLACE_FLAGS] | _FOLDED_FLAG
                sink.counts[_COUNT_FOLDED] += 1
    if refuse_new:
        sink.counts[_SERIES_LIMIT] += 1
        return _U0
    return series


@bare
def _is_known(sink: Sink, series: np.uint64, part: int) -> bool:
    one = int_hash(series + np.uint64(part)) if part else series
    return bool(find(sink.known, one) >= 0)


@bare
def _kept(
    data: Bytes, start: int, stop: int, key: np.uint64, number: int
) -> tuple[bool, np.uint64]:
    """Return whether a point has the folded label, and the sum of its other attributes."""
    kept = FOLDED_MIX ^ key
    if key == _FOLD_ALL:
        return True, kept
    found = False
    at = start
    while at < stop:
        found_number, begin, at = field(data, at, stop)
        if found_number == number:
            if _key_hash(data, begin, at) == key:
                found = True
            else:
                kept += xxhash64(data, begin, at)
    return found, kept
