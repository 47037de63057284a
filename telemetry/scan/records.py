"""The scanners of logs and traces: they count what will be stored and refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from telemetry.scan.points import in_time
from telemetry.scan.sink import COUNTS, Count
from telemetry.scan.wire import bare, compiled, field, number64


if TYPE_CHECKING:
    from numpy.typing import NDArray

    from telemetry.scan.wire import Bytes

_ITEMS, _ROWS, _TIME, _ID = int(Count.ITEMS), int(Count.ROWS), int(Count.TIME), int(Count.ID)
_U0 = np.uint64(0)


@bare
def _log_record(data: Bytes, start: int, stop: int, received: np.uint64) -> int:
    """Return the reason to refuse a LogRecord, or 0."""
    time, observed = _U0, _U0
    at = start
    while at < stop:
        number, begin, at = field(data, at, stop)
        if number == 1:
            time = number64(data, begin)
        elif number == 11:
            observed = number64(data, begin)
    return 0 if in_time(time if time != _U0 else observed, received) else _TIME


@bare
def _span(data: Bytes, start: int, stop: int, received: np.uint64) -> int:
    """Return the reason to refuse a Span, or 0."""
    time, trace, span = _U0, 0, 0
    at = start
    while at < stop:
        number, begin, at = field(data, at, stop)
        if number == 1:
            trace = at - begin
        elif number == 2:
            span = at - begin
        elif number == 7:
            time = number64(data, begin)
    if trace != 16 or span != 8:
        return _ID
    return 0 if in_time(time, received) else _TIME


@compiled
def scan_records(data: Bytes, received: np.uint64, spans: bool) -> NDArray[np.int64]:  # noqa: FBT001
    """Return counts by `Count` of a checked request of logs, or of traces if *spans*."""
    counts = np.zeros(COUNTS, np.int64)
    at = 0
    while at < data.shape[0]:
        number, begin, at = field(data, at, data.shape[0])
        if number != 1:
            continue
        inner = begin
        while inner < at:
            inner_number, start, inner = field(data, inner, at)
            if inner_number != 2:
                continue
            deep, deep_end = start, inner
            while deep < deep_end:
                deep_number, start, deep = field(data, deep, deep_end)
                if deep_number != 2:
                    continue
                counts[_ITEMS] += 1
                if spans:
                    fault = _span(data, start, deep, received)
                else:
                    fault = _log_record(data, start, deep, received)
                if fault:
                    counts[fault] += 1
                else:
                    counts[_ROWS] += 1
    return counts
