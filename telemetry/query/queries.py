"""Everything that can be asked about metrics, bounded; both gRPC and HTTP ask here."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from opentelemetry import metrics

from meshkit.errors import InvalidInput, Overloaded
from telemetry.head.source import HeadSource
from telemetry.promql.engine import Answer, Engine
from telemetry.promql.errors import query_too_large
from telemetry.promql.limits import QueryLimits
from telemetry.promql.parse import parse, parse_selector
from telemetry.promql.parse import selectors as selectors_of
from telemetry.promql.warm import warm
from telemetry.query import exemplars
from telemetry.query.source import StoreSource, matching_series, stored_matchers
from telemetry.rules.screening import quiet


if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import timedelta

    from telemetry.head.head import Head
    from telemetry.promql.labels import Labels
    from telemetry.promql.matchers import Selection
    from telemetry.promql.source import Source
    from telemetry.query.exemplars import SeriesExemplars
    from telemetry.rules.shapes import Shape
    from telemetry.store.cardinality import Cardinality
    from telemetry.store.model import MetricFamily
    from telemetry.store.reader import Reader

_T = TypeVar("_T")
_NO_TIME = (1 << 63) - 1
"""What an empty head begins with, as in Prometheus."""


class HeadExtent(NamedTuple):
    """What the memory of the newest samples holds."""

    series: int
    blocks: int
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueriesLimits:
    """Bounds of all queries together, and of each."""

    concurrent_max: int = 4
    """Evaluations at once."""

    waiting_max: int = 64
    """Evaluations that wait for their turn; more are refused."""

    points_max: int = 2_000_000
    """Points of one answer."""

    selectors_max: int = 64
    """Selectors of one question about series or labels."""

    query: QueryLimits = field(default_factory=QueryLimits)


class Queries:
    """
    Queries over one store. Made within a running event loop; `close` ends its threads.

    Every function raises the evaluator's and the store's `InvalidInput` and `Unavailable`,
    and `Overloaded` (QUERY_QUEUE_FULL) where too many queries wait already.
    """

    def __init__(
        self,
        reader: Reader,
        limits: QueriesLimits | None = None,
        *,
        head: Head | None = None,
    ) -> None:
        self.reader = reader
        self._head = head
        self.limits = limits or QueriesLimits()
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(self.limits.concurrent_max, "promql")
        self._under_way: set[threading.Event] = set()
        meter = metrics.get_meter("telemetry")
        self._duration = meter.create_histogram(
            "telemetry.query.duration",
            unit="s",
            description="How long PromQL queries take, waiting included.",
        )

    async def instant(
        self,
        text: str,
        at_ms: int,
        *,
        tenant: str = "",
        lookback: timedelta | None = None,
        timeout: timedelta | None = None,  # noqa: ASYNC109 - part of the query's budget
    ) -> Answer:
        """Return the value of a PromQL expression at one time."""
        engine = self._engine(tenant, timeout)
        return await self._answer(
            "instant", lambda stop: engine.instant(text, at_ms, lookback=lookback, stop=stop)
        )

    async def range(
        self,
        text: str,
        grid: tuple[int, int, int],
        *,
        tenant: str = "",
        lookback: timedelta | None = None,
        timeout: timedelta | None = None,  # noqa: ASYNC109 - part of the query's budget
    ) -> Answer:
        """Return the values of a PromQL expression at *grid*: start, end, step, all in ms."""
        engine = self._engine(tenant, timeout)
        return await self._answer(
            "range", lambda stop: engine.range(text, *grid, lookback=lookback, stop=stop)
        )

    async def series(self, selectors: Sequence[str], *, tenant: str = "") -> list[Labels]:
        """Return the label sets of the series that any selector matches, sorted."""
        found: set[Labels] = set()
        for selection in self._selections(selectors):
            series = await matching_series(self.reader, selection, tenant)
            found.update(one.labels for one in series)
        return sorted(found)

    async def label_names(self, selectors: Sequence[str], *, tenant: str = "") -> list[str]:
        """Return the names of the labels of the matching series, or of all, sorted."""
        if not selectors:
            return await self.reader.label_names(tenant=tenant)
        found: set[str] = set()
        for selection in self._selections(selectors):
            for group in selection:
                found.update(await self.reader.label_names(stored_matchers(group), tenant=tenant))
        return sorted(found)

    async def label_values(
        self, label: str, selectors: Sequence[str], *, tenant: str = ""
    ) -> list[str]:
        """Return the values of *label* among the matching series, or all, sorted."""
        if not selectors:
            return await self.reader.label_values(label, tenant=tenant)
        found: set[str] = set()
        for selection in self._selections(selectors):
            for group in selection:
                found.update(
                    await self.reader.label_values(label, stored_matchers(group), tenant=tenant)
                )
        return sorted(found)

    async def metric_families(self, name: str = "", *, tenant: str = "") -> list[MetricFamily]:
        """Return what is known of a metric, or of all."""
        return await self.reader.metric_families(name, tenant=tenant)

    async def exemplars(
        self, selections: Sequence[Selection], start_ms: int, end_ms: int, *, tenant: str = ""
    ) -> list[SeriesExemplars]:
        """Return the exemplars of the series that any selection means, in that time."""
        if not selections:
            return []
        series_max = self.limits.query.series_max
        return await exemplars.find(self.reader, selections, start_ms, end_ms, tenant, series_max)

    async def cardinality(self, top: int, *, tenant: str = "") -> Cardinality:
        """Return what there are most series and values of, the *top* of each."""
        return await self.reader.cardinality(top, tenant=tenant)

    def head_extent(self) -> HeadExtent:
        """Return what the memory of the newest samples holds."""
        head = self._head
        if head is None or head.horizon_ms >= _NO_TIME:
            return HeadExtent(0 if head is None else head.series, 0, _NO_TIME, -_NO_TIME)
        return HeadExtent(head.series, head.blocks_used, head.horizon_ms, head.latest_ms)

    async def warm(self) -> None:
        """Compile, or load, the machine code that most queries need; takes seconds at most."""
        await self._run("warm", lambda _: warm())

    def close(self) -> None:
        """Take no more queries, end those under way, and let go of the threads."""
        for stop in self._under_way:
            stop.set()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _engine(self, tenant: str, asked: timedelta | None) -> Engine:
        limits = self.limits.query
        if asked is not None:
            limits = replace(limits, timeout=min(asked, limits.timeout))
        return Engine(source=self.source(tenant, limits.timeout), limits=limits)

    def screen(self, tenant: str, shapes: Sequence[Shape | None], at_ms: int) -> Mapping[int, bool]:
        """Return which *shapes* certainly find nothing, and whether they have data."""
        return {} if self._head is None else quiet(self._head, tenant, shapes, at_ms)

    def mark(self, text: str, tenant: str) -> int | None:
        """
        Return a number that is another one once samples have come that *text* asks for.

        None: that can't be told. May be called on any thread.
        """
        if self._head is None:
            return None
        try:
            return self._head.mark(tenant, selectors_of(parse(text, self.limits.query)))
        except InvalidInput:
            return None

    def source(self, tenant: str, timeout: timedelta) -> Source:
        """Return one tenant's samples; each read of the store may take *timeout*."""
        store = StoreSource(reader=self.reader, loop=self._loop, tenant=tenant, timeout=timeout)
        if self._head is None:
            return store
        return HeadSource(head=self._head, store=store, tenant=tenant)

    async def _answer(self, kind: str, evaluate: Callable[[threading.Event], Answer]) -> Answer:
        asked = time.monotonic()

        def timed(stop: threading.Event) -> Answer:
            began = time.monotonic()
            answer = evaluate(stop)
            took = time.monotonic() - began
            return replace(answer, waited_s=began - asked, evaluated_s=took)

        return self._bounded(await self._run(kind, timed))

    async def _run(self, kind: str, evaluate: Callable[[threading.Event], _T]) -> _T:
        if len(self._under_way) >= self.limits.concurrent_max + self.limits.waiting_max:
            raise Overloaded(
                "QUERY_QUEUE_FULL",
                "Too many queries wait already.",
                waiting_max=str(self.limits.waiting_max),
            )
        stop = threading.Event()
        started = time.monotonic()
        self._under_way.add(stop)
        try:
            return await self._loop.run_in_executor(self._threads, evaluate, stop)
        finally:
            stop.set()
            self._under_way.discard(stop)
            self._duration.record(time.monotonic() - started, {"kind": kind})

    def _bounded(self, answer: Answer) -> Answer:
        if sum(one.ts.size for one in answer.series) > self.limits.points_max:
            raise query_too_large(
                "The answer has too many points; ask for fewer series, a shorter range or a "
                "longer step.",
                points_max=str(self.limits.points_max),
            )
        return answer

    def _selections(self, selectors: Sequence[str]) -> list[Selection]:
        if len(selectors) > self.limits.selectors_max:
            raise InvalidInput(
                "TOO_MANY_SELECTORS",
                "Too many selectors in one question.",
                selectors_max=str(self.limits.selectors_max),
            )
        return [parse_selector(text, self.limits.query) for text in selectors]
