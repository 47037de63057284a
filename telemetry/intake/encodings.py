"""Compressed bodies, unpacked within a bound: gzip, zstd, and remote write's blocks of snappy."""

from __future__ import annotations

import zlib

import pyarrow as pa

from meshkit.errors import InvalidInput
from telemetry.log import packing


def unpacked(body: bytes, encoding: str, bytes_max: int) -> bytes:
    """
    Return what *body* is without its *encoding*, a Content-Encoding.

    Raises:
        InvalidInput: `UNKNOWN_ENCODING`, `MALFORMED_BODY`, `BODY_TOO_LARGE`.

    """
    name = _name(encoding)
    try:
        match name:
            case "" | "identity":
                content = body
            case "gzip" | "deflate":
                content = _inflated(body, bytes_max)
            case "zstd":
                content = _zstd(body, bytes_max)
            case _ if is_block(encoding):
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


def is_block(encoding: str) -> bool:
    """Whether *encoding* is snappy's, which our log keeps, too."""
    return _name(encoding) == "snappy"


def too_large(bytes_max: int) -> InvalidInput:
    """Return the error of a body that is larger than *bytes_max*."""
    return InvalidInput(
        "BODY_TOO_LARGE",
        "The body is too large; send it in parts.",
        bytes_max=str(bytes_max),
    )


def _name(encoding: str) -> str:
    return encoding.strip().lower()


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
    if packing.length_of(body) > bytes_max:
        raise too_large(bytes_max)
    return packing.unpacked(body)
