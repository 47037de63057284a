"""gRPC in, traces out: `aerofusion.telemetry.v1.TraceService`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from aerofusion.telemetry.v1 import query_service_pb2 as query_pb
from aerofusion.telemetry.v1 import trace_service_pb2 as pb
from aerofusion.telemetry.v1 import trace_service_pb2_grpc as pb_grpc
from meshkit import authz, paging
from telemetry.filters.fields import SPANS
from telemetry.filters.parse import parse
from telemetry.query.asking import asked_times, fitting, question_of, tenant_of
from telemetry.query.messages import duration, timestamp
from telemetry.traces.search import Summary, TraceQuery, TraceSearch


if TYPE_CHECKING:
    import grpc

    from meshkit.serving import GrpcServer

    Context = grpc.aio.ServicerContext[Any, Any]

SERVICE = "aerofusion.telemetry.v1.TraceService"
POLICY: authz.Policy = {
    f"/{SERVICE}/SearchTraces": authz.allow(services=("operator", "gateway"), roles=("operator",))
}
"""Who may call what; telemetry's own table takes these rows in."""

_DEFAULT, _MAX = 20, 200


def serve_traces(server: GrpcServer, search: TraceSearch) -> None:
    """Make *server* find traces."""
    server.add(pb_grpc.add_TraceServiceServicer_to_server, TraceService(search), SERVICE)


class TraceService(pb_grpc.TraceServiceServicer):
    """Answers from the store."""

    def __init__(self, search: TraceSearch) -> None:
        self._search = search

    async def SearchTraces(  # noqa: N802 - the contract's name
        self, request: pb.SearchTracesRequest, _context: Context
    ) -> pb.SearchTracesResponse:
        size = paging.page_size(request.page_size, default=_DEFAULT, at_most=_MAX)
        question = question_of(request)
        start_ns, end_ns = asked_times(request, time.time_ns())
        after = None
        place = paging.read_token(request.page_token, question)
        if place:
            matched, trace, start, end = place.split(":")
            after, start_ns, end_ns = (int(matched), bytes.fromhex(trace)), int(start), int(end)
        query = TraceQuery(
            filter=parse(request.filter, SPANS),
            start_ns=start_ns,
            end_ns=end_ns,
            after=after,
            limit=size + 1,
            tenant=tenant_of(request.tenant),
        )
        found = await self._search.search(query)
        token = ""
        if len(found) > size:
            last = found[size - 1]
            place = f"{last.matched_ns}:{last.trace_id.hex()}:{start_ns}:{end_ns}"
            token = paging.next_token(place, question)
        return fitting(
            pb.SearchTracesResponse(
                traces=[_summary(one) for one in found[:size]], next_page_token=token
            )
        )


def _summary(one: Summary) -> pb.TraceSummary:
    return pb.TraceSummary(
        trace_id=one.trace_id.hex(),
        root_name=one.root_name,
        root_service=one.root_service,
        start_time=timestamp(one.start_ns),
        duration=duration(one.duration_ns),
        spans=one.spans,
        errors=one.errors,
        services=one.services,
        matched_spans=one.matched,
        matched_time=timestamp(one.matched_ns),
        matched_duration=duration(one.matched_duration_ns),
        matched_status=query_pb.SpanStatus.ValueType(one.matched_status),
        weight=one.weight,
    )
