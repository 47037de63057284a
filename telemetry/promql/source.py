"""What the evaluator asks of a store, and nothing more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol


if TYPE_CHECKING:
    from collections.abc import Sequence

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
