"""
The shapes of OTLP's messages, as tables for the checker.

They hold every field that is read here or loaded (telemetry/schema/*.proto); whatever else a
request carries is skipped. A shape is a number; `Shapes.root` is the request itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING

import numpy as np


if TYPE_CHECKING:
    from numpy.typing import NDArray

FIELD_MAX = 17
"""Highest field number a shape knows."""

OWN_FIELDS_FROM = 15000
"""Field numbers from here on belong to our log; no client may send them."""

SKIPPED, VARINT, FIXED64, BYTES, FIXED32, MESSAGE, PACKED64, PACKED_VARINT = range(8)
"""Kinds of fields. PACKED64: repeated fixed64 or double, packed or not; PACKED_VARINT likewise."""


class Signal(StrEnum):
    """What a request carries, and how; also the name of its folder in the log."""

    METRICS = "metrics"
    LOGS = "logs"
    TRACES = "traces"
    REMOTE_WRITE = "remote_write"
    REMOTE_WRITE_2 = "remote_write_2"
    SCRAPE = "scrape"


AS_ROWS = frozenset({Signal.METRICS, Signal.REMOTE_WRITE, Signal.REMOTE_WRITE_2, Signal.SCRAPE})
"""Signals whose rows the scanner makes; of the others ClickHouse reads the log itself."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a shape."""

    kind: int
    shape: str = ""
    repeated: bool = False
    choice: bool = False
    """Whether it is one of the shape's alternatives, of which at most one may be set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shapes:
    """Tables indexed by shape and field number; what is absent is `SKIPPED`."""

    kinds: NDArray[np.uint8]
    children: NDArray[np.uint8]
    groups: NDArray[np.uint32]
    """Bit that a field occupies; a field whose bit is taken already is a repetition. 0: repeated."""


_VARINT = Field(VARINT)
_FIXED64 = Field(FIXED64)
_BYTES = Field(BYTES)
_MANY_BYTES = Field(BYTES, repeated=True)
_PACKED64 = Field(PACKED64, repeated=True)
_PACKED_VARINT = Field(PACKED_VARINT, repeated=True)


def _one(shape: str) -> Field:
    return Field(MESSAGE, shape)


def _many(shape: str) -> Field:
    return Field(MESSAGE, shape, repeated=True)


def _choice(kind: int, shape: str = "") -> Field:
    return Field(kind, shape, choice=True)


_VALUES: dict[str, dict[int, Field]] = {
    "key_value": {1: _BYTES, 2: _one("any_value")},
    "any_value": {
        1: _choice(BYTES),
        2: _choice(VARINT),
        3: _choice(VARINT),
        4: _choice(FIXED64),
        5: _choice(BYTES),
        6: _choice(BYTES),
        7: _choice(BYTES),
    },
    "scope": {1: _BYTES},
    "resource": {1: _many("key_value")},
}

_REMOTE_HISTOGRAM = {
    1: _choice(VARINT),
    2: _choice(FIXED64),
    3: _FIXED64,
    4: _VARINT,
    5: _FIXED64,
    6: _VARINT,
    7: _FIXED64,
    8: _many("span"),
    9: _PACKED_VARINT,
    10: _PACKED64,
    11: _many("span"),
    12: _PACKED_VARINT,
    13: _PACKED64,
    14: _VARINT,
    15: _VARINT,
    16: _PACKED64,
    17: _VARINT,
}

SHAPES: dict[Signal, dict[str, dict[int, Field]]] = {
    Signal.REMOTE_WRITE: {
        "export": {1: _many("series")},
        "series": {1: _many("label"), 2: _many("sample"), 4: _many("histogram")},
        "label": {1: _BYTES, 2: _BYTES},
        "sample": {1: _FIXED64, 2: _VARINT},
        "histogram": _REMOTE_HISTOGRAM,
        "span": {1: _VARINT, 2: _VARINT},
    },
    Signal.REMOTE_WRITE_2: {
        "export": {4: _MANY_BYTES, 5: _many("series")},
        "series": {
            1: _PACKED_VARINT,
            2: _many("sample"),
            3: _many("histogram"),
            5: _one("metadata"),
            6: _VARINT,
        },
        "sample": {1: _FIXED64, 2: _VARINT, 3: _VARINT},
        "histogram": _REMOTE_HISTOGRAM,
        "span": {1: _VARINT, 2: _VARINT},
        "metadata": {1: _VARINT, 3: _VARINT, 4: _VARINT},
    },
    Signal.METRICS: {
        "export": {1: _many("resource_metrics")},
        "resource_metrics": {1: _one("resource"), 2: _many("scope_metrics")},
        "resource": {1: _MANY_BYTES},
        "scope_metrics": {2: _many("metric")},
        "metric": {
            1: _BYTES,
            2: _BYTES,
            3: _BYTES,
            5: _choice(MESSAGE, "gauge"),
            7: _choice(MESSAGE, "sum"),
            9: _choice(MESSAGE, "histogram"),
            10: _choice(MESSAGE, "exponential"),
            11: _choice(MESSAGE, "summary"),
        },
        "gauge": {1: _many("number")},
        "sum": {1: _many("number"), 2: _VARINT, 3: _VARINT},
        "histogram": {1: _many("histogram_point"), 2: _VARINT},
        "exponential": {1: _many("exponential_point"), 2: _VARINT},
        "summary": {1: _many("summary_point")},
        "number": {
            2: _FIXED64,
            3: _FIXED64,
            4: _choice(FIXED64),
            5: _many("exemplar"),
            6: _choice(FIXED64),
            7: _MANY_BYTES,
            8: _VARINT,
        },
        "histogram_point": {
            2: _FIXED64,
            3: _FIXED64,
            4: _FIXED64,
            5: _FIXED64,
            6: _PACKED64,
            7: _PACKED64,
            8: _many("exemplar"),
            9: _MANY_BYTES,
            10: _VARINT,
        },
        "exponential_point": {
            1: _MANY_BYTES,
            2: _FIXED64,
            3: _FIXED64,
            4: _FIXED64,
            5: _FIXED64,
            6: _VARINT,
            7: _FIXED64,
            8: _one("buckets"),
            9: _one("buckets"),
            10: _VARINT,
            11: _many("exemplar"),
            14: _FIXED64,
        },
        "buckets": {1: _VARINT, 2: _PACKED_VARINT},
        "exemplar": {
            2: _FIXED64,
            3: _choice(FIXED64),
            4: _BYTES,
            5: _BYTES,
            6: _choice(FIXED64),
        },
        "summary_point": {
            2: _FIXED64,
            3: _FIXED64,
            4: _FIXED64,
            5: _FIXED64,
            6: _many("quantile"),
            7: _MANY_BYTES,
            8: _VARINT,
        },
        "quantile": {1: _FIXED64, 2: _FIXED64},
    },
    Signal.LOGS: {
        "export": {1: _many("resource_logs")},
        "resource_logs": {1: _one("resource"), 2: _many("scope_logs")},
        "scope_logs": {1: _one("scope"), 2: _many("log_record")},
        "log_record": {
            1: _FIXED64,
            2: _VARINT,
            3: _BYTES,
            5: _one("any_value"),
            6: _many("key_value"),
            9: _BYTES,
            10: _BYTES,
            11: _FIXED64,
            12: _BYTES,
        },
        **_VALUES,
    },
    Signal.TRACES: {
        "export": {1: _many("resource_spans")},
        "resource_spans": {1: _one("resource"), 2: _many("scope_spans")},
        "scope_spans": {1: _one("scope"), 2: _many("span")},
        "span": {
            1: _BYTES,
            2: _BYTES,
            3: _BYTES,
            4: _BYTES,
            5: _BYTES,
            6: _VARINT,
            7: _FIXED64,
            8: _FIXED64,
            9: _many("key_value"),
            11: _many("event"),
            13: _many("link"),
            15: _one("status"),
        },
        "event": {1: _FIXED64, 2: _BYTES, 3: _many("key_value")},
        "link": {1: _BYTES, 2: _BYTES},
        "status": {2: _BYTES, 3: _VARINT},
        **_VALUES,
    },
}


@cache
def shapes(signal: Signal) -> Shapes:
    """Return the tables for *signal*; shape 0 is the request."""
    messages = SHAPES[signal]
    numbers = {name: number for number, name in enumerate(messages)}
    kinds = np.zeros((len(messages), FIELD_MAX + 1), np.uint8)
    children = np.zeros_like(kinds)
    groups = np.zeros((len(messages), FIELD_MAX + 1), np.uint32)
    for shape, fields in enumerate(messages.values()):
        for number, field in fields.items():
            kinds[shape, number] = field.kind
            children[shape, number] = numbers[field.shape] if field.shape else 0
            if not field.repeated:
                groups[shape, number] = 1 if field.choice else 1 << number
    return Shapes(kinds=kinds, children=children, groups=groups)
