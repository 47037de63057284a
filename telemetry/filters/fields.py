"""What the rows of a table have besides attributes, and how a filter may name and compare it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Mapping


class Type(Enum):
    """What a field's values are."""

    TEXT = auto()
    NUMBER = auto()
    """A whole number, or one of the field's words that stand for some."""

    DURATION = auto()
    """Nanoseconds; written with a unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field."""

    sql: str
    type: Type = Type.TEXT
    words: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """The fields of one table. A name that isn't among them is an attribute's."""

    fields: Mapping[str, Field]
    body: str = ""
    """What line filters search; empty: there are none."""


def _id(column: str) -> str:
    return f"if({column} = unhex(''), '', lower(hex({column})))"


SEVERITIES = {"trace": 1, "debug": 5, "info": 9, "warn": 13, "error": 17, "fatal": 21}
"""OpenTelemetry's lowest number of each."""

KINDS = {"unspecified": 0, "internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}
STATUSES = {"unset": 0, "ok": 1, "error": 2}

LOGS = Vocabulary(
    fields={
        "service": Field(sql="service"),
        "instance": Field(sql="instance"),
        "event": Field(sql="event"),
        "scope": Field(sql="scope"),
        "body": Field(sql="body"),
        "severity": Field(sql="severity", type=Type.NUMBER, words=SEVERITIES),
        "severity_text": Field(sql="severity_text"),
        "trace_id": Field(sql=_id("trace_id")),
        "span_id": Field(sql=_id("span_id")),
    },
    body="body",
)

SPANS = Vocabulary(
    fields={
        "service": Field(sql="service"),
        "instance": Field(sql="instance"),
        "scope": Field(sql="scope"),
        "name": Field(sql="name"),
        "kind": Field(sql="kind", type=Type.NUMBER, words=KINDS),
        "status": Field(sql="status", type=Type.NUMBER, words=STATUSES),
        "status_message": Field(sql="status_message"),
        "duration": Field(sql="duration_ns", type=Type.DURATION),
        "trace_id": Field(sql=_id("trace_id")),
        "span_id": Field(sql=_id("span_id")),
    },
)
