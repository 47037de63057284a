"""New series of remote writes, read in full; and what remote write asks of their labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from telemetry.scan.described import (
    OVERFLOW,
    OVERFLOW_LABEL,
    NewSeries,
    key_hash,
    payloads,
)
from telemetry.scan.shapes import Signal
from telemetry.scan.sink import FOLD_ALL, Kind, New
from telemetry.scan.wire import varint


if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from telemetry.scan.wire import Bytes

_KINDS = {
    1: Kind.COUNTER,
    2: Kind.GAUGE,
    3: Kind.HISTOGRAM,
    4: Kind.HISTOGRAM,
    5: Kind.SUMMARY,
    6: Kind.GAUGE,
    7: Kind.GAUGE,
}
"""Remote write 2.0's types of metrics."""


class BadLabels(Exception):
    """A series' labels aren't what the protocol asks for; the message says why."""


def describe_remote(
    signal: Signal, request: bytes, data: Bytes, new: NDArray[np.uint64], tenant: str
) -> Iterator[NewSeries]:
    """
    Read the labels of *new* series of a remote write.

    Raises:
        BadLabels: A name is there twice, or empty.
        UnicodeDecodeError: A label is not UTF-8.

    """
    symbols: list[str] = []
    if signal is Signal.REMOTE_WRITE_2:
        symbols = [
            request[begin:end].decode()
            for number, begin, end in payloads(data, 0, len(data))
            if number == 4
        ]
    native = 3 if signal is Signal.REMOTE_WRITE_2 else 4
    for row in new.tolist():
        start, stop = row[New.HEADER], row[New.HEADER_END]
        kind, description, unit = Kind.UNKNOWN, "", ""
        if signal is Signal.REMOTE_WRITE_2:
            labels = _by_reference(data, start, stop, symbols)
            kind, description, unit = _metadata(data, start, stop, symbols)
        else:
            labels = _in_full(request, data, start, stop)
        if any(number == native for number, _, _ in payloads(data, start, stop)):
            kind = Kind.EXPONENTIAL
        names = [name for name, _ in labels]
        if len(set(names)) != len(names) or "" in names:
            raise BadLabels(f"labels without a name, or twice the same: {names}")
        known = {name: value for name, value in sorted(labels) if value}
        if row[New.FOLD] == FOLD_ALL:
            known = {"__name__": known["__name__"], OVERFLOW_LABEL: "true"}
        elif row[New.FOLD]:
            known = {
                name: OVERFLOW if key_hash(name) == row[New.FOLD] else value
                for name, value in known.items()
            }
        yield NewSeries(
            tenant=tenant,
            name=known["__name__"],
            metric=row[New.METRIC],
            series_id=row[New.SERIES],
            labels=known,
            kind=kind,
            unit=unit,
            description=description,
            otlp_name=known["__name__"],
            attributes=[item for item in known.items() if item[0] != "__name__"],
        )


def _in_full(request: bytes, data: Bytes, start: int, stop: int) -> list[tuple[str, str]]:
    labels = []
    for number, begin, end in payloads(data, start, stop):
        if number == 1:
            texts = {part: request[at:to].decode() for part, at, to in payloads(data, begin, end)}
            labels.append((texts.get(1, ""), texts.get(2, "")))
    return labels


def _by_reference(data: Bytes, start: int, stop: int, symbols: list[str]) -> list[tuple[str, str]]:
    references: list[int] = []
    for number, begin, end in payloads(data, start, stop):
        if number == 1:
            references.extend(_varints(data, begin, end))
    return [
        (symbols[name], symbols[value])
        for name, value in zip(references[::2], references[1::2], strict=True)
    ]


def _metadata(data: Bytes, start: int, stop: int, symbols: list[str]) -> tuple[Kind, str, str]:
    """Return (kind, help, unit) of a 2.0 series."""
    for number, begin, end in payloads(data, start, stop):
        if number == 5:
            told = {
                part: next(_varints(data, at, to)) for part, at, to in payloads(data, begin, end)
            }
            text = {part: symbols[ref] for part, ref in told.items() if ref < len(symbols)}
            return _KINDS.get(told.get(1, 0), Kind.UNKNOWN), text.get(3, ""), text.get(4, "")
    return Kind.UNKNOWN, "", ""


def _varints(data: Bytes, start: int, stop: int) -> Iterator[int]:
    at = start
    while at < stop:
        value, at = varint(data, at, stop)
        yield int(value)
