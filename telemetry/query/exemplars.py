"""Exemplars: samples that name the trace they came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from telemetry.promql.errors import query_too_large
from telemetry.promql.labels import make
from telemetry.query.source import matching_series


if TYPE_CHECKING:
    from collections.abc import Sequence

    from telemetry.promql.labels import Labels
    from telemetry.promql.matchers import Selection
    from telemetry.store.model import Series
    from telemetry.store.reader import Reader


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


async def find(  # noqa: PLR0917 - what is asked for
    reader: Reader,
    selections: Sequence[Selection],
    start_ms: int,
    end_ms: int,
    tenant: str,
    series_max: int,
) -> list[SeriesExemplars]:
    """
    Return the exemplars in `[start_ms, end_ms]` of the series that any selection means.

    Raises:
        InvalidInput: QUERY_TOO_LARGE: More than *series_max* series match.
        Unavailable: STORE_FAILED: The store can't answer.

    """
    series: dict[Labels, Series] = {}
    for selection in selections:
        for one in await matching_series(reader, selection, tenant):
            series.setdefault(one.labels, one)
    if len(series) > series_max:
        raise query_too_large(
            "The query's selectors find too many series; add matchers.", series_max=str(series_max)
        )
    chosen = list(series.values())
    grouped: dict[int, list[Exemplar]] = {}
    for found in await reader.read_exemplars(chosen, start_ms=start_ms, end_ms=end_ms):
        ids = {"trace_id": found.trace_id.hex(), "span_id": found.span_id.hex()}
        exemplar = Exemplar(
            labels=make({**found.labels, **ids}), value=found.value, ts_ms=found.ts_ms
        )
        grouped.setdefault(found.series, []).append(exemplar)
    return [
        SeriesExemplars(labels=chosen[i].labels, exemplars=exemplars)
        for i, exemplars in sorted(grouped.items())
    ]
