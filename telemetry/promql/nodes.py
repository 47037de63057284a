"""The tree of a query, as the evaluator sees it: free of the parser that read it."""

from __future__ import annotations

import enum
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True, kw_only=True)
class When:
    """`@` and `offset`: which time a selector looks at, instead of the step's."""

    offset_ms: int = 0
    at: int | Anchor | None = None
    """Milliseconds since 1970, or the query's start or end; None: the step's time."""


@dataclass(frozen=True, slots=True)
class Number:
    """A literal."""

    value: float


@dataclass(frozen=True, slots=True)
class String:
    """A literal."""

    value: str


@dataclass(frozen=True, slots=True)
class Selector:
    """An instant vector selector."""

    selection: Selection
    when: When


@dataclass(frozen=True, slots=True)
class Range:
    """A range vector selector."""

    selector: Selector
    range_ms: int


@dataclass(frozen=True, slots=True)
class Subquery:
    """`expr[range:step]`."""

    expr: Node
    range_ms: int
    step_ms: int
    """0: the default step."""

    when: When


@dataclass(frozen=True, slots=True)
class Negate:
    """Unary minus."""

    expr: Node


@dataclass(frozen=True, slots=True)
class Call:
    """A function and its arguments."""

    name: str
    args: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Aggregate:
    """`op by/without (names) (param, expr)`."""

    op: str
    expr: Node
    param: Node | None
    names: frozenset[str]
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

    card: Card
    on: bool
    names: frozenset[str]
    include: tuple[str, ...]
    """Labels of the "one" side that the result gets."""

    fill_left: float | None
    fill_right: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Binary:
    """An operator between two nodes."""

    op: str
    left: Node
    right: Node
    returns_bool: bool
    matching: Matching


Node = Number | String | Selector | Range | Subquery | Negate | Call | Aggregate | Binary
