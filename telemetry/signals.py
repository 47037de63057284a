"""What is served about logs and traces besides the queries of `telemetry.query`, joined."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from telemetry.logs.service import POLICY as LOGS
from telemetry.logs.service import serve_logs
from telemetry.logs.store import LogStore
from telemetry.map.edges import Edges
from telemetry.map.keeper import Keeper
from telemetry.map.service import POLICY as MAP
from telemetry.map.service import serve_map
from telemetry.map.store import EdgeStore
from telemetry.sampling.keeper import SampleKeeper
from telemetry.sampling.sampler import Sampler
from telemetry.traces.search import TraceSearch
from telemetry.traces.service import POLICY as TRACES
from telemetry.traces.service import serve_traces


if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from opentelemetry.metrics import Meter

    from meshkit.authz import Policy
    from meshkit.serving import GrpcServer
    from telemetry.logs.loaded import Loaded
    from telemetry.settings import Settings
    from telemetry.store.sessions import Sessions

POLICY: Policy = TRACES | MAP | LOGS
"""Who may call what; telemetry's own table takes these rows in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanWatch:
    """Looks at spans once they are durable."""

    edges: Edges
    sampler: Sampler | None

    def take(self, request: bytes, tenant: str, received_ns: int, rows: int) -> None:
        """Look at the *rows* spans that the scanner let in of a checked *request*."""
        spans = self.edges.take(request, tenant, received_ns, rows)
        if self.sampler is not None and len(spans):
            self.sampler.take(spans, received_ns // 1_000_000)


class Joined(Protocol):
    """What of the way in these services look at."""

    @property
    def spans(self) -> SpanWatch: ...
    @property
    def loaded(self) -> Loaded: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """The parts behind these services."""

    traces: TraceSearch
    map: Keeper
    logs: LogStore
    loaded: Loaded

    def serve(self, server: GrpcServer) -> None:
        """Make *server* answer."""
        serve_traces(server, self.traces)
        serve_map(server, self.map)
        serve_logs(server, self.logs, self.loaded)


def watch_spans(settings: Settings) -> SpanWatch:
    """Make what looks at all spans that come: the map's join, and the sampler if there is a budget."""
    budget = settings.trace_spans_per_second
    return SpanWatch(
        edges=Edges(
            spans_max=settings.map_spans_max,
            wait_ms=int(settings.map_wait / timedelta(milliseconds=1)),
        ),
        sampler=Sampler(spans_per_second=budget) if budget else None,
    )


@contextlib.asynccontextmanager
async def open_signals(sessions: Sessions, joined: Joined, meter: Meter) -> AsyncIterator[Signals]:
    """Run what these services need. A fault of its tasks ends the caller too."""
    keeper = Keeper(joined.spans.edges, EdgeStore(sessions))
    keeper.publish(meter)
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(keeper.run())]
        if joined.spans.sampler is not None:
            sampling = SampleKeeper(joined.spans.sampler, sessions)
            sampling.publish(meter)
            running.append(tasks.create_task(sampling.run()))
        yield Signals(
            traces=TraceSearch(sessions), map=keeper, logs=LogStore(sessions), loaded=joined.loaded
        )
        for task in running:
            task.cancel()
        await keeper.store()
