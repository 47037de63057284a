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
        self._publish_items(meter)
        self._publish_rows(meter)
        meter.create_observable_gauge(
            "telemetry.series",
            [lambda _: [Observation(series())]],
            unit="{series}",
            description="Series known",
        )
        meter.create_observable_gauge(
            "telemetry.log.size",
            [lambda _: [Observation(log_bytes())]],
            unit="By",
            description="What is logged and not loaded yet",
        )

    def _publish_items(self, meter: Meter) -> None:
        def refused(_: CallbackOptions) -> Iterable[Observation]:
            return [
                Observation(count, {"signal": signal, "reason": reason})
                for (signal, reason), count in self.refused.items()
            ]

        meter.create_observable_counter(
            "telemetry.items.received",
            [_by_signal(self.received)],
            unit="{item}",
            description="Points, log records and spans that came in, by signal",
        )
        meter.create_observable_counter(
            "telemetry.items.stored",
            [_by_signal(self.stored)],
            unit="{item}",
            description="Items acknowledged for good; received = stored + refused",
        )
        meter.create_observable_counter(
            "telemetry.items.refused",
            [refused],
            unit="{item}",
            description="Items refused, by signal and reason",
        )
        meter.create_observable_counter(
            "telemetry.requests.malformed",
            [_by_signal(self.malformed)],
            unit="{request}",
            description="Requests that are not OTLP, by signal",
        )

    def _publish_rows(self, meter: Meter) -> None:
        meter.create_observable_counter(
            "telemetry.rows.logged",
            [_by_signal(self.rows_logged)],
            unit="{row}",
            description="Rows that the log's records make, by signal",
        )
        meter.create_observable_counter(
            "telemetry.rows.loaded",
            [_by_signal(self.rows_loaded)],
            unit="{row}",
            description="Rows in the tables; behind the rows logged by about a second",
        )
        meter.create_observable_counter(
            "telemetry.rows.quarantined",
            [_by_signal(self.quarantined_rows)],
            unit="{row}",
            description="Rows of records that the engine refused",
        )
        meter.create_observable_counter(
            "telemetry.log.quarantined",
            [lambda _: [Observation(self.quarantined_bytes)]],
            unit="By",
            description="Bytes of the log that were damaged and put aside",
        )


def _by_signal(counts: Counter[Signal]) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(_: CallbackOptions) -> Iterable[Observation]:
        return [Observation(count, {"signal": signal}) for signal, count in counts.items()]

    return observe
