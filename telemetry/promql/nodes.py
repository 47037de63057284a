"""The tree of a query. What it means is compared, where it stood in the text isn't."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from telemetry.promql.matchers import Selection


class Anchor(enum.Enum):
    """`@ start()` and `@ end()`."""

    START = "start"
    END = "end"


class Kind(enum.Enum):
    """Type of a node's value, by Prometheus's names of them."""

    SCALAR = "scalar"
    VECTOR = "vector"
    MATRIX = "matrix"
    STRING = "string"


class Edge(enum.Enum):
    """What stands at a range's edges, or at the step, in place of extrapolation."""

    ANCHORED = "anchored"
    """The last sample at or before the edge."""

    SMOOTHED = "smoothed"
    """The line between the samples before and behind the edge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Placed:
    at: int = field(default=0, compare=False)
    """Where in the text it begins, in characters."""

    parens: int = field(default=0, compare=False)
    """Parentheses around it."""


@dataclass(frozen=True, slots=True)
class Number(_Placed):
    """A literal."""

    value: float
    is_duration: bool = field(default=False, kw_only=True, compare=False)
    """Whether it was written with units; then it is in seconds."""


@dataclass(frozen=True, slots=True)
class Length(_Placed):
    """
    A duration to be reckoned when the query runs, in seconds.

    The operators are `+ - * / % ^`, without *left* for signs, `min_of` and `max_of`, and
    `step` and `range` without operands.
    """

    op: str
    left: Number | Length | None = None
    right: Number | Length | None = None


Duration = int | Length
"""Milliseconds, or what they are reckoned from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class When:
    """`@` and `offset`: which time a selector looks at, instead of the step's."""

    offset: Duration = 0
    at: int | Anchor | None = None
    """Milliseconds since 1970, or the query's start or end; None: the step's time."""


@dataclass(frozen=True, slots=True)
class String(_Placed):
    """A literal."""

    value: str


@dataclass(frozen=True, slots=True)
class Selector(_Placed):
    """An instant vector selector."""

    selection: Selection
    when: When
    edge: Edge | None = None
    name: str = field(default="", kw_only=True, compare=False)
    """The metric's name where it stands before the braces."""


@dataclass(frozen=True, slots=True)
class Range(_Placed):
    """A range vector selector."""

    selector: Selector
    length: Duration


@dataclass(frozen=True, slots=True)
class Subquery(_Placed):
    """`expr[length:step]`."""

    expr: Node
    length: Duration
    step: Duration
    """0: the default step."""

    when: When


@dataclass(frozen=True, slots=True)
class Unary(_Placed):
    """A sign before an expression."""

    op: str
    expr: Node


@dataclass(frozen=True, slots=True)
class Call(_Placed):
    """A function and its arguments."""

    name: str
    args: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Aggregate(_Placed):
    """`op by/without (names) (param, expr)`."""

    op: str
    expr: Node
    param: Node | None
    names: tuple[str, ...]
    without: bool


class Card(enum.Enum):
    """How many series of each side may share their matching labels."""

    ONE_TO_ONE = "one-to-one"
    MANY_TO_ONE = "many-to-one"
    ONE_TO_MANY = "one-to-many"
    MANY_TO_MANY = "many-to-many"


@dataclass(frozen=True, slots=True, kw_only=True)
class Matching:
    """Which series of two vectors belong together."""

    card: Card = Card.ONE_TO_ONE
    on: bool = False
    names: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    """Labels of the "one" side that the result gets."""

    fill_left: float | None = None
    fill_right: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Binary(_Placed):
    """An operator between two nodes."""

    op: str
    left: Node
    right: Node
    returns_bool: bool
    matching: Matching
    """Means nothing unless both sides are instant vectors."""

    op_at: int = field(default=0, compare=False)
    """Where in the text the operator stands."""


Node = Number | String | Selector | Range | Subquery | Unary | Call | Aggregate | Binary
