"""Spans into their table: a segment's, as a file of columns that ClickHouse reads as they are."""

# ruff: noqa: S608 - names of our columns, numbers and quoted paths

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from telemetry.load.columns import FLOAT_BYTES, PARTS, Columns, Count, Part
from telemetry.load.native import block, numbers
from telemetry.load.rows import AT_ONCE
from telemetry.load.spans import walk
from telemetry.load.statements import SPANS_INTO
from telemetry.store.engine import Load


if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from telemetry.load.native import Column
    from telemetry.scan.wire import Bytes

    Places = NDArray[np.int64]

_TEXT = "LowCardinality(String)"
_MAP = f"Map({_TEXT}, String)"
_OF_GROUP: dict[str, tuple[str, list[Part]]] = {
    "tenant": (_TEXT, [Part.TENANT]),
    "scope": (_TEXT, [Part.SCOPE]),
    "resource": (_MAP, [Part.RESOURCE_END, Part.RESOURCE_KEY, Part.RESOURCE_VALUE]),
}
"""Columns of the file, their types and what they are made of."""

_OF_SPAN: dict[str, tuple[str, list[Part]]] = {
    "trace_id": ("FixedString(16)", [Part.TRACE]),
    "span_id": ("FixedString(8)", [Part.SPAN]),
    "parent_span_id": ("FixedString(8)", [Part.PARENT]),
    "start": ("DateTime64(9, 'UTC')", [Part.START]),
    "duration_ns": ("UInt64", [Part.DURATION]),
    "name": (_TEXT, [Part.NAME]),
    "kind": ("UInt8", [Part.KIND]),
    "status": ("UInt8", [Part.STATUS]),
    "status_message": ("String", [Part.MESSAGE]),
    "trace_state": ("String", [Part.STATE]),
    "attributes": (_MAP, [Part.ATTRIBUTES_END, Part.KEY, Part.VALUE]),
    "event_times": ("Array(DateTime64(9, 'UTC'))", [Part.EVENTS_END, Part.EVENT_TIME]),
    "event_names": (f"Array({_TEXT})", [Part.EVENTS_END, Part.EVENT_NAME]),
    "event_attributes": (
        f"Array({_MAP})",
        [Part.EVENTS_END, Part.EVENT_ATTRIBUTES_END, Part.EVENT_KEY, Part.EVENT_VALUE],
    ),
    "link_trace_ids": ("Array(FixedString(16))", [Part.LINKS_END, Part.LINK_TRACE]),
    "link_span_ids": ("Array(FixedString(8))", [Part.LINKS_END, Part.LINK_SPAN]),
}
"""... of which each row has an array, a span each."""

_COLUMNS = _OF_GROUP | {
    name: (f"Array({kind})", [Part.SPANS_END, *parts]) for name, (kind, parts) in _OF_SPAN.items()
}

_FLOAT_FROM = 13
"""Bytes that an attribute takes, or more, whose value is a float."""

_DIGITS_FROM, _DIGITS_TO = 1e-6, 1e21
"""Floats between have no exponent."""


def ready() -> bool:
    """Whether the walk is compiled or loaded; whoever finds it isn't has ClickHouse read the log."""
    return bool(cast("Any", walk).signatures)


def beside(segment: Path) -> Path:
    """Return where the file of *segment*'s spans belongs."""
    return segment.with_suffix(".spans.part")


def write(segment: Path, path: Path) -> None:
    """Write the spans of *segment*, whose records today's scanner let in, to the file *path*."""
    columns = _walked(np.fromfile(segment, np.uint8))
    with path.open("wb") as file:
        file.writelines(block(int(columns.places[Count.GROUPS]), _native(columns)))


def load_of(path: Path, segment: int) -> Load:
    """Return the INSERT that loads the file *path* as rows of *segment*."""
    return Load(
        into=f"spans {SPANS_INTO}",
        select=lambda source: _select(source, segment),
        path=path,
        format="Native",
        structure=", ".join(f"{name} {kind}" for name, (kind, _) in _COLUMNS.items()),
        settings=AT_ONCE,
    )


def warm() -> None:
    """Load or compile the walk."""
    _walked(np.zeros(0, np.uint8))


def float_text(number: float) -> str:
    """Return *number* as ClickHouse's `toString` has it."""
    if math.isnan(number):
        return "nan"
    short = repr(number)
    if _DIGITS_FROM <= abs(number) < _DIGITS_TO:
        return f"{Decimal(short):f}".removesuffix(".0")
    digits, exponential, exponent = short.removesuffix(".0").partition("e")
    return f"{digits}e{int(exponent)}" if exponential else digits


def _select(source: str, segment: int) -> str:
    return f"""SELECT
        trace_id, span_id, parent_span_id, start, duration_ns, tenant, service, instance,
        name, kind, status, status_message, trace_state, scope, attributes, resource,
        event_times, event_names, event_attributes, link_trace_ids, link_span_ids, {segment}
    FROM (
        SELECT {", ".join(_COLUMNS)},
            resource['service.name'] AS service, resource['service.instance.id'] AS instance
        FROM {source})
    ARRAY JOIN {", ".join(_OF_SPAN)}"""


def _walked(data: Bytes) -> Columns:
    """Return the spans of *data*: a first walk counts, the second takes them."""
    room = np.zeros(PARTS, np.int64)
    room[Part.FLOAT] = len(data) // _FLOAT_FROM * 8
    to = _columns(room, np.zeros(0, np.uint64))
    while True:
        walk(data, to)
        full = (to.places[:PARTS] > to.places[PARTS : 2 * PARTS]).any()
        if not full and to.places[Count.FLOATS] == len(to.float_lengths):
            return to
        to = _columns(_sizes(to), part_of(to, Part.FLOAT).view(np.uint64))


def _columns(room: Places, floats: NDArray[np.uint64]) -> Columns:
    """Return empty columns with *room* for each part, and the texts of *floats*, which are bits."""
    ends = np.cumsum(room)
    counts = np.zeros(len(Count), np.int64)
    found, which = np.unique(floats, return_inverse=True)
    texts = [float_text(one).encode() for one in found.view(np.float64).tolist()]
    return Columns(
        parts=np.empty(ends[-1], np.uint8),
        places=np.concatenate([ends - room, ends, counts]),
        float_texts=np.array(texts, f"S{FLOAT_BYTES}")[which].view(np.uint8),
        float_lengths=np.array([len(one) for one in texts], np.int64)[which],
    )


def _begins(of: Columns) -> Places:
    """Return where each part begins: where the one before it has no room any more."""
    return np.concatenate([[0], of.places[PARTS : 2 * PARTS - 1]])


def _sizes(of: Columns) -> Places:
    """Return how long each part is, or would be."""
    sizes: Places = of.places[:PARTS] - _begins(of)
    return sizes


def part_of(of: Columns, part: Part) -> Bytes:
    """Return what is in a part."""
    begin = of.places[PARTS + part - 1] if part else 0
    return of.parts[begin : of.places[part]]


def _native(of: Columns) -> list[Column]:
    """Return the columns of the file; ClickHouse makes its dictionaries itself."""
    return [
        numbers(name, kind.replace(_TEXT, "String"), *(part_of(of, one) for one in parts))
        for name, (kind, parts) in _COLUMNS.items()
    ]
