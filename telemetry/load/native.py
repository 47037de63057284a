"""
ClickHouse's `Native` format: a block of columns, each as it is in memory.

    columns varint, rows varint, and for each column: name, type, values
    a name or type is its length as a varint and its bytes; an array's values are where each ends
    (UInt64), then the values of all; a string's are its length as a varint and its bytes
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np


if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a block."""

    name: str
    kind: str
    """ClickHouse's type."""

    parts: Sequence[bytes | memoryview]
    """Its values as they are written."""


def numbers(name: str, kind: str, *parts: NDArray[Any]) -> Column:
    """Return a column of numbers; *parts* follow one another and are of its width."""
    return Column(name=name, kind=kind, parts=[_bytes(one) for one in parts])


def arrays(name: str, kind: str, ends: NDArray[np.int64], values: NDArray[Any]) -> Column:
    """Return a column of arrays of *kind*; the i-th ends at `ends[i]` of *values*."""
    parts = [_bytes(ends.astype(np.uint64)), _bytes(values)]
    return Column(name=name, kind=f"Array({kind})", parts=parts)


def strings(name: str, values: Sequence[bytes]) -> Column:
    """Return a column of strings."""
    return Column(
        name=name,
        kind="String",
        parts=[part for one in values for part in (_varint(len(one)), one)],
    )


def block(rows: int, columns: Sequence[Column]) -> Iterator[bytes | memoryview]:
    """Yield the bytes of a block of *rows* rows."""
    yield _varint(len(columns)) + _varint(rows)
    for column in columns:
        name, kind = column.name.encode(), column.kind.encode()
        yield b"".join((_varint(len(name)), name, _varint(len(kind)), kind))
        yield from column.parts


def _bytes(values: NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(values).view(np.uint8).data


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
