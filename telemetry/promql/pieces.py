"""Functions of many series' windows, some series at a time, so that all cores have a share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from telemetry.promql import nodes, parts
from telemetry.promql.nodes import Edge
from telemetry.promql.source import SamplesNeeded, is_piecewise
from telemetry.promql.values import Vector, take


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from telemetry.promql.evaluate import Evaluator
    from telemetry.promql.matchers import Selection
    from telemetry.promql.source import Columns
    from telemetry.promql.values import Value


@dataclass(frozen=True, slots=True)
class _One:
    """A source of one piece."""

    columns: Columns

    def select(
        self, _selection: Selection, _start_ms: int, _end_ms: int, *, series_max: int
    ) -> Columns:
        del series_max
        return self.columns


def called(
    ev: Evaluator, call: nodes.Call, apply: Callable[[Evaluator, nodes.Call], Value]
) -> Vector | None:
    """
    Return the value of a function of a range vector.

    Args:
        apply: The function. What it makes of a series depends on that series only.

    Returns:
        None where the source has no pieces of what is asked, or it is not worth it.

    """
    source, windows = ev.query.source, _windows(call)
    if windows is None or not is_piecewise(source):
        return None
    selector = windows.selector
    ends, range_ms = ev.ends(selector.when), ev.query.ms(windows.length, positive=True)
    reach = ev.query.lookback_ms if selector.edge else 0
    start_ms, end_ms = int(ends[0]) - range_ms - reach + 1, int(ends[-1])
    end_ms += reach if selector.edge is Edge.SMOOTHED else 0
    limits = ev.query.budget.limits
    # Each is small enough to be evaluated by one thread.
    size = max(1, parts.CELLS_ALONE // ends.size)
    pieces = source.pieces(selector.selection, start_ms, end_ms, size, limits.series_max)
    if pieces is None or len(pieces) < 2:
        return None

    def evaluated(read: Callable[[], Columns]) -> Vector:
        query = replace(ev.query, source=_One(read()))
        value = apply(replace(ev, query=query), call)
        assert isinstance(value, Vector)
        return value

    try:
        return _below(parts.each(evaluated, pieces))
    except SamplesNeeded:
        return None


def _windows(call: nodes.Call) -> nodes.Range | None:
    """Return the range selector of a call that has nothing else but numbers."""
    ranges = [arg for arg in call.args if isinstance(arg, nodes.Range)]
    others = [arg for arg in call.args if not isinstance(arg, nodes.Range | nodes.Number)]
    return ranges[0] if len(ranges) == 1 and not others and call.name not in _WHOLE else None


_WHOLE = frozenset({"absent_over_time"})
"""Functions that look at all series at once."""


def _below(found: Sequence[Vector]) -> Vector:
    """Return all of them as one, without series that have nothing."""
    value = Vector(
        labels=[labels for one in found for labels in one.labels],
        values=np.concatenate([one.values for one in found]),
        present=np.concatenate([one.present for one in found]),
        drop_name=np.concatenate([one.drop_name for one in found]),
    )
    there = np.asarray(value.present.any(axis=1))
    return value if there.all() else take(value, np.flatnonzero(there))
