"""
The compiled scanner of what Prometheus scrapes: its text format, and OpenMetrics.

    name{label="value",...} value [time] [# exemplar]

A series is told apart by the bytes before its value, and by its target. Comments are skipped
here; they are read when a series is new (`exposition_described`).
"""

# ruff: noqa: PLR0917 - compiled: no keyword arguments, and sets are slow

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import types

from telemetry.scan.hashing import find, int_hash, xxhash64
from telemetry.scan.points import STALE, in_time
from telemetry.scan.sink import REFUSE_NEW, Count, Kind, Part, Place, Sample, emit, note
from telemetry.scan.wire import as_bits, bare


if TYPE_CHECKING:
    from telemetry.scan.sink import Sink
    from telemetry.scan.wire import Bytes

_ITEMS, _TIME, _SERIES_LIMIT = int(Count.ITEMS), int(Count.TIME), int(Count.SERIES_LIMIT)
_METRIC, _KIND, _HEADER, _HEADER_END, _RECEIVED, _FLAGS = (
    int(one)
    for one in (
        *(Place.METRIC, Place.KIND, Place.HEADER, Place.HEADER_END),
        *(Place.RECEIVED, Place.FLAGS),
    )
)
_UNKNOWN, _WHOLE, _VALUE = np.uint64(Kind.UNKNOWN), int(Part.WHOLE), int(Sample.VALUE)
_REFUSE_NEW = int(REFUSE_NEW)
_SCRAPED = 0x7363726170656421
_U0 = np.uint64(0)
_MILLION = np.uint64(1_000_000)
_LF, _SPACE, _TAB, _HASH, _OPEN, _CLOSE, _QUOTE, _BACKSLASH = (ord(c) for c in '\n \t#{}"\\')
_POINT = ord(".")
_DIGITS_MAX = 64

_strtod: Any = types.ExternalFunction("strtod", types.float64(types.uintp, types.uintp))
"""C's, called with addresses; what it reads is looked at before, and ends in a space or line."""


@bare
def _name_end(data: Bytes, at: int, end: int) -> int:
    while at < end and data[at] != _OPEN and data[at] != _SPACE and data[at] != _TAB:
        at += 1
    return at


@bare
def _key_end(data: Bytes, at: int, end: int) -> int:
    """Return where the name and the labels at *at* end; -1 if they don't."""
    at = name_end = _name_end(data, at, end)
    at = _skip(data, at, end)
    if at == end or data[at] != _OPEN:
        return name_end
    quoted = False
    while at < end:
        byte = data[at]
        if quoted and byte == _BACKSLASH:
            at += 1
        elif byte == _QUOTE:
            quoted = not quoted
        elif byte == _CLOSE and not quoted:
            return at + 1
        at += 1
    return -1


@bare
def _word_end(data: Bytes, at: int, end: int) -> int:
    while at < end and data[at] != _SPACE and data[at] != _TAB:
        at += 1
    return at


@bare
def _skip(data: Bytes, at: int, end: int) -> int:
    while at < end and (data[at] == _SPACE or data[at] == _TAB):
        at += 1
    return at


@bare
def _is_word(data: Bytes, start: int, stop: int, low: int, middle: int, last: int) -> bool:
    """Whether a word is these three letters, whatever their case, or begins with them."""
    return (
        stop - start >= 3
        and data[start] | 0x20 == low
        and data[start + 1] | 0x20 == middle
        and data[start + 2] | 0x20 == last
    )


@bare
def _digits_end(data: Bytes, at: int, stop: int) -> int:
    while at < stop and 0x30 <= data[at] <= 0x39:
        at += 1
    return at


@bare
def _number(data: Bytes, start: int, stop: int) -> tuple[bool, float]:
    """Return whether a word is a number, and which."""
    at = start
    negative = at < stop and data[at] == 0x2D
    if at < stop and (data[at] == 0x2B or data[at] == 0x2D):
        at += 1
    if _is_word(data, at, stop, 0x69, 0x6E, 0x66):
        whole = stop - at == 8 and _is_word(data, at + 3, stop, 0x69, 0x6E, 0x69)
        whole = whole and _is_word(data, at + 5, stop, 0x69, 0x74, 0x79)
        return whole or stop - at == 3, -np.inf if negative else np.inf
    if _is_word(data, at, stop, 0x6E, 0x61, 0x6E):
        return stop - at == 3, np.nan
    if at == stop or stop - start > _DIGITS_MAX:
        return False, 0.0
    first = at
    at = _digits_end(data, at, stop)
    digits = at - first
    if at < stop and data[at] == _POINT:
        first = at + 1
        at = _digits_end(data, first, stop)
        digits += at - first
    if digits == 0:
        return False, 0.0
    if at < stop and data[at] | 0x20 == 0x65:
        at += 1
        if at < stop and (data[at] == 0x2B or data[at] == 0x2D):
            at += 1
        first = at
        at = _digits_end(data, at, stop)
        if at == first:
            return False, 0.0
    if at != stop:
        return False, 0.0
    return True, _strtod(data.ctypes.data + start, np.uintp(0))


@bare
def series_at(data: Bytes, start: int, stop: int, root: np.uint64) -> np.uint64:
    """Return the id of the series whose name and labels these bytes are."""
    return int_hash(root + xxhash64(data, start, stop))


def root_of(target: bytes, tenant: str) -> np.uint64:
    """Return what the ids of a target's series begin with."""
    whose, which = (np.frombuffer(one, np.uint8) for one in (tenant.encode(), target))
    summed = int(xxhash64(whose, 0, len(whose))) + int(xxhash64(which, 0, len(which)))
    return np.uint64(int_hash(np.uint64((summed + _SCRAPED) % (1 << 64))))


@bare
def scan_exposition(
    data: Bytes,
    start: int,
    root: np.uint64,
    seconds: bool,  # noqa: FBT001 - compiled
    stale: bool,  # noqa: FBT001 - compiled
    sink: Sink,
) -> int:
    """
    Scan the text from *start* on into *sink*; return where a line can't be read, -1: all can.

    Args:
        data: Ends in a line's end.
        root: `root_of` the target.
        seconds: Whether times are seconds, as in OpenMetrics, or milliseconds.
        stale: Whether all series end here; their values don't count then.

    """
    place = sink.place
    received = place[_RECEIVED]
    line: Any = start
    while line < data.shape[0]:
        end = line
        while data[end] != _LF:
            end += 1
        begin = _skip(data, line, end)
        next_line = end + 1
        if begin == end or data[begin] == _HASH:
            line = next_line
            continue
        key_end = _key_end(data, begin, end)
        if key_end <= begin:
            return line  # type: ignore[no-any-return]
        name_end = _name_end(data, begin, key_end)
        value_at = _skip(data, key_end, end)
        value_end = _word_end(data, value_at, end)
        good, value = _number(data, value_at, value_end)
        time = _U0
        time_at = _skip(data, value_end, end)
        if good and time_at < end and data[time_at] != _HASH:
            time_end = _word_end(data, time_at, end)
            good, told = _number(data, time_at, time_end)
            rest = _skip(data, time_end, end)
            good = good and (rest == end or data[rest] == _HASH)
            ms = told * 1000.0 if seconds else told
            if good:
                time = np.uint64(np.int64(ms)) * _MILLION if 0 < ms < 9e12 else np.uint64(1)
        if not good:
            return line  # type: ignore[no-any-return]
        sink.counts[_ITEMS] += 1
        series = series_at(data, begin, key_end, root)
        if not in_time(time, received):
            sink.counts[_TIME] += 1
        elif place[_REFUSE_NEW] != _U0 and find(sink.known, series) < 0:
            sink.counts[_SERIES_LIMIT] += 1
        else:
            place[_METRIC] = xxhash64(data, begin, name_end)
            place[_KIND] = _UNKNOWN
            place[_HEADER], place[_HEADER_END] = np.uint64(begin), np.uint64(key_end)
            place[_FLAGS] = _U0
            note(sink, series, _WHOLE, _U0, begin, key_end)
            row = emit(sink, series, time, _U0, _U0)
            if row >= 0:
                sink.samples[_VALUE, row] = STALE if stale else as_bits(value)
        line = next_line
    return -1
