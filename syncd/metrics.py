"""What syncd counts about itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation


if TYPE_CHECKING:
    from syncd.feed import Frame
    from syncd.store.cells import Applied


class Meters:
    """The instruments, made once at start."""

    def __init__(self) -> None:
        meter = metrics.get_meter("syncd")
        self._meter = meter
        self._mutations = meter.create_counter(
            "syncd.mutations", unit="{mutation}", description="Mutations by what became of them"
        )
        self._conflicts = meter.create_counter(
            "syncd.conflicts", unit="{value}", description="Values that lost, journaled"
        )
        self._commit = meter.create_histogram(
            "syncd.commit.duration", unit="s", description="Time of a group commit"
        )
        self._group = meter.create_histogram(
            "syncd.commit.mutations", unit="{mutation}", description="Mutations of one commit"
        )
        self._bytes = meter.create_counter(
            "syncd.sent", unit="By", description="Bytes of deltas handed to streams"
        )
        self._full = meter.create_counter(
            "syncd.sent.full",
            unit="By",
            description="Bytes that whole spaces would have taken in place of those deltas",
        )
        self._cells = meter.create_counter(
            "syncd.sent.cells", unit="{cell}", description="Cells in deltas handed to streams"
        )

    def observe_sessions(self, count: Callable[[], int]) -> None:
        """Report *count* as the number of open sessions."""

        def observe(_: CallbackOptions) -> Iterable[Observation]:
            yield Observation(count())

        self._meter.create_observable_gauge(
            "syncd.sessions", [observe], unit="{session}", description="Open sessions"
        )

    def committed(self, applied: Applied) -> None:
        """Count a group commit."""
        for batch in applied.results:
            for result in batch:
                self._mutations.add(1, {"status": result.status.name.lower()})
        self._group.record(sum(len(batch) for batch in applied.results))
        self._commit.record(applied.seconds)
        if applied.losers:
            self._conflicts.add(applied.losers)

    def sent(self, frame: Frame, *, whole: bool) -> None:
        """Count a delta handed to a stream; *whole* if it began at 0."""
        self._bytes.add(len(frame.data), {"kind": "whole" if whole else "delta"})
        self._cells.add(frame.cells)
        if not whole:
            self._full.add(frame.full_bytes)
