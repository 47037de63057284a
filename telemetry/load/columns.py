"""
Columns in ClickHouse's format Native while compiled code fills them, all in one array of bytes.

Attributes become texts as the SQL of `telemetry.load.statements` makes them. What doesn't fit is
counted all the same: whoever made the array makes a larger one and has it filled again.
"""

# ruff: noqa: PLR0917 - compiled: no keyword arguments

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from telemetry.scan.wire import bare, copy, field, number64, varint
from telemetry.store.values import LIST, MAP


if TYPE_CHECKING:
    from numpy.typing import NDArray

    from telemetry.scan.wire import Bytes

    Places = NDArray[np.int64]


class Part(IntEnum):
    """The columns of spans. Each `..._END` says where that of a row ends in those behind it."""

    TENANT = 0
    SCOPE = 1
    RESOURCE_END = 2
    RESOURCE_KEY = 3
    RESOURCE_VALUE = 4
    """The column of values is behind that of keys, here and below."""

    SPANS_END = 5
    TRACE = 6
    SPAN = 7
    PARENT = 8
    START = 9
    DURATION = 10
    NAME = 11
    KIND = 12
    STATUS = 13
    MESSAGE = 14
    STATE = 15
    ATTRIBUTES_END = 16
    KEY = 17
    VALUE = 18
    EVENTS_END = 19
    EVENT_TIME = 20
    EVENT_NAME = 21
    EVENT_ATTRIBUTES_END = 22
    EVENT_KEY = 23
    EVENT_VALUE = 24
    LINKS_END = 25
    LINK_TRACE = 26
    LINK_SPAN = 27
    FLOAT = 28
    """The values that are floats, in the order in which they are met; not for ClickHouse."""


PARTS = len(Part)


class Count(IntEnum):
    """What is counted in `Columns.places`, behind where parts are filled to and where they end."""

    GROUPS = 2 * PARTS
    """A ScopeSpans each."""

    RESOURCE = 2 * PARTS + 1
    SPANS = 2 * PARTS + 2
    ATTRIBUTES = 2 * PARTS + 3
    EVENTS = 2 * PARTS + 4
    EVENT_ATTRIBUTES = 2 * PARTS + 5
    LINKS = 2 * PARTS + 6
    FLOATS = 2 * PARTS + 7


PLACES = 2 * PARTS + len(Count)


class Columns(NamedTuple):
    """Arrays, so that it passes into compiled code as it is; few, since that copies them."""

    parts: Bytes
    """Each `Part` behind the other."""

    places: Places
    """Up to where each is filled, or would be, where its room ends, and what `Count` says."""

    float_texts: Bytes
    """The floats of an earlier time as text, each in `FLOAT_BYTES`, ..."""

    float_lengths: Places
    """... and how long it is."""


FLOAT_BYTES = 26
"""What a float takes at most, as a string with its length."""

_FLOAT, _FLOATS = int(Part.FLOAT), int(Count.FLOATS)
_U0, _TEN = np.uint64(0), np.uint64(10)
_MINUS, _ZERO, _PAD = 45, 48, 61
_NO_MARK = np.frombuffer(b"", np.uint8)
_FALSE, _TRUE = np.frombuffer(b"false", np.uint8), np.frombuffer(b"true", np.uint8)
_LIST, _MAP = np.frombuffer(LIST.encode(), np.uint8), np.frombuffer(MAP.encode(), np.uint8)
_BASE64 = np.frombuffer(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", np.uint8
)


@bare
def _room(to: Columns, part: int, size: int) -> int:
    """Take *size* bytes of a part; return where they begin, or -1: it is full."""
    at = to.places[part]
    to.places[part] = at + size
    return at if at + size <= to.places[PARTS + part] else -1


@bare
def _begin(to: Columns, part: int, length: int) -> int:
    """Write the *length* of a string; return where its bytes go, or -1."""
    if length < 0x80:
        at = _room(to, part, 1 + length)
        if at < 0:
            return -1
        to.parts[at] = length
        return at + 1
    size = 1
    rest = length >> 7
    while rest:
        size += 1
        rest >>= 7
    at = _room(to, part, size + length)
    if at < 0:
        return -1
    while length > 0x7F:
        to.parts[at] = length & 0x7F | 0x80
        length >>= 7
        at += 1
    to.parts[at] = length
    return at + 1


@bare
def put(to: Columns, part: int, data: Bytes, start: int, stop: int) -> None:
    """Put `data[start:stop]` into a part, as a string."""
    at = _begin(to, part, stop - start)
    if at >= 0:
        copy(to.parts, at, data, start, stop)


@bare
def put_id(to: Columns, part: int, data: Bytes, start: int, stop: int, size: int) -> None:
    """Put an id of *size* bytes into a part; zeros if what is there is none."""
    at = _room(to, part, size)
    if at < 0:
        return
    if stop - start == size:
        copy(to.parts, at, data, start, stop)
    else:
        for i in range(size):
            to.parts[at + i] = 0


@bare
def put64(to: Columns, part: int, number: np.uint64) -> None:
    """Put a number of 64 bits into a part."""
    place = _room(to, part, 8)
    if place >= 0:
        for i in range(8):
            to.parts[np.uint64(place + i)] = number >> np.uint64(8 * i) & np.uint64(0xFF)


@bare
def put8(to: Columns, part: int, number: int) -> None:
    """Put a number of 8 bits into a part."""
    at = _room(to, part, 1)
    if at >= 0:
        to.parts[at] = number


@bare
def _integer(to: Columns, part: int, number: np.uint64) -> None:
    """Put the signed 64 bits *number* into a part, in decimal."""
    negative = np.int64(number) < 0
    rest = _U0 - number if negative else number
    length = 2 if negative else 1
    more = rest // _TEN
    while more:
        length += 1
        more //= _TEN
    at = _begin(to, part, length)
    if at < 0:
        return
    if negative:
        to.parts[at] = _MINUS
    last = at + length - 1
    while True:
        to.parts[last] = np.uint64(_ZERO) + rest % _TEN
        rest //= _TEN
        last -= 1
        if not rest:
            return


@bare
def _base64(to: Columns, part: int, mark: Bytes, data: Bytes, start: int, stop: int) -> None:
    """Put *mark* and behind it `data[start:stop]` in base64 into a part."""
    marked = mark.shape[0]
    at = _begin(to, part, marked + (stop - start + 2) // 3 * 4)
    if at < 0:
        return
    copy(to.parts, at, mark, 0, marked)
    at += marked
    for three in range(start, stop, 3):
        left = stop - three
        bits = np.int64(data[three]) << 16
        if left > 1:
            bits |= np.int64(data[three + 1]) << 8
        if left > 2:
            bits |= np.int64(data[three + 2])
        to.parts[at] = _BASE64[bits >> 18]
        to.parts[at + 1] = _BASE64[bits >> 12 & 63]
        to.parts[at + 2] = _BASE64[bits >> 6 & 63] if left > 1 else _PAD
        to.parts[at + 3] = _BASE64[bits & 63] if left > 2 else _PAD
        at += 4


@bare
def _float(to: Columns, part: int, bits: np.uint64) -> None:
    """Note a float; put the text that was made of it since an earlier time, if there was one."""
    put64(to, _FLOAT, bits)
    row = to.places[_FLOATS]
    to.places[_FLOATS] = row + 1
    if row < to.float_lengths.shape[0]:
        start = row * FLOAT_BYTES
        put(to, part, to.float_texts, start, start + to.float_lengths[row])
    else:
        _room(to, part, FLOAT_BYTES)


@bare
def _value(to: Columns, part: int, data: Bytes, start: int, stop: int) -> None:
    """Put the AnyValue at `data[start:stop]` into a part."""
    at = start
    while at < stop:
        number, begin, at = field(data, at, stop)
        if number == 1:
            put(to, part, data, begin, at)
        elif number == 2:
            true, _ = varint(data, begin, at)
            word = _TRUE if true else _FALSE
            put(to, part, word, 0, word.shape[0])
        elif number == 3:
            integer, _ = varint(data, begin, at)
            _integer(to, part, integer)
        elif number == 4:
            _float(to, part, number64(data, begin))
        elif number == 5:
            _base64(to, part, _LIST, data, begin, at)
        elif number == 6:
            _base64(to, part, _MAP, data, begin, at)
        elif number == 7:
            _base64(to, part, _NO_MARK, data, begin, at)
        else:
            continue
        return
    put(to, part, data, start, start)


@bare
def put_attribute(to: Columns, key: int, data: Bytes, start: int, stop: int) -> None:
    """Put a KeyValue into the part *key* and the one behind it."""
    name, name_end, value, value_end = start, start, start, start
    at = start
    while at < stop:
        number, begin, at = field(data, at, stop)
        if number == 1:
            name, name_end = begin, at
        elif number == 2:
            value, value_end = begin, at
    put(to, key, data, name, name_end)
    _value(to, key + 1, data, value, value_end)
