"""
Reading protobuf's wire format, compiled: the checker, and steps for the scanners.

Compiled at first use and kept on disk (numba's cache), without the GIL while running.
All arithmetic is on uint64 or int64; the two must not meet, numba would make floats of them.
"""

# ruff: noqa: PLR1714, SIM109 - sets are slow when compiled

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core.cgutils import raw_memcpy
from numba.extending import intrinsic

from telemetry.scan.shapes import (
    BYTES,
    FIELD_MAX,
    FIXED32,
    FIXED64,
    MESSAGE,
    OWN_FIELDS_FROM,
    PACKED64,
    PACKED_VARINT,
    SKIPPED,
    VARINT,
)


if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]

F = TypeVar("F", bound="Callable[..., Any]")


class Fault(IntEnum):
    """What is wrong with a request's bytes."""

    NONE = 0
    TRUNCATED = 1
    BAD_TAG = 2
    GROUP = 3
    BAD_VARINT = 4
    WRONG_TYPE = 5
    REPEATED = 6
    OWN_FIELD = 7
    BAD_LENGTH = 8
    TOO_DEEP = 9
    TOO_MANY = 10


DEPTH_MAX = 16
"""Shapes nest 9 deep."""

_U0 = np.uint64(0)
_U7F = np.uint64(0x7F)
_TRUNCATED, _BAD_TAG, _GROUP = int(Fault.TRUNCATED), int(Fault.BAD_TAG), int(Fault.GROUP)
_BAD_VARINT, _WRONG_TYPE, _REPEATED = (
    int(Fault.BAD_VARINT),
    int(Fault.WRONG_TYPE),
    int(Fault.REPEATED),
)
_OWN_FIELD, _BAD_LENGTH = int(Fault.OWN_FIELD), int(Fault.BAD_LENGTH)
_TOO_DEEP, _TOO_MANY = int(Fault.TOO_DEEP), int(Fault.TOO_MANY)


def compiled(function: F) -> F:
    """Compile *function* at its first call; runs without the GIL."""
    return cast("F", numba.njit(cache=True, nogil=True)(function))


def bare(function: F) -> F:
    """Compile *function*, which makes no arrays: those it is given aren't counted on the way."""
    options: dict[str, Any] = {"cache": True, "nogil": True, "_nrt": False}
    return cast("F", numba.njit(**options)(function))


def inlined(function: F) -> F:
    """Compile *function*, a `bare` one, into its callers: a call would cost more than it does."""
    options: dict[str, Any] = {"cache": True, "nogil": True, "_nrt": False, "forceinline": True}
    return cast("F", numba.njit(**options)(function))


_in_code: Any = intrinsic
"""An intrinsic is called without its first argument, which its own types don't say."""


@_in_code  # type: ignore[untyped-decorator]
def _float_of(_context: Any, _bits: Any) -> Any:
    """Make a float of 64 bits, in compiled code."""

    def cast_it(_: Any, builder: Any, __: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.uint64), cast_it


@_in_code  # type: ignore[untyped-decorator]
def _bits_of(_context: Any, _number: Any) -> Any:
    """Make 64 bits of a float, in compiled code."""

    def cast_it(_: Any, builder: Any, __: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(64))

    return types.uint64(types.float64), cast_it


@_in_code  # type: ignore[untyped-decorator]
def _word_at(_context: Any, data: Any, _at: Any) -> Any:
    """Load 64 bits of an array of bytes, in compiled code."""

    def load_it(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source = context.make_array(signature.args[0])(context, builder, args[0])
        place = builder.gep(source.data, [args[1]])
        word = builder.load(builder.bitcast(place, ir.IntType(64).as_pointer()))
        word.align = 1
        return word

    return types.uint64(data, types.int64), load_it


@_in_code  # type: ignore[untyped-decorator]
def _product(_context: Any, _one: Any, _other: Any) -> Any:
    """Multiply 64 by 64 bits, and join the halves of the product, in compiled code."""

    def multiply(_: Any, builder: Any, __: Any, args: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(*(builder.zext(one, wide) for one in args))
        high = builder.trunc(builder.lshr(product, wide(64)), ir.IntType(64))
        return builder.xor(builder.trunc(product, ir.IntType(64)), high)

    return types.uint64(types.uint64, types.uint64), multiply


@_in_code  # type: ignore[untyped-decorator]
def _move(_context: Any, to: Any, _at: Any, data: Any, _start: Any, _size: Any) -> Any:
    """Copy bytes of one array into another, in compiled code; a loop is compiled into far more."""

    def copy_them(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        target = context.make_array(signature.args[0])(context, builder, args[0])
        source = context.make_array(signature.args[2])(context, builder, args[2])
        begin, first = builder.gep(target.data, [args[1]]), builder.gep(source.data, [args[3]])
        raw_memcpy(builder, begin, first, args[4], 1)  # type: ignore[no-untyped-call]
        return context.get_dummy_value()

    whole = types.int64
    return types.void(to, whole, data, whole, whole), copy_them


@bare
def word_at(data: Bytes, at: int) -> np.uint64:
    """Return the little-endian 64-bit number at *at*, in one load."""
    word: np.uint64 = _word_at(data, at)
    return word


@bare
def product(one: np.uint64, other: np.uint64) -> np.uint64:
    """Return the upper half of the 128 bits of a product, joined with the lower by "xor"."""
    joined: np.uint64 = _product(one, other)
    return joined


@bare
def copy(to: Bytes, at: int, data: Bytes, start: int, stop: int) -> None:
    """Put `data[start:stop]` into another array, from *at* on."""
    _move(to, at, data, start, stop - start)


@bare
def as_float(bits: np.uint64) -> float:
    """Return the float whose bits these are."""
    value: float = _float_of(bits)
    return value


@bare
def as_bits(number: float) -> np.uint64:
    """Return the bits of a float."""
    bits: np.uint64 = _bits_of(number)
    return bits


@inlined
def varint(data: Bytes, at: int, end: int) -> tuple[np.uint64, int]:
    """Return the varint at *at* and where it ends; -1 if cut off, -2 if over 64 bits."""
    value = _U0
    shift = _U0
    if at < end and data[np.uint64(at)] < 0x80:
        return np.uint64(data[np.uint64(at)]), at + 1
    for i in range(10):
        if at + i >= end:
            return value, -1
        byte = np.uint64(data[np.uint64(at + i)])
        if i == 9 and byte != np.uint64(1):  # ClickHouse refuses a tenth byte of 0, too.
            return value, -2
        value |= (byte & _U7F) << shift
        if byte < np.uint64(0x80):
            return value, at + i + 1
        shift += np.uint64(7)
    return value, -2


@inlined
def _check_scalar(data: Bytes, at: int, end: int, wire: int) -> tuple[int, int, int]:
    """Return (fault, start, stop) of the payload of a field of type *wire* at *at*."""
    if wire == 0:
        _, stop = varint(data, at, end)
        if stop < 0:
            return (_TRUNCATED if stop == -1 else _BAD_VARINT), at, at
        return 0, at, stop
    if wire == 1 or wire == 5:
        stop = at + (8 if wire == 1 else 4)
        return (0 if stop <= end else _TRUNCATED), at, stop
    if wire == 2:
        length, start = varint(data, at, end)
        if start < 0:
            return (_TRUNCATED if start == -1 else _BAD_VARINT), at, at
        if length > np.uint64(end - start):
            return _TRUNCATED, at, at
        stop = start + np.int64(length)  # type: ignore[assignment]  # numba's ints are int64
        return 0, start, stop
    return _GROUP, at, at


@bare
def _varints(data: Bytes, start: int, stop: int) -> int:
    """Return how many varints there are from *start* to *stop*; -1 if one is bad or cut off."""
    count = 0
    at = start
    while at < stop:
        _, at = varint(data, at, stop)
        if at < 0:
            return -1
        count += 1
    return count


@bare
def _right(kind: int, wire: int) -> bool:
    """Whether fields of *kind* have the wire type *wire*."""
    if kind == PACKED64:
        return wire == 1 or wire == 2
    if kind == PACKED_VARINT:
        return wire == 0 or wire == 2
    return (
        (kind == VARINT and wire == 0)
        or (kind == FIXED64 and wire == 1)
        or (kind == FIXED32 and wire == 5)
        or ((kind == BYTES or kind == MESSAGE) and wire == 2)
    )


class Rules(NamedTuple):
    """What a request may look like (`telemetry.scan.shapes.Shapes`), and room to check it in."""

    kinds: NDArray[np.uint8]
    children: NDArray[np.uint8]
    groups: NDArray[np.uint32]
    messages_max: NDArray[np.int64]
    """Of one number: most fields of a request."""

    stack: NDArray[np.int64]
    """(3, `DEPTH_MAX`); one check at a time may use it."""


@bare
def check(data: Bytes, begin: int, stop_at: int, rules: Rules) -> tuple[int, int]:
    """
    Return (fault, offset) of the first fault of a request, (0, where it ends) if there is none.

    The request, or whole fields of it, is `data[begin:stop_at]`. Strict where ClickHouse is: known fields have their own wire type, no groups, nothing cut
    off; and where readers differ: no singular field twice, one of alternatives at most.
    """
    kinds, children, groups = rules.kinds, rules.children, rules.groups
    stops, shapes, seen = rules.stack[0], rules.stack[1], rules.stack[2]
    depth = 0
    stops[0], shapes[0], seen[0] = stop_at, 0, 0
    messages = 0
    at = begin
    while True:
        while at == stops[depth]:
            if depth == 0:
                return 0, at
            depth -= 1
        end = stops[depth]
        tag, start = varint(data, at, end)
        if start < 0:
            return (_TRUNCATED if start == -1 else _BAD_VARINT), at
        number: Any = np.int64(tag >> np.uint64(3))
        wire: Any = np.int64(tag & np.uint64(7))
        if number == 0 or number > 536870911 or tag > np.uint64(0xFFFFFFFF):
            return _BAD_TAG, at
        if depth == 0 and number >= OWN_FIELDS_FROM:
            return _OWN_FIELD, at
        fault, start, stop = _check_scalar(data, start, end, wire)
        if fault:
            return fault, at
        shape = shapes[depth]
        kind = kinds[shape, number] if number <= FIELD_MAX else SKIPPED
        if kind == SKIPPED:
            at = stop
            continue
        bit = np.int64(groups[shape, number])
        if seen[depth] & bit:
            return _REPEATED, at
        seen[depth] |= bit
        if not _right(kind, wire):
            return _WRONG_TYPE, at
        if kind == PACKED64 and wire == 2 and (stop - start) % 8 != 0:
            return _BAD_LENGTH, at
        if kind == PACKED_VARINT and wire == 2:
            count = _varints(data, start, stop)
            if count < 0:
                return _BAD_VARINT, at
            messages += count
        messages += 1
        if messages > rules.messages_max[0]:
            return _TOO_MANY, at
        if kind == MESSAGE:
            depth += 1
            if depth == DEPTH_MAX:
                return _TOO_DEEP, at
            stops[depth] = stop
            shapes[depth] = children[shape, number]
            seen[depth] = 0
            at = start
        else:
            at = stop


@bare
def end_of(data: Bytes, at: int, end: int) -> int:
    """Return where the field at *at*, which isn't checked, ends; *end* if it can't be read."""
    tag, start = varint(data, at, end)
    if start < 0:
        return end
    wire: Any = np.int64(tag & np.uint64(7))
    fault, _, stop = _check_scalar(data, start, end, wire)
    return end if fault else stop


@inlined
def field(data: Bytes, at: int, end: int) -> tuple[int, int, int]:
    """
    Return (number, start, stop) of the field at *at* of a checked message; it ends at *stop*.

    The payload of a varint is its own bytes, of a length-delimited field what it holds.
    """
    number: Any = np.int64(data[np.uint64(at)])
    if number & 0x87 == 2 and at + 1 < end:  # Most are: a short tag, and a short length.
        length: Any = np.int64(data[np.uint64(at + 1)])
        if length < 0x80:
            return number >> 3, at + 2, at + 2 + length
    tag, start = varint(data, at, end)
    number = np.int64(tag >> np.uint64(3))
    wire: Any = np.int64(tag & np.uint64(7))
    _, start, stop = _check_scalar(data, start, end, wire)
    return number, start, stop


@bare
def number64(data: Bytes, start: int) -> np.uint64:
    """Return the little-endian 64-bit number at *start*: written out, it is one load."""
    at = np.uint64(start)  # An unsigned index isn't checked for being negative.
    return (
        np.uint64(data[at])
        | np.uint64(data[at + np.uint64(1)]) << np.uint64(8)
        | np.uint64(data[at + np.uint64(2)]) << np.uint64(16)
        | np.uint64(data[at + np.uint64(3)]) << np.uint64(24)
        | np.uint64(data[at + np.uint64(4)]) << np.uint64(32)
        | np.uint64(data[at + np.uint64(5)]) << np.uint64(40)
        | np.uint64(data[at + np.uint64(6)]) << np.uint64(48)
        | np.uint64(data[at + np.uint64(7)]) << np.uint64(56)
    )


@bare
def number32(data: Bytes, start: int) -> np.uint64:
    """Return the little-endian 32-bit number at *start*."""
    at = np.uint64(start)
    return (
        np.uint64(data[at])
        | np.uint64(data[at + np.uint64(1)]) << np.uint64(8)
        | np.uint64(data[at + np.uint64(2)]) << np.uint64(16)
        | np.uint64(data[at + np.uint64(3)]) << np.uint64(24)
    )
