"""
What the labels of remote writes come to, remembered by their bytes.

A sender repeats its series in each request byte for byte. So where a TimeSeries begins with bytes
that were there before, its labels were checked then, and the same comes of them.
"""

from __future__ import annotations

import secrets
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from telemetry.scan.hashing import int_hash
from telemetry.scan.wire import bare, product, word_at


if TYPE_CHECKING:
    from numpy.typing import NDArray

    from telemetry.scan.wire import Bytes

    Words = NDArray[np.uint64]

_COUNT_MAX = 1 << 20
"""When there are more, all are forgotten: 40 MiB."""

_ROOM_FIRST = 1 << 12
_NEW_MAX = 2_048
"""How many one request adds."""

KEYED_FROM = 16
"""Bytes from which on labels have a key."""


class Column(IntEnum):
    """The columns of what is remembered."""

    KEY = 0
    """The key mixed with the next two; in `Remembered.new` as it is."""

    METRIC = 1
    LABELS = 2
    KNOWN = 3
    """1: the series is known, and stays so. Any thread that sees it says so."""


_KEY, _METRIC, _LABELS, _KNOWN = (int(one) for one in Column)
_COLUMNS = len(Column)
_U0 = np.uint64(0)


class Remembered(NamedTuple):
    """
    The label sets of tenants that are known, and those that a scan adds, as rows of `Column`.

    They may be read while another thread adds some: a row that is half there has no key, and is
    found once it is whole.
    """

    secret: Words
    """Four numbers of this process's own: nobody can tell which bytes have the same key."""

    rows: Words
    """In the order in which they came: the next is mostly where a request goes on."""

    places: NDArray[np.int32]
    """A hash table of rows' numbers, from 1 on; 0: free."""

    new: Words
    filled: NDArray[np.int64]
    """Of one number: how many rows of `new` there are."""


@bare
def key_of(secret: Words, data: Bytes, start: int, stop: int) -> np.uint64:
    """
    Return the key of `data[start:stop]`, at least `KEYED_FROM` bytes.

    After wyhash (Wang Yi, "wyhash and wyrand"): a multiplication for each 16 bytes, in three lanes.
    XXH64 has four, and takes five times as long.
    """
    first, second, third = secret[0], secret[0], secret[0]
    at = start
    while at + 48 <= stop:
        first = product(word_at(data, at) ^ secret[1], word_at(data, at + 8) ^ first)
        second = product(word_at(data, at + 16) ^ secret[2], word_at(data, at + 24) ^ second)
        third = product(word_at(data, at + 32) ^ secret[3], word_at(data, at + 40) ^ third)
        at += 48
    first ^= second ^ third
    while at + 16 <= stop:
        first = product(word_at(data, at) ^ secret[1], word_at(data, at + 8) ^ first)
        at += 16
    one, other = word_at(data, stop - 16), word_at(data, stop - 8)
    last = product(one ^ secret[1], other ^ first)
    return product(secret[2] ^ np.uint64(stop - start), last ^ secret[3])


@bare
def _mixed(metric: np.uint64, labels: np.uint64) -> np.uint64:
    return int_hash(metric + int_hash(labels))


@bare
def _is(rows: Words, row: int, key: np.uint64) -> bool:
    mixed = _mixed(rows[row, _METRIC], rows[row, _LABELS])
    return rows[row, _KEY] != _U0 and rows[row, _KEY] ^ mixed == key  # type: ignore[no-any-return]


@bare
def recall(remembered: Remembered, key: np.uint64, hint: int) -> Any:
    """Return the row of *key*, perhaps *hint*; -1 if there is none."""
    rows, index = remembered.rows, remembered.places
    if hint < rows.shape[0] and _is(rows, hint, key):
        return hint
    mask = index.shape[0] - 1
    at: Any = np.int64(key & np.uint64(mask))
    while index[at] != 0:
        row: Any = np.int64(index[at]) - 1
        if _is(rows, row, key):
            return row
        at = (at + 1) & mask
    return -1


@bare
def add(remembered: Remembered, key: np.uint64, metric: np.uint64, labels: np.uint64) -> None:
    """Add what *key* stands for to the new ones, if there is room."""
    row, new = remembered.filled[0], remembered.new
    if row < new.shape[0]:
        new[row, _KEY], new[row, _METRIC], new[row, _LABELS] = key, metric, labels
        remembered.filled[0] = row + 1


@bare
def _put(index: NDArray[np.int32], key: np.uint64, row: int) -> None:
    mask = index.shape[0] - 1
    at: Any = np.int64(key & np.uint64(mask))
    while index[at] != 0:
        at = (at + 1) & mask
    index[at] = row + 1


@bare
def _put_all(remembered: Remembered, count: int) -> int:
    """Put what is new behind the *count* rows that there are; return how many there are then."""
    rows, new = remembered.rows, remembered.new
    for one in range(remembered.filled[0]):
        key, metric, labels = new[one, _KEY], new[one, _METRIC], new[one, _LABELS]
        if recall(remembered, key, count) < 0:
            rows[count, _METRIC], rows[count, _LABELS], rows[count, _KNOWN] = metric, labels, _U0
            rows[count, _KEY] = key ^ _mixed(metric, labels)
            _put(remembered.places, key, count)
            count += 1
    return count


@bare
def _put_again(rows: Words, count: int, index: NDArray[np.int32]) -> None:
    """Put the first *count* of *rows* into an empty *index*."""
    for row in range(count):
        _put(index, rows[row, _KEY] ^ _mixed(rows[row, _METRIC], rows[row, _LABELS]), row)


class LabelSets:
    """All that is remembered. `learn` on one thread; scans on any read what it replaces."""

    def __init__(self) -> None:
        self._secret = np.array([secrets.randbits(64) | 1 for _ in range(4)], np.uint64)
        self._tables = _make_tables(_ROOM_FIRST)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def for_scan(self) -> Remembered:
        """Return what a scan reads, and fills."""
        return self._with(np.empty((_NEW_MAX, _COLUMNS), np.uint64), 0)

    def learn(self, new: Words) -> None:
        """Remember the *new* rows of a scan."""
        if not len(new):
            return
        if self._count + len(new) > _COUNT_MAX:
            self._tables, self._count = _make_tables(_ROOM_FIRST), 0
        rows = self._tables[0]
        room = len(rows)
        while self._count + len(new) > room:
            room *= 2
        if room != len(rows):
            larger, index = _make_tables(room)
            larger[: self._count] = rows[: self._count]
            _put_again(larger, self._count, index)
            self._tables = larger, index
        self._count = _put_all(self._with(new, len(new)), self._count)

    def warm(self) -> None:
        """Load or compile what it runs on."""
        _put_all(self.for_scan(), 0)
        _put_again(self._tables[0], 0, self._tables[1])

    def _with(self, new: Words, filled: int) -> Remembered:
        rows, index = self._tables
        return Remembered(
            secret=self._secret, rows=rows, places=index, new=new, filled=np.array([filled])
        )


def _make_tables(room: int) -> tuple[Words, NDArray[np.int32]]:
    return np.zeros((room, _COLUMNS), np.uint64), np.zeros(2 * room, np.int32)
