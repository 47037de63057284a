"""What the store answers with, and what it is asked by."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from telemetry.filters.model import Filter

STALE_NAN_BITS = 0x7FF0000000000002
"""Bits of the value that says "the series ended here"; compare bits, it is a NaN."""


class MatchOp(StrEnum):
    """How a `Matcher` compares. A missing label equals an empty one."""

    EQUAL = "="
    NOT_EQUAL = "!="
    REGEX = "=~"
    NOT_REGEX = "!~"


@dataclass(frozen=True, slots=True, kw_only=True)
class Matcher:
    """One condition on a label; `__name__` is the metric's name. Regexes are RE2, anchored."""

    label: str
    op: MatchOp
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One series as PromQL knows it: a set of labels."""

    labels: tuple[tuple[str, str], ...]
    """Sorted by name, `__name__` among them, no empty values."""

    kind: str
    """gauge, counter, updown, histogram, summary, exponential (native histograms) or unknown."""

    keys: tuple[tuple[int, int], ...]
    """(metric, series_id) pairs whose samples are this series'; opaque to callers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """
    The samples of some series, as columns.

    Those of the i-th series asked for stand at `offsets[i]:offsets[i + 1]`, by rising time,
    no time twice. Values may be stale markers (`STALE_NAN_BITS`).
    """

    offsets: NDArray[np.int64]
    ts_ms: NDArray[np.int64]
    values: NDArray[np.float64]
    starts_ms: NDArray[np.int64]
    """Since when each value counts, Unix milliseconds; 0: unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricFamily:
    """What is known of all series of one name."""

    name: str
    kind: str
    unit: str
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one query. Beyond them it fails with `QUERY_TOO_EXPENSIVE`."""

    time: timedelta = timedelta(seconds=20)
    rows_read_max: int = 500_000_000
    rows_max: int = 20_000_000
    memory_bytes_max: int = 1_000_000_000
    block_rows: int = 0
    """Rows that are read at once, however wide; 0: some tens of thousands, fewer of wide ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogQuery:
    """Which log records to return. Conditions are joined by "and"; empty ones don't count."""

    start_ns: int
    """First instant, Unix nanoseconds, inclusive."""

    end_ns: int
    """Last instant, exclusive."""

    text: str = ""
    """Part of the body, whatever its case."""

    service: str = ""
    severity_min: int = 0
    trace_id: bytes = b""
    """16 bytes, or empty."""

    attributes: Mapping[str, str] = field(default_factory=dict)
    """Attribute or resource attribute to its exact value."""

    filter: Filter | None = None
    """What must hold besides."""

    limit: int = 100
    """Most records returned, newest first."""

    tenant: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogCondition:
    """What must hold of one attribute of a record; one without it has it empty."""

    attribute: str
    values: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    negated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LogCountQuery:
    """Which log records to count, and by what. Conditions are joined by "and"."""

    start_ns: int
    """First instant, Unix nanoseconds, inclusive."""

    end_ns: int
    """Last instant, exclusive."""

    conditions: tuple[LogCondition, ...] = ()
    apart: LogCondition | None = None
    """Which records of a group are counted apart, too."""

    service: str = ""
    group_by: tuple[str, ...] = ()
    """Attributes."""

    interval_ns: int = 0
    """Counted apart in intervals of this length since 1970; 0: not."""

    limit: int = 100
    """Most groups returned, the largest first."""

    tenant: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogCount:
    """Records of the same values, of `LogCountQuery.group_by`."""

    values: tuple[str, ...]
    interval_start_ns: int
    """0 without intervals."""

    records: int
    apart: int
    first_ns: int
    last_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRecord:
    """One stored log record. Values of attributes are text."""

    time_ns: int
    service: str
    instance: str
    severity: int
    severity_text: str
    event: str
    body: str
    trace_id: bytes
    """16 bytes, or empty."""

    span_id: bytes
    """8 bytes, or empty."""

    scope: str
    attributes: Mapping[str, str]
    resource: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanEvent:
    """Something that happened within a span."""

    time_ns: int
    name: str
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanLink:
    """Another span that this one has to do with."""

    trace_id: bytes
    span_id: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One stored span. Values of attributes are text."""

    trace_id: bytes
    span_id: bytes
    parent_span_id: bytes
    """8 bytes, or empty for a root."""

    name: str
    service: str
    instance: str
    kind: int
    """OTLP SpanKind: 0 unspecified, 1 internal, 2 server, 3 client, 4 producer, 5 consumer."""

    start_ns: int
    duration_ns: int
    status: int
    """OTLP StatusCode: 0 unset, 1 ok, 2 error."""

    status_message: str
    trace_state: str
    scope: str
    attributes: Mapping[str, str]
    resource: Mapping[str, str]
    events: tuple[SpanEvent, ...]
    links: tuple[SpanLink, ...]
