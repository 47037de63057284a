"""What the evaluator asks of a store, and nothing more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol


if TYPE_CHECKING:
    from collections.abc import Sequence

    from telemetry.promql.kernels import Floats, Ints
    from telemetry.promql.labels import Labels
    from telemetry.promql.matchers import Selection


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Samples of some series, one series behind the other."""

    labels: Sequence[Labels]
    ts: Ints
    """Milliseconds since 1970, strictly ascending within a series."""

    values: Floats
    """Staleness markers among them, with their bits."""

    offsets: Ints
    """Where each series begins, and the end; one longer than *labels*."""


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
