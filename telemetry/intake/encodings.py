"""Compressed bodies, unpacked within a bound: gzip, zstd, and remote write's blocks of snappy."""

from __future__ import annotations

import zlib

import pyarrow as pa

from meshkit.errors import InvalidInput


_SNAPPY_RATIO_MAX = 64
"""Snappy's format can't say more of fewer bytes; beyond it, the length told is a lie."""


def unpacked(body: bytes, encoding: str, bytes_max: int) -> bytes:
    """
    Return what *body* is without its *encoding*, a Content-Encoding.

    Raises:
        InvalidInput: `UNKNOWN_ENCODING`, `MALFORMED_BODY`, `BODY_TOO_LARGE`.

    """
    name = encoding.strip().lower()
    try:
        match name:
            case "" | "identity":
                content = body
            case "gzip" | "deflate":
                content = _inflated(body, bytes_max)
            case "zstd":
                content = _zstd(body, bytes_max)
            case "snappy":
                content = _snappy(body, bytes_max)
            case _:
                raise InvalidInput(
                    "UNKNOWN_ENCODING", "Send the body as it is, or with gzip or zstd."
                )
    except (zlib.error, OSError, ValueError, pa.ArrowException) as error:
        raise InvalidInput(
            "MALFORMED_BODY", "The body can't be unpacked.", encoding=name, error=str(error)[:200]
        ) from None
    if len(content) > bytes_max:
        raise too_large(bytes_max)
    return content


def too_large(bytes_max: int) -> InvalidInput:
    """Return the error of a body that is larger than *bytes_max*."""
    return InvalidInput(
        "BODY_TOO_LARGE",
        "The body is too large; send it in parts.",
        bytes_max=str(bytes_max),
    )


def _inflated(body: bytes, bytes_max: int) -> bytes:
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)
    content = unpacker.decompress(body, bytes_max + 1)
    if len(content) <= bytes_max and not unpacker.eof:
        raise ValueError("it is cut off")
    return content


def _zstd(body: bytes, bytes_max: int) -> bytes:
    with pa.CompressedInputStream(pa.BufferReader(body), "zstd") as stream:
        content: bytes = stream.read(bytes_max + 1)
    return content


def _snappy(body: bytes, bytes_max: int) -> bytes:
    """Return the content of a raw block: its length as a varint stands first."""
    length = shift = 0
    for byte in body[:5]:
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    else:
        raise ValueError("no length")
    if length > bytes_max:
        raise too_large(bytes_max)
    if length > _SNAPPY_RATIO_MAX * len(body):
        raise ValueError("its length is wrong")
    return bytes(pa.decompress(body, decompressed_size=length, codec="snappy", asbytes=True))
