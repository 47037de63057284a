"""One query's answer over a window that moves on: what is kept of it, and what is new since."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np


if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from telemetry.promql.engine import Series
    from telemetry.promql.labels import Labels


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """Points of one series."""

    labels: Labels
    ts: NDArray[np.int64]
    values: NDArray[np.float64]


class Watched:
    """
    Points of a query at whole steps, each with the version that brought it.

    Pure: whoever evaluates says when it is.

    Args:
        step_ms: Between two points.
        range_ms: How far back points are kept.
        cells_max: Points of all series that are kept.

    """

    def __init__(self, *, step_ms: int, range_ms: int, cells_max: int) -> None:
        self.step_ms = step_ms
        self.columns = range_ms // step_ms + 1
        self.version = 0
        """Counts what was applied and brought something new."""

        self.newest: list[Points] = []
        """One point each, past the last whole step."""

        self.newest_version = 0
        self.problem = ""
        self.evaluated_to_ms = 0
        """The last whole step that was evaluated; 0: none was."""

        self._start_ms = 0
        self._rows: dict[Labels, int] = {}
        self._values = np.zeros((0, self.columns))
        self._versions = np.zeros((0, self.columns), np.int64)
        self._series_max = max(1, cells_max // self.columns)

    def span(self, now_ms: int, settle_ms: int) -> tuple[int, int]:
        """
        Return the first and last step to evaluate at *now_ms*.

        Steps of the last *settle_ms* are evaluated anew: samples may have come late.
        """
        last = now_ms // self.step_ms * self.step_ms
        first = last - (self.columns - 1) * self.step_ms
        if self.evaluated_to_ms:
            again = self.evaluated_to_ms - settle_ms // self.step_ms * self.step_ms
            first = max(first, min(again, last))
        return first, last

    def apply(self, series: Sequence[Series], last_ms: int) -> bool:
        """Take in points at whole steps up to *last_ms*; return whether all series fit."""
        self._move(last_ms)
        rows = [self._row(one.labels) for one in series]
        taken = [(row, one) for row, one in zip(rows, series, strict=True) if row is not None]
        version = self.version + 1
        changed = bool(taken) and self._put(taken, version)
        first_time, self.evaluated_to_ms = not self.evaluated_to_ms, last_ms
        if changed or first_time or self.problem:
            self.version = version
            self.problem = ""
        return len(taken) == len(series)

    def apply_newest(self, series: Iterable[Series]) -> None:
        """Take in what is newest, in place of what was."""
        found = [
            Points(labels=one.labels, ts=one.ts[-1:], values=one.values[-1:])
            for one in series
            if one.ts.size
        ][: self._series_max]
        if _values_of(found) != _values_of(self.newest):
            self.version += 1
            self.newest_version = self.version
        self.newest = found

    def fail(self, problem: str) -> None:
        """Have no answer for now, for the reason of *problem*."""
        if problem != self.problem:
            self.version += 1
        self.problem = problem

    def since(self, version: int) -> list[Points]:
        """Return the points at whole steps that came after *version*; all for 0."""
        every = self._start_ms + np.arange(self.columns) * self.step_ms
        came = self._versions > max(version, 0)
        whole, some = np.all(came, axis=1), np.any(came, axis=1)
        out = []
        for labels, row in self._rows.items():
            if whole[row]:
                out.append(Points(labels=labels, ts=every, values=self._values[row].copy()))
            elif some[row]:
                columns = came[row]
                out.append(
                    Points(labels=labels, ts=every[columns], values=self._values[row, columns])
                )
        return out

    def _put(self, taken: Sequence[tuple[int, Series]], version: int) -> bool:
        """Take in the points of series, each by its row; return whether any is new."""
        row = np.repeat([row for row, _ in taken], [one.ts.size for _, one in taken])
        place, rest = np.divmod(
            np.concatenate([one.ts for _, one in taken]) - self._start_ms, self.step_ms
        )
        values = np.concatenate([one.values for _, one in taken])
        keep = (rest == 0) & (place >= 0) & (place < self.columns)
        row, place, values = row[keep], place[keep], values[keep]
        before = self._values[row, place]
        same = (before == values) | (np.isnan(before) & np.isnan(values))
        fresh = ~same | (self._versions[row, place] == 0)
        row, place = row[fresh], place[fresh]
        self._values[row, place] = values[fresh]
        self._versions[row, place] = version
        return bool(fresh.any())

    def _move(self, last_ms: int) -> None:
        """Have the window end at *last_ms*."""
        start = last_ms - (self.columns - 1) * self.step_ms
        by = min((start - self._start_ms) // self.step_ms, self.columns)
        self._start_ms = start
        if by <= 0 or not self._rows:
            return
        for table in (self._values, self._versions):
            table[:, : self.columns - by] = table[:, by:].copy()
            table[:, self.columns - by :] = 0
        alive = np.asarray((self._versions > 0).any(axis=1))
        if not alive[: len(self._rows)].all():
            kept = [(labels, row) for labels, row in self._rows.items() if alive[row]]
            places = [row for _, row in kept]
            self._values, self._versions = self._values[places], self._versions[places]
            self._rows = {labels: number for number, (labels, _) in enumerate(kept)}

    def _row(self, labels: Labels) -> int | None:
        row = self._rows.get(labels)
        if row is not None:
            return row
        row = len(self._rows)
        if row >= self._series_max:
            return None
        if row >= len(self._values):
            more = max(4, row)
            self._values = np.vstack([self._values, np.zeros((more, self.columns))])
            self._versions = np.vstack([self._versions, np.zeros((more, self.columns), np.int64)])
        self._rows[labels] = row
        return row


def _values_of(points: list[Points]) -> dict[Labels, bytes]:
    return {one.labels: one.values.tobytes() for one in points}
