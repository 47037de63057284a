"""gRPC in, logs out: `aerofusion.telemetry.v1.LogService`."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from aerofusion.telemetry.v1 import log_service_pb2 as pb
from aerofusion.telemetry.v1 import log_service_pb2_grpc as pb_grpc
from meshkit import authz, paging
from meshkit.errors import Overloaded
from telemetry.filters.fields import LOGS
from telemetry.filters.parse import parse
from telemetry.query import messages
from telemetry.query.asking import ANSWER_BYTES_MAX, asked_times, fitting, tenant_of


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    import grpc

    from meshkit.serving import GrpcServer
    from telemetry.logs.loaded import Loaded
    from telemetry.logs.store import LogStore, Pattern
    from telemetry.store.model import LogRecord

    Context = grpc.aio.ServicerContext[Any, Any]

SERVICE = "aerofusion.telemetry.v1.LogService"
POLICY: authz.Policy = {
    f"/{SERVICE}/{method}": authz.allow(services=("operator", "gateway"), roles=("operator",))
    for method in ("TailLogs", "ListLogPatterns")
}
"""Who may call what; telemetry's own table takes these rows in."""

FOLLOWERS_MAX = 32
"""Most streams of `TailLogs` at once."""

ENTRIES_MAX = 1_000
"""Most records of one response to a follower."""

SILENCE_S = 15.0
"""A follower for whom there is nothing hears so after as long."""

_PATTERNS_DEFAULT, _PATTERNS_MAX = 50, 500


def serve_logs(server: GrpcServer, store: LogStore, loaded: Loaded) -> None:
    """Make *server* answer about logs."""
    server.add(
        pb_grpc.add_LogServiceServicer_to_server,
        LogService(store, loaded, server.stopping),
        SERVICE,
    )


class LogService(pb_grpc.LogServiceServicer):
    """Answers from the store."""

    def __init__(self, store: LogStore, loaded: Loaded, stopping: asyncio.Event) -> None:
        self._store = store
        self._loaded = loaded
        self._stopping = stopping
        self._followers = 0

    async def TailLogs(  # noqa: N802 - the contract's name
        self, request: pb.TailLogsRequest, _context: Context
    ) -> AsyncIterator[pb.TailLogsResponse]:
        asked = parse(request.filter, LOGS)
        tenant = tenant_of(request.tenant)
        resumed = paging.read_token(request.resume_token, request.filter, tenant)
        if self._followers >= FOLLOWERS_MAX:
            raise Overloaded(
                "TOO_MANY_FOLLOWERS",
                "As many follow logs as this server takes; try later.",
                followers_max=str(FOLLOWERS_MAX),
            )
        self._followers += 1
        try:
            at = int(resumed) if resumed else await self._newest()
            # Whoever follows knows from when on, and can go on from there.
            yield pb.TailLogsResponse(resume_token=self._token(at, request, tenant))
            while not self._stopping.is_set():
                until = await self._after(at)
                if until is None:
                    continue
                found, total = await self._store.came_with(
                    (at, until), asked, limit=ENTRIES_MAX, tenant=tenant
                )
                at = until
                entries = _that_fit(found)
                yield pb.TailLogsResponse(
                    entries=entries,
                    resume_token=self._token(at, request, tenant),
                    skipped=total - len(entries),
                )
        finally:
            self._followers -= 1

    async def ListLogPatterns(  # noqa: N802 - the contract's name
        self, request: pb.ListLogPatternsRequest, _context: Context
    ) -> pb.ListLogPatternsResponse:
        found = await self._store.patterns(
            parse(request.filter, LOGS),
            asked_times(request, time.time_ns()),
            limit=paging.page_size(
                request.page_size, default=_PATTERNS_DEFAULT, at_most=_PATTERNS_MAX
            ),
            tenant=tenant_of(request.tenant),
        )
        return fitting(
            pb.ListLogPatternsResponse(
                patterns=map(_pattern, found.found),
                patterns_total=found.patterns,
                records=found.records,
                records_total=found.records_total,
            )
        )

    async def _newest(self) -> int:
        return self._loaded.through or await self._store.newest_segment()

    async def _after(self, at: int) -> int | None:
        """Return the newest segment above *at*; *at* itself after a silence, None at a stop."""
        waiting = asyncio.ensure_future(self._loaded.after(at))
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait(
                {waiting, stopping}, timeout=SILENCE_S, return_when=asyncio.FIRST_COMPLETED
            )
            if stopping.done():
                return None
            return waiting.result() if waiting.done() else at
        finally:
            waiting.cancel()
            stopping.cancel()

    @staticmethod
    def _token(at: int, request: pb.TailLogsRequest, tenant: str) -> str:
        return paging.next_token(str(at), request.filter, tenant)


def _that_fit(newest_first: Sequence[LogRecord]) -> list[Any]:
    """Return as many of the newest as a message may hold, by rising time."""
    entries, size = [], 0
    for record in newest_first:
        entry = messages.log_entry(record)
        size += entry.ByteSize() + 8
        if size > ANSWER_BYTES_MAX:
            break
        entries.append(entry)
    return entries[::-1]


def _pattern(one: Pattern) -> pb.LogPattern:
    return pb.LogPattern(
        pattern=one.pattern,
        service=one.example.service,
        records=one.records,
        severity_number=one.severity,
        first_time=messages.timestamp(one.first_ns),
        last_time=messages.timestamp(one.last_ns),
        example=messages.log_entry(one.example),
    )
