"""The account of every item: received = stored + refused, by reason."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from opentelemetry.metrics import Observation


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from opentelemetry.metrics import CallbackOptions, Meter

    from telemetry.scan.shapes import Signal


class Ledger:
    """
    Counts since the start. An item is a point, a log record or a span.

    `received` = `stored` + `refused` at any time between two calls, per signal.
    `rows_logged` = `rows_loaded` once the loader is done; a histogram's point is several rows.
    """

    def __init__(self) -> None:
        self.received: Counter[Signal] = Counter()
        self.stored: Counter[Signal] = Counter()
        self.refused: Counter[tuple[Signal, str]] = Counter()
        self.malformed: Counter[Signal] = Counter()
        """Requests nobody can read; how many items they held is unknown."""
        self.rows_logged: Counter[Signal] = Counter()
        self.rows_loaded: Counter[Signal] = Counter()
        self.quarantined_bytes = 0
        self.quarantined_rows: Counter[Signal] = Counter()

    def publish(
        self, meter: Meter, *, series: Callable[[], int], log_bytes: Callable[[], int]
    ) -> None:
        """Tell the counts as metrics, and how full the table of series and the log are."""

        def by_signal(counts: Counter[Signal]) -> Callable[..., Iterable[Observation]]:
            def observe(_: CallbackOptions) -> Iterable[Observation]:
                return [Observation(count, {"signal": signal}) for signal, count in counts.items()]

            return observe

        def refused(_: CallbackOptions) -> Iterable[Observation]:
            return [
                Observation(count, {"signal": signal, "reason": reason})
                for (signal, reason), count in self.refused.items()
            ]

        for name, counts, unit in (
            ("telemetry.items.received", self.received, "{item}"),
            ("telemetry.items.stored", self.stored, "{item}"),
            ("telemetry.requests.malformed", self.malformed, "{request}"),
            ("telemetry.rows.logged", self.rows_logged, "{row}"),
            ("telemetry.rows.loaded", self.rows_loaded, "{row}"),
            ("telemetry.rows.quarantined", self.quarantined_rows, "{row}"),
        ):
            meter.create_observable_counter(name, [by_signal(counts)], unit=unit)
        meter.create_observable_counter("telemetry.items.refused", [refused], unit="{item}")
        meter.create_observable_counter(
            "telemetry.log.quarantined",
            [lambda _: [Observation(self.quarantined_bytes)]],
            unit="By",
        )
        meter.create_observable_gauge(
            "telemetry.series", [lambda _: [Observation(series())]], unit="{series}"
        )
        meter.create_observable_gauge(
            "telemetry.log.size", [lambda _: [Observation(log_bytes())]], unit="By"
        )
