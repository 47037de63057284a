"""
The compiled walk over a segment of traces: all spans that are stored, as columns.

It sees records of requests that `wire.check` let through, and makes of them what the SELECT of
`telemetry.load.statements` makes of any; that takes ClickHouse four times as long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from telemetry.load.columns import Count, Part, put, put8, put64, put_attribute, put_id
from telemetry.scan.points import in_time
from telemetry.scan.wire import bare, field, number64, varint


if TYPE_CHECKING:
    from telemetry.load.columns import Columns
    from telemetry.scan.wire import Bytes


_TENANT, _SCOPE = int(Part.TENANT), int(Part.SCOPE)
_RESOURCE_END, _RESOURCE_KEY = int(Part.RESOURCE_END), int(Part.RESOURCE_KEY)
_SPANS_END, _TRACE, _SPAN, _PARENT = (int(one) for one in list(Part)[5:9])
_START, _DURATION, _NAME, _KIND, _STATUS = (int(one) for one in list(Part)[9:14])
_MESSAGE, _STATE, _ATTRIBUTES_END, _KEY = (int(one) for one in list(Part)[14:18])
_EVENTS_END, _EVENT_TIME, _EVENT_NAME = (int(one) for one in list(Part)[19:22])
_EVENT_END, _EVENT_KEY = int(Part.EVENT_ATTRIBUTES_END), int(Part.EVENT_KEY)
_LINKS_END, _LINK_TRACE, _LINK_SPAN = (int(one) for one in list(Part)[25:28])
_GROUPS, _RESOURCE, _SPANS, _ATTRIBUTES, _EVENTS, _EVENT_ATTRIBUTES, _LINKS = (
    int(one) for one in list(Count)[:7]
)
_TENANT_FIELD, _RECEIVED_FIELD = 15001, 15002
_U0 = np.uint64(0)
_TIME_MAX = np.uint64((1 << 63) - 1)


@bare
def _event(to: Columns, data: Bytes, start: int, stop: int) -> None:
    time, name, name_end = _U0, start, start
    at = start
    while at < stop:
        number, begin, at = field(data, at, stop)
        if number == 1:
            time = number64(data, begin)
        elif number == 2:
            name, name_end = begin, at
        elif number == 3:
            put_attribute(to, _EVENT_KEY, data, begin, at)
            to.places[_EVENT_ATTRIBUTES] += 1
    put(to, _EVENT_NAME, data, name, name_end)
    put64(to, _EVENT_TIME, time if time <= _TIME_MAX else _U0)
    put64(to, _EVENT_END, np.uint64(to.places[_EVENT_ATTRIBUTES]))
    to.places[_EVENTS] += 1


@bare
def _link(to: Columns, data: Bytes, start: int, stop: int) -> None:
    trace, trace_end, span, span_end = start, start, start, start
    at = start
    while at < stop:
        number, begin, at = field(data, at, stop)
        if number == 1:
            trace, trace_end = begin, at
        elif number == 2:
            span, span_end = begin, at
    put_id(to, _LINK_TRACE, data, trace, trace_end, 16)
    put_id(to, _LINK_SPAN, data, span, span_end, 8)
    to.places[_LINKS] += 1


@bare
def _status(to: Columns, data: Bytes, start: int, stop: int) -> np.uint64:
    """Put the message of a Status behind its text; return its code."""
    code, message, message_end = _U0, start, start
    at = start
    while at < stop:
        number, begin, at = field(data, at, stop)
        if number == 2:
            message, message_end = begin, at
        elif number == 3:
            code, _ = varint(data, begin, at)
    put(to, _MESSAGE, data, message, message_end)
    return code


@bare
def _within(number: np.uint64, most: int) -> int:
    """Return the signed 64 bits *number*, or the nearest from 0 to *most*."""
    return max(0, min(most, np.int64(number)))  # type: ignore[return-value]


@bare
def _many(to: Columns, data: Bytes, start: int, stop: int) -> None:
    """Put what the Span at `data[start:stop]` has many of into its columns."""
    at = start
    while at < stop:
        number, begin, at = field(data, at, stop)
        if number == 9:
            put_attribute(to, _KEY, data, begin, at)
            to.places[_ATTRIBUTES] += 1
        elif number == 11:
            _event(to, data, begin, at)
        elif number == 13:
            _link(to, data, begin, at)


@bare
def _span(to: Columns, data: Bytes, start: int, stop: int, received: np.uint64) -> None:
    """Put a Span into the columns, unless it is refused."""
    trace, trace_end, span, span_end, parent, parent_end = start, start, start, start, start, start
    state, state_end, name, name_end, status, status_end = start, start, start, start, start, start
    kind, begun, ended = _U0, _U0, _U0
    at = start
    while at < stop:
        number, begin, at = field(data, at, stop)
        if number == 1:
            trace, trace_end = begin, at
        elif number == 2:
            span, span_end = begin, at
        elif number == 3:
            state, state_end = begin, at
        elif number == 4:
            parent, parent_end = begin, at
        elif number == 5:
            name, name_end = begin, at
        elif number == 6:
            kind, _ = varint(data, begin, at)
        elif number == 7:
            begun = number64(data, begin)
        elif number == 8:
            ended = number64(data, begin)
        elif number == 15:
            status, status_end = begin, at
    if trace_end - trace != 16 or span_end - span != 8 or not in_time(begun, received):
        return
    put_id(to, _TRACE, data, trace, trace_end, 16)
    put_id(to, _SPAN, data, span, span_end, 8)
    put_id(to, _PARENT, data, parent, parent_end, 8)
    put(to, _STATE, data, state, state_end)
    put(to, _NAME, data, name, name_end)
    code = _status(to, data, status, status_end)
    begun = begun if begun != _U0 else received
    put64(to, _START, begun)
    put64(to, _DURATION, ended - begun if ended > begun else _U0)
    put8(to, _KIND, _within(kind, 5))
    put8(to, _STATUS, _within(code, 2))
    _many(to, data, start, stop)
    put64(to, _ATTRIBUTES_END, np.uint64(to.places[_ATTRIBUTES]))
    put64(to, _EVENTS_END, np.uint64(to.places[_EVENTS]))
    put64(to, _LINKS_END, np.uint64(to.places[_LINKS]))
    to.places[_SPANS] += 1


@bare
def _resource(to: Columns, data: Bytes, start: int, stop: int) -> None:
    """Put the attributes of the resource of the ResourceSpans at `data[start:stop]` into columns."""
    at = start
    while at < stop:
        number, begin, at = field(data, at, stop)
        if number != 1:
            continue
        inner = begin
        while inner < at:
            inner_number, inner_begin, inner = field(data, inner, at)
            if inner_number == 1:
                put_attribute(to, _RESOURCE_KEY, data, inner_begin, inner)
                to.places[_RESOURCE] += 1


@bare
def _scope(to: Columns, data: Bytes, start: int, stop: int, received: np.uint64) -> None:
    """Put the name of the scope of a ScopeSpans, and its spans, into columns."""
    name, name_end = start, start
    at = start
    while at < stop:
        number, begin, at = field(data, at, stop)
        if number == 1:
            inner = begin
            while inner < at:
                inner_number, inner_begin, inner = field(data, inner, at)
                if inner_number == 1:
                    name, name_end = inner_begin, inner
        elif number == 2:
            _span(to, data, begin, at, received)
    put(to, _SCOPE, data, name, name_end)


@bare
def _record(to: Columns, data: Bytes, start: int, stop: int) -> None:
    """Put the spans of the log's record at `data[start:stop]` into columns."""
    tenant, tenant_end, received = start, start, _U0
    at = start
    while at < stop:
        number, begin, at = field(data, at, stop)
        if number == _TENANT_FIELD:
            tenant, tenant_end = begin, at
        elif number == _RECEIVED_FIELD:
            received = number64(data, begin)
    at = start
    while at < stop:
        number, begin, at = field(data, at, stop)
        if number != 1:
            continue
        inner = begin
        while inner < at:
            inner_number, inner_begin, inner_end = field(data, inner, at)
            inner = inner_end
            if inner_number != 2:
                continue
            put(to, _TENANT, data, tenant, tenant_end)
            _resource(to, data, begin, at)
            _scope(to, data, inner_begin, inner_end, received)
            put64(to, _SPANS_END, np.uint64(to.places[_SPANS]))
            put64(to, _RESOURCE_END, np.uint64(to.places[_RESOURCE]))
            to.places[_GROUPS] += 1


@bare
def walk(data: Bytes, to: Columns) -> None:
    """Put all spans of *data*, records of the log, that are stored into columns."""
    at = 0
    while at < data.shape[0]:
        length, start = varint(data, at, data.shape[0])
        at = start + np.int64(length)  # type: ignore[assignment]  # numba's ints are int64
        _record(to, data, start, at)
