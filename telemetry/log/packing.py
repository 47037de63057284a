"""Blocks of snappy: the raw format, as Prometheus's remote write sends it and our log keeps it."""

from __future__ import annotations

import pyarrow as pa


_RATIO_MAX = 64
"""Snappy's format can't say more of fewer bytes; beyond it, the length told is a lie."""

_PACKED_FROM = 512
"""Smaller requests don't become small enough to be worth it."""


def packed(data: bytes) -> bytes | None:
    """Return *data* as a block; None if it isn't worth it."""
    if len(data) < _PACKED_FROM:
        return None
    block: bytes = pa.compress(data, codec="snappy", asbytes=True)
    return block if len(block) < len(data) // 2 else None


def length_of(block: bytes) -> int:
    """
    Return how many bytes *block* says it holds; its length as a varint stands first.

    Raises:
        ValueError: It holds none, or can't hold so many.

    """
    length = shift = 0
    for byte in block[:5]:
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    else:
        raise ValueError("no length")
    if length > _RATIO_MAX * len(block):
        raise ValueError("its length is wrong")
    return length


def unpacked(block: bytes) -> bytes:
    """
    Return what *block* holds.

    Raises:
        ValueError, OSError: It is none. Both of pyarrow's errors are one of these.

    """
    return bytes(
        pa.decompress(block, decompressed_size=length_of(block), codec="snappy", asbytes=True)
    )
