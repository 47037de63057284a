"""The compiled scanner of exemplars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from telemetry.scan.sink import Exemplar, Filled, Place
from telemetry.scan.wire import as_bits, bare, field, number64


if TYPE_CHECKING:
    from telemetry.scan.sink import Sink
    from telemetry.scan.wire import Bytes

_EXEMPLARS = int(Filled.EXEMPLARS)
_METRIC, _SERIES, _TIME, _VALUE = range(4)
_TRACE, _SPAN, _BEGIN, _END = (int(one) for one in list(Exemplar)[4:])
_RECEIVED = int(Place.RECEIVED)
_U0 = np.uint64(0)
_MILLION = np.uint64(1_000_000)


@bare
def exemplar(data: Bytes, start: int, stop: int, series: np.uint64, sink: Sink) -> Any:
    """Note an Exemplar of *series*; return its row, -1 if there is no room or no value."""
    time, value, trace, span = _U0, _U0, 0, 0
    kind = 0
    at = start
    while at < stop:
        number, begin, at = field(data, at, stop)
        if number == 2:
            time = number64(data, begin)
        elif number in (3, 6):
            kind, value = number, number64(data, begin)
        elif number == 4 and at - begin == 8:
            span = begin
        elif number == 5 and at - begin == 16:
            trace = begin
    if kind == 0:
        return -1
    row: Any = sink.filled[_EXEMPLARS]
    sink.filled[_EXEMPLARS] = row + 1
    if row >= sink.exemplars.shape[1]:
        return -1
    out = sink.exemplars
    out[_METRIC, row] = sink.place[0]
    out[_SERIES, row] = series
    out[_TIME, row] = (time if time != _U0 else sink.place[_RECEIVED]) // _MILLION
    if kind == 6:
        out[_VALUE, row] = as_bits(np.float64(np.int64(value)))
    else:
        out[_VALUE, row] = value
    out[_TRACE, row] = np.uint64(trace)
    out[_SPAN, row] = np.uint64(span)
    out[_BEGIN, row] = np.uint64(start)
    out[_END, row] = np.uint64(stop)
    return row
