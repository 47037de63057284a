"""What is served about logs and traces besides the queries of `telemetry.query`, joined."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from telemetry.traces.search import TraceSearch
from telemetry.traces.service import POLICY as TRACES
from telemetry.traces.service import serve_traces


if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from meshkit.authz import Policy
    from meshkit.serving import GrpcServer
    from telemetry.store.sessions import Sessions

POLICY: Policy = TRACES
"""Who may call what; telemetry's own table takes these rows in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """The parts behind these services."""

    traces: TraceSearch

    def serve(self, server: GrpcServer) -> None:
        """Make *server* answer."""
        serve_traces(server, self.traces)


@contextlib.asynccontextmanager
async def open_signals(sessions: Sessions) -> AsyncIterator[Signals]:
    """Run what these services need."""
    yield Signals(traces=TraceSearch(sessions))
