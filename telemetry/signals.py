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


class Joined(Protocol):
    """What of the way in these services look at."""

    @property
    def edges(self) -> Edges: ...
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


def make_edges(settings: Settings) -> Edges:
    """Make the map's join, as large as it may be."""
    return Edges(
        spans_max=settings.map_spans_max, wait_ms=int(settings.map_wait / timedelta(milliseconds=1))
    )


@contextlib.asynccontextmanager
async def open_signals(sessions: Sessions, joined: Joined, meter: Meter) -> AsyncIterator[Signals]:
    """Run what these services need. A fault of its tasks ends the caller too."""
    keeper = Keeper(joined.edges, EdgeStore(sessions))
    keeper.publish(meter)
    async with asyncio.TaskGroup() as tasks:
        keeping = tasks.create_task(keeper.run())
        yield Signals(
            traces=TraceSearch(sessions), map=keeper, logs=LogStore(sessions), loaded=joined.loaded
        )
        keeping.cancel()
        await keeper.store()
