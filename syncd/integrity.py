"""
The set hash that proves two copies of a space equal: specified in `frames.proto` (Head).

A sum, so that order doesn't matter and each change costs two hashes, however large the space.
"""

from __future__ import annotations

import hashlib


MODULUS = 1 << 128
EMPTY = 0


def cell_hash(record: str, field: int, seq: int, value: bytes) -> int:
    """Return what one cell adds to the space's hash; subtract it when the cell goes."""
    message = b"%b\x00%c%b%b" % (record.encode(), field, seq.to_bytes(8, "big"), value)
    return int.from_bytes(hashlib.blake2b(message, digest_size=16).digest(), "big")


def to_bytes(state_hash: int) -> bytes:
    return (state_hash % MODULUS).to_bytes(16, "big")


def from_bytes(data: bytes) -> int:
    return int.from_bytes(data, "big")
