"""The account of every item: received = stored + refused, by reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from opentelemetry.metrics import Observation


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from opentelemetry.metrics import CallbackOptions, Meter

    from telemetry.scan.shapes import Signal


@dataclass(slots=True)
class Account:
    """What became of the items of one signal of one tenant: received = stored + refused."""

    received: int = 0
    stored: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """By reason."""

    folded: int = 0
    """Items stored under a series that stands for many."""


class Ledger:
    """
    Counts since the start. An item is a point, a log record or a span.

    The accounts balance at any time between two calls. `rows_logged` = `rows_loaded` once the
    loader is done; a histogram's point is several rows.
    """

    def __init__(self) -> None:
        self.accounts: dict[tuple[Signal, str], Account] = {}
        """By signal and tenant."""

        self.malformed: Counter[Signal] = Counter()
        """Requests nobody can read; how many items they held is unknown."""
        self.rows_logged: Counter[Signal] = Counter()
        self.rows_loaded: Counter[Signal] = Counter()
        self.quarantined_bytes = 0
        self.quarantined_rows: Counter[Signal] = Counter()

    def of(self, signal: Signal, tenant: str) -> Account:
        """Return the account of a tenant's *signal*."""
        return self.accounts.setdefault((signal, tenant), Account())

    def publish(
        self,
        meter: Meter,
        *,
        series: Callable[[], int],
        log_bytes: Callable[[], int],
        folded_metrics: Callable[[], int],
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
            "telemetry.metrics.folded",
            [lambda _: [Observation(folded_metrics())]],
            unit="{metric}",
            description="Metrics of which a label is folded, since they had too many series",
        )
        meter.create_observable_gauge(
            "telemetry.log.size",
            [lambda _: [Observation(log_bytes())]],
            unit="By",
            description="What is logged and not loaded yet",
        )

    def _publish_items(self, meter: Meter) -> None:
        def told(of: Callable[[Account], int]) -> Callable[[CallbackOptions], list[Observation]]:
            return lambda _: [
                Observation(of(one), {"signal": signal, "tenant": tenant})
                for (signal, tenant), one in self.accounts.items()
            ]

        def refused(_: CallbackOptions) -> list[Observation]:
            return [
                Observation(count, {"signal": signal, "tenant": tenant, "reason": reason})
                for (signal, tenant), one in self.accounts.items()
                for reason, count in one.refused.items()
            ]

        meter.create_observable_counter(
            "telemetry.items.received",
            [told(lambda one: one.received)],
            unit="{item}",
            description="Points, log records and spans that came in, by signal and tenant",
        )
        meter.create_observable_counter(
            "telemetry.items.stored",
            [told(lambda one: one.stored)],
            unit="{item}",
            description="Items acknowledged for good; received = stored + refused",
        )
        meter.create_observable_counter(
            "telemetry.items.folded",
            [told(lambda one: one.folded)],
            unit="{item}",
            description="Items stored under a series that stands for many",
        )
        meter.create_observable_counter(
            "telemetry.items.refused",
            [refused],
            unit="{item}",
            description="Items refused, by signal, tenant and reason",
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
