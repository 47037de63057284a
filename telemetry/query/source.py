"""The evaluator's source of samples: the store, read from a worker thread."""

from __future__ import annotations

import asyncio
from concurrent.futures import TimeoutError as WaitedTooLong
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from telemetry.promql.errors import query_timed_out, query_too_large
from telemetry.promql.source import Columns
from telemetry.query.joining import joined, natives
from telemetry.query.rolling import NATIVE, WIDTHS_MS, rolled
from telemetry.store.model import Matcher, MatchOp, Series


if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator, Sequence
    from concurrent.futures import Future
    from datetime import timedelta

    from telemetry.promql import matchers
    from telemetry.promql.labels import Labels
    from telemetry.promql.source import Rows, Span
    from telemetry.store.reader import Reader

    _T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSource:
    """One tenant's samples. `select` blocks: never call it on *loop*'s own thread."""

    reader: Reader
    loop: asyncio.AbstractEventLoop
    tenant: str
    timeout: timedelta
    """How long one read may take."""

    def select(
        self, selection: matchers.Selection, start_ms: int, end_ms: int, *, series_max: int
    ) -> Columns:
        """
        Return the samples of the matching series.

        Raises:
            InvalidInput: QUERY_TOO_LARGE: More than *series_max* series match.
            Unavailable: QUERY_TIMED_OUT: The store took too long.

        """
        return self._wait(self._read(selection, start_ms, end_ms, series_max))

    def natives(
        self, selection: matchers.Selection, start_ms: int, end_ms: int, *, series_max: int
    ) -> Columns:
        """
        Return only the native histograms of the matching series, in `[start_ms, end_ms]`.

        Raises:
            InvalidInput: QUERY_TOO_LARGE: More than *series_max* series match.
            Unavailable: QUERY_TIMED_OUT: The store took too long.

        """
        return self._wait(self._read_natives(selection, start_ms, end_ms, series_max))

    @property
    def widths_ms(self) -> Sequence[int]:
        """Lengths of the windows that samples are rolled up in, longest first."""
        return WIDTHS_MS

    def rolled(self, span: Span) -> Iterator[Rows] | None:
        """
        Return what samples come to, some series at a time; None where it isn't rolled up.

        Raises:
            InvalidInput: QUERY_TOO_LARGE: Too many series match.
            Unavailable: QUERY_TIMED_OUT: The store took too long.

        """
        return rolled(self, self, span)

    def rollable(
        self, selection: matchers.Selection, series_max: int
    ) -> tuple[int, Sequence[Series]]:
        """Return until when there are roll-ups, and the matching series; raises as `rolled`."""
        return self._wait(self._rollable(selection, series_max))

    def result(self, reading: Future[_T]) -> _T:
        """
        Wait for a read that is under way on the loop.

        Raises:
            Unavailable: QUERY_TIMED_OUT: The store took too long.

        """
        try:
            return reading.result(self.timeout.total_seconds())
        except WaitedTooLong:
            reading.cancel()
            raise query_timed_out("The store took too long; ask for less.") from None

    def _wait(self, coroutine: Coroutine[None, None, _T]) -> _T:
        return self.result(asyncio.run_coroutine_threadsafe(coroutine, self.loop))

    async def _rollable(
        self, selection: matchers.Selection, series_max: int
    ) -> tuple[int, Sequence[Series]]:
        series = await self._matching(selection, series_max)
        return await self.reader.rolled_until(series), series

    async def _read(
        self, selection: matchers.Selection, start_ms: int, end_ms: int, series_max: int
    ) -> Columns:
        series = await self._matching(selection, series_max)
        samples = await self.reader.read_samples(series, start_ms=start_ms, end_ms=end_ms)
        floats = Columns(
            labels=[one.labels for one in series],
            ts=samples.ts_ms,
            values=samples.values,
            offsets=samples.offsets,
        )
        native = [one for one in series if one.kind == NATIVE]
        if not native:
            return floats
        return joined([floats, await self._histograms(native, start_ms, end_ms)])

    async def _read_natives(
        self, selection: matchers.Selection, start_ms: int, end_ms: int, series_max: int
    ) -> Columns:
        series = await self._matching(selection, series_max)
        native = [one for one in series if one.kind == NATIVE]
        return await self._histograms(native, start_ms, end_ms)

    async def _matching(self, selection: matchers.Selection, series_max: int) -> list[Series]:
        series = await matching_series(self.reader, selection, self.tenant)
        if len(series) > series_max:
            raise query_too_large(
                "A selector finds too many series; add matchers.", series_max=str(series_max)
            )
        return series

    async def _histograms(self, series: list[Series], start_ms: int, end_ms: int) -> Columns:
        found = await self.reader.read_histograms(series, start_ms=start_ms, end_ms=end_ms)
        return natives([one.labels for one in series], found)


async def matching_series(
    reader: Reader, selection: matchers.Selection, tenant: str
) -> list[Series]:
    """Return the series that any alternative of *selection* matches, each once."""
    found: dict[Labels, Series] = {}
    for group in selection:
        for one in await reader.select_series(stored_matchers(group), tenant=tenant):
            found.setdefault(one.labels, one)
    return list(found.values())


def stored_matchers(group: tuple[matchers.Matcher, ...]) -> list[Matcher]:
    """Return one alternative of a selection in the store's words."""
    return [Matcher(label=m.name, op=MatchOp(m.op.value), value=m.value) for m in group]
