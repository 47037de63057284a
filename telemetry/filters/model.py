"""A filter, as data. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Op(StrEnum):
    """How a value is compared."""

    EQUAL = "="
    NOT_EQUAL = "!="
    REGEX = "=~"
    NOT_REGEX = "!~"
    GREATER = ">"
    GREATER_EQUAL = ">="
    LESS = "<"
    LESS_EQUAL = "<="


class LineOp(StrEnum):
    """How a record's body is searched."""

    CONTAINS = "|="
    CONTAINS_NOT = "!="
    MATCHES = "|~"
    MATCHES_NOT = "!~"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A field or an attribute compared with a text, or with a number if *value* is one."""

    key: str
    op: Op
    value: str | float


@dataclass(frozen=True, slots=True)
class Line:
    """The body searched for a text, or by a regular expression that may match anywhere."""

    op: LineOp
    text: str


@dataclass(frozen=True, slots=True)
class Every:
    """All of the parts hold; of none, always."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Some:
    """At least one of the parts holds."""

    parts: tuple[Filter, ...]


Filter = Comparison | Line | Every | Some
