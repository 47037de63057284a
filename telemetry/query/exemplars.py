"""Exemplars: samples that name the trace they came from. Here is only what is asked of a store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol


if TYPE_CHECKING:
    from collections.abc import Sequence

    from telemetry.promql.labels import Labels
    from telemetry.promql.matchers import Selection


@dataclass(frozen=True, slots=True, kw_only=True)
class Exemplar:
    """One exemplar."""

    labels: Labels
    """`trace_id` and `span_id` among them."""

    value: float
    ts_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesExemplars:
    """The exemplars of one series, by rising time."""

    labels: Labels
    exemplars: Sequence[Exemplar]


class Exemplars(Protocol):
    """A store of exemplars."""

    async def find(
        self, selections: Sequence[Selection], start_ms: int, end_ms: int, *, tenant: str
    ) -> Sequence[SeriesExemplars]:
        """Return those in `[start_ms, end_ms]` of the series that any selection means."""
        ...
