"""
Hashes as ClickHouse has them: a series' id is the same from the scanner and from SQL.

`telemetry/load/metrics.sql` computes the same from the same bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from telemetry.scan.wire import bare, compiled, number32, number64


if TYPE_CHECKING:
    from numpy.typing import NDArray

    from telemetry.scan.wire import Bytes

_P1 = np.uint64(11400714785074694791)
_P2 = np.uint64(14029467366897019727)
_P3 = np.uint64(1609587929392839161)
_P4 = np.uint64(9650029242287828579)
_P5 = np.uint64(2870177450012600261)
_INT_HASH_MIX = np.uint64(0x4CF2D2BAAE6DA887)
_MURMUR_1 = np.uint64(0xFF51AFD7ED558CCD)
_MURMUR_2 = np.uint64(0xC4CEB9FE1A85EC53)


@bare
def _rotl(value: np.uint64, by: int) -> np.uint64:
    return (value << np.uint64(by)) | (value >> np.uint64(64 - by))


@bare
def _round(acc: np.uint64, lane: np.uint64) -> np.uint64:
    return _rotl(acc + lane * _P2, 31) * _P1


@bare
def _merge(acc: np.uint64, lane: np.uint64) -> np.uint64:
    return (acc ^ _round(np.uint64(0), lane)) * _P1 + _P4


@bare
def xxhash64(data: Bytes, start: int, stop: int) -> np.uint64:
    """XXH64 with seed 0 of `data[start:stop]`: ClickHouse's xxHash64."""
    at = start
    if stop - start >= 32:
        v1, v2, v3, v4 = _P1 + _P2, _P2, np.uint64(0), np.uint64(0) - _P1
        while at + 32 <= stop:
            v1 = _round(v1, number64(data, at))
            v2 = _round(v2, number64(data, at + 8))
            v3 = _round(v3, number64(data, at + 16))
            v4 = _round(v4, number64(data, at + 24))
            at += 32
        acc = _rotl(v1, 1) + _rotl(v2, 7) + _rotl(v3, 12) + _rotl(v4, 18)
        acc = _merge(_merge(_merge(_merge(acc, v1), v2), v3), v4)
    else:
        acc = _P5
    acc += np.uint64(stop - start)
    while at + 8 <= stop:
        acc = _rotl(acc ^ _round(np.uint64(0), number64(data, at)), 27) * _P1 + _P4
        at += 8
    if at + 4 <= stop:
        acc = _rotl(acc ^ (number32(data, at) * _P1), 23) * _P2 + _P3
        at += 4
    while at < stop:
        acc = _rotl(acc ^ (np.uint64(data[np.uint64(at)]) * _P5), 11) * _P1
        at += 1
    acc = (acc ^ (acc >> np.uint64(33))) * _P2
    acc = (acc ^ (acc >> np.uint64(29))) * _P3
    return acc ^ (acc >> np.uint64(32))


@bare
def int_hash(value: np.uint64) -> np.uint64:
    """ClickHouse's intHash64."""
    value ^= _INT_HASH_MIX
    value = (value ^ (value >> np.uint64(33))) * _MURMUR_1
    value = (value ^ (value >> np.uint64(33))) * _MURMUR_2
    return value ^ (value >> np.uint64(33))


@bare
def find(table: NDArray[np.uint64], key: np.uint64) -> Any:
    """Return where *key* stands in the hash set *table*, or -1 - its free place. 0 is "free"."""
    mask = table.shape[0] - 1
    at: Any = np.int64(key & np.uint64(mask))
    while True:
        if table[at] == key:
            return at
        if table[at] == np.uint64(0):
            return -1 - at
        at = (at + 1) & mask


@compiled
def find_all(table: NDArray[np.uint64], keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Return whether each of *keys* is in the hash set *table*."""
    found = np.empty(keys.shape[0], np.bool_)
    for i in range(keys.shape[0]):
        found[i] = find(table, keys[i]) >= 0
    return found


@bare
def insert_all(table: NDArray[np.uint64], keys: NDArray[np.uint64]) -> int:
    """Put *keys* into *table*, which has room; return how many were new."""
    new = 0
    for i in range(keys.shape[0]):
        at = find(table, keys[i])
        if at < 0:
            table[-1 - at] = keys[i]
            new += 1
    return new
