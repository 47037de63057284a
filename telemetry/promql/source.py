"""What the evaluator asks of a store, and nothing more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from telemetry.promql.kernels import Floats, Ints
    from telemetry.promql.labels import Labels
    from telemetry.promql.matchers import Selection
    from telemetry.promql.native.columns import Histograms


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Samples of some series, one series behind the other."""

    labels: Sequence[Labels]
    ts: Ints
    """Milliseconds since 1970, strictly ascending within a series."""

    values: Floats
    """
    Staleness markers among them, with their bits; they end series of histograms as well.
    Where a sample is a histogram its value here is 0.
    """

    offsets: Ints
    """Where each series begins, and the end; one longer than *labels*."""

    histograms: Histograms | None = None
    """The native histograms among the samples, in any order; None: there are none."""

    histogram: Ints | None = None
    """
    For each sample, its row in *histograms*; -1 where it is a float. As long as *ts*, and
    there whenever *histograms* is.
    """

    starts: Ints | None = None
    """
    When each sample's counter began, milliseconds since 1970 (OTLP's start time, Prometheus's
    start timestamp); 0 where that isn't known. None: nowhere. As long as *ts*.
    """


class Source(Protocol):
    """A store of samples. Called from worker threads."""

    def select(
        self, selection: Selection, start_ms: int, end_ms: int, *, series_max: int
    ) -> Columns:
        """
        Return the samples in `[start_ms, end_ms]` of the series that *selection* matches.

        Series without a sample in that time may be left out. No two have equal labels.

        Raises:
            InvalidInput: QUERY_TOO_LARGE: More than *series_max* series match.

        """
        ...


class SamplesNeeded(Exception):
    """What was begun can't be ended so: the samples must be selected as a whole."""


class PiecewiseSource(Protocol):
    """A source that can be read some series at a time, by several threads at once."""

    def pieces(
        self, selection: Selection, start_ms: int, end_ms: int, size: int, series_max: int
    ) -> Sequence[Callable[[], Columns]] | None:
        """
        Return reads of what `select` returns, each of *size* series at most.

        None: they must be selected as a whole. No piece has native histograms.

        Raises:
            InvalidInput: QUERY_TOO_LARGE: More than *series_max* series match.
            SamplesNeeded: By a read: they must be selected as a whole after all.

        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Which roll-ups are asked for: all that lie within `(after_ms, until_ms]`."""

    selection: Selection
    after_ms: int
    until_ms: int
    widest_ms: int
    """One of the source's widths: wider rows would be cut by the edges of windows."""

    columns: tuple[str, ...]
    """Of `rolls.WHOLE` and `rolls.REAL`."""

    series_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Roll-ups of some series, one series behind the other, each by rising time."""

    labels: Sequence[Labels]
    offsets: Ints
    end_ms: Ints
    """The last instant that counts to a row; it never lies beyond the end of its span."""

    columns: Mapping[str, NDArray[Any]]


class RollingSource(Protocol):
    """A source that knows what samples come to in windows of its own. On worker threads."""

    @property
    def widths_ms(self) -> Sequence[int]:
        """Lengths of its windows, longest first; they end at multiples of it."""
        ...

    def rolled(self, span: Span) -> Iterator[Rows] | None:
        """
        Return the rows that samples in *span* come to, some series at a time.

        None: it is better answered from the samples. At either end of the span, and where roll-ups
        aren't made yet, rows are made of samples there and then. Those of some series are gone once
        the next are asked for: their memory is used again.

        Raises:
            SamplesNeeded: While reading: they don't give the answer that samples give.
            InvalidInput: QUERY_TOO_LARGE: More than *series_max* series match.

        """
        ...


def is_piecewise(source: object) -> TypeGuard[PiecewiseSource]:
    """
    Return whether *source* can be read some series at a time.

    As `isinstance` would, which looks for each member of a protocol: 10 us and more.
    """
    return hasattr(source, "pieces")


def is_rolling(source: object) -> TypeGuard[RollingSource]:
    """Return whether *source* has roll-ups; see `is_piecewise`."""
    return hasattr(source, "rolled")
