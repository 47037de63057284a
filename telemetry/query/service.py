"""gRPC in, queries out: `aerofusion.telemetry.v1.QueryService`."""

from __future__ import annotations

import re
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from aerofusion.telemetry.v1 import query_service_pb2 as pb
from aerofusion.telemetry.v1 import query_service_pb2_grpc as pb_grpc
from meshkit import authz, deadline, paging
from meshkit.errors import NotFound
from telemetry.filters.fields import LOGS
from telemetry.filters.parse import parse
from telemetry.query import messages
from telemetry.query.asking import (
    ANSWER_BYTES_MAX,
    asked_times,
    bad,
    fitting,
    question_of,
    tenant_of,
    too_large,
)
from telemetry.query.log_pages import Position, read_page
from telemetry.store.model import LogCondition, LogCountQuery, LogQuery


if TYPE_CHECKING:
    from collections.abc import Sequence

    import grpc
    from google.protobuf.duration_pb2 import Duration
    from google.protobuf.timestamp_pb2 import Timestamp

    from meshkit.serving import GrpcServer
    from telemetry.promql.engine import Series
    from telemetry.query.queries import Queries

    Context = grpc.aio.ServicerContext[Any, Any]

SERVICE = "aerofusion.telemetry.v1.QueryService"
POLICY: authz.Policy = {
    f"/{SERVICE}/{method}": authz.allow(services=("operator", "gateway"), roles=("operator",))
    for method in (
        "QueryInstant",
        "QueryRange",
        "ListSeries",
        "ListLabels",
        "ListLabelValues",
        "SearchLogs",
        "CountLogs",
        "GetTrace",
    )
}
"""Who may call what; telemetry's own table takes these rows in."""

_POINT_BYTES_MIN = 14
_T = TypeVar("_T")
_TRACE_ID = re.compile(r"[0-9a-fA-F]{32}")
_LIST_DEFAULT, _LIST_MAX = 1_000, 10_000
_LOGS_DEFAULT, _LOGS_MAX = 100, 1_000
_TEXT_BYTES_MAX = 1_024
_ATTRIBUTES_MAX = 32
_CONDITION_TEXTS_MAX = 1_000
_CONDITION_BYTES_MAX = 64 * 1024
_GROUP_BY_MAX = 16
_SECOND_NS = 1_000_000_000
_TIME_NS_MAX = (1 << 63) - 1


def serve_queries(server: GrpcServer, queries: Queries) -> None:
    """Make *server* answer queries."""
    server.add(pb_grpc.add_QueryServiceServicer_to_server, QueryService(queries), SERVICE)


class QueryService(pb_grpc.QueryServiceServicer):
    """Answers from the store."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    async def QueryInstant(  # noqa: N802 - the contract's name
        self, request: pb.QueryInstantRequest, context: Context
    ) -> pb.QueryInstantResponse:
        at_ms = _ms(request.time) if request.HasField("time") else time.time_ns() // 1_000_000
        answer = await self._queries.instant(
            _required(request.query, "query"),
            at_ms,
            tenant=tenant_of(request.tenant),
            lookback=_lookback(request.lookback) if request.HasField("lookback") else None,
            timeout=self._timeout(context),
        )
        return fitting(
            pb.QueryInstantResponse(
                result_type=messages.RESULT_TYPES[answer.kind],
                series=messages.time_series(_few_enough(answer.series), answer.histograms),
                text=answer.text,
                notes=messages.notes(answer),
            )
        )

    async def QueryRange(  # noqa: N802 - the contract's name
        self, request: pb.QueryRangeRequest, context: Context
    ) -> pb.QueryRangeResponse:
        for name in ("start_time", "end_time", "step"):
            _required(request.HasField(name), name)
        step_ms = request.step.ToMilliseconds()
        answer = await self._queries.range(
            _required(request.query, "query"),
            (_ms(request.start_time), _ms(request.end_time), step_ms),
            tenant=tenant_of(request.tenant),
            lookback=_lookback(request.lookback) if request.HasField("lookback") else None,
            timeout=self._timeout(context),
        )
        return fitting(
            pb.QueryRangeResponse(
                series=messages.time_series(_few_enough(answer.series), answer.histograms),
                notes=messages.notes(answer),
            )
        )

    async def ListSeries(  # noqa: N802 - the contract's name
        self, request: pb.ListSeriesRequest, _context: Context
    ) -> pb.ListSeriesResponse:
        _required(request.selectors, "selectors")
        tenant = tenant_of(request.tenant)
        found = await self._queries.series(request.selectors, tenant=tenant)
        texts = {repr(labels): labels for labels in found}
        page, token = _page(sorted(texts), request, tenant)
        return fitting(
            pb.ListSeriesResponse(
                series=[pb.LabelSet(labels=dict(texts[text])) for text in page],
                next_page_token=token,
            )
        )

    async def ListLabels(  # noqa: N802 - the contract's name
        self, request: pb.ListLabelsRequest, _context: Context
    ) -> pb.ListLabelsResponse:
        tenant = tenant_of(request.tenant)
        found = await self._queries.label_names(request.selectors, tenant=tenant)
        page, token = _page(found, request, tenant)
        return pb.ListLabelsResponse(labels=page, next_page_token=token)

    async def ListLabelValues(  # noqa: N802 - the contract's name
        self, request: pb.ListLabelValuesRequest, _context: Context
    ) -> pb.ListLabelValuesResponse:
        tenant = tenant_of(request.tenant)
        label = _required(request.label, "label")
        found = await self._queries.label_values(label, request.selectors, tenant=tenant)
        page, token = _page(found, request, f"{tenant}/{label}")
        return pb.ListLabelValuesResponse(values=page, next_page_token=token)

    async def SearchLogs(  # noqa: N802 - the contract's name
        self, request: pb.SearchLogsRequest, _context: Context
    ) -> pb.SearchLogsResponse:
        size = paging.page_size(request.page_size, default=_LOGS_DEFAULT, at_most=_LOGS_MAX)
        question = question_of(request)
        start_ns, end_ns = asked_times(request, time.time_ns())
        after = paging.read_token(request.page_token, question)
        position = None
        if after:
            time_ns, sent, start_ns, end_ns = (int(part) for part in after.split(":"))
            position = Position(time_ns, sent)
        query = LogQuery(
            start_ns=start_ns,
            end_ns=end_ns,
            text=_bounded(request.text),
            service=request.service,
            severity_min=int(request.severity_at_least),
            trace_id=_trace_id(request.trace_id) if request.trace_id else b"",
            attributes=_attributes(request),
            filter=parse(request.filter, LOGS),
            tenant=tenant_of(request.tenant),
        )
        page, following = await read_page(self._queries.reader.search_logs, query, size, position)
        token = ""
        if following is not None:
            place = f"{following.time_ns}:{following.sent}:{start_ns}:{end_ns}"
            token = paging.next_token(place, question)
        return fitting(
            pb.SearchLogsResponse(
                entries=[messages.log_entry(record) for record in page], next_page_token=token
            )
        )

    async def CountLogs(  # noqa: N802 - the contract's name
        self, request: pb.CountLogsRequest, _context: Context
    ) -> pb.CountLogsResponse:
        start_ns, end_ns = asked_times(request, time.time_ns())
        if len(request.group_by) > _GROUP_BY_MAX:
            raise bad("group_by", f"at most {_GROUP_BY_MAX}")
        query = LogCountQuery(
            start_ns=start_ns,
            end_ns=end_ns,
            conditions=_conditions(request),
            apart=_condition(request.apart, "apart") if request.HasField("apart") else None,
            service=request.service,
            group_by=tuple(request.group_by),
            interval_ns=_interval(request.interval) if request.HasField("interval") else 0,
            limit=paging.page_size(request.page_size, default=_LOGS_DEFAULT, at_most=_LOGS_MAX),
            tenant=tenant_of(request.tenant),
        )
        counts, groups = await self._queries.reader.count_logs(query)
        return fitting(pb.CountLogsResponse(counts=map(messages.log_count, counts), groups=groups))

    async def GetTrace(  # noqa: N802 - the contract's name
        self, request: pb.GetTraceRequest, _context: Context
    ) -> pb.GetTraceResponse:
        trace_id = _trace_id(request.trace_id)
        spans = await self._queries.reader.trace(trace_id, tenant=tenant_of(request.tenant))
        if not spans:
            raise NotFound(
                "TRACE_NOT_FOUND",
                "No span of this trace is known; new ones take a second to be found.",
                trace_id=trace_id.hex(),
            )
        return fitting(messages.trace(trace_id.hex(), spans))

    def _timeout(self, context: Context) -> timedelta:
        at_most = self._queries.limits.query.timeout
        return timedelta(seconds=deadline.remaining(context, at_most))


def _few_enough(series: Sequence[Series]) -> Sequence[Series]:
    """Refuse before building what can't fit: a point takes a time and a value."""
    points = sum(one.ts.size for one in series)
    if points * _POINT_BYTES_MIN > ANSWER_BYTES_MAX:
        raise too_large()
    return series


def _page(
    found: Sequence[str],
    request: pb.ListSeriesRequest | pb.ListLabelsRequest | pb.ListLabelValuesRequest,
    question: str,
) -> tuple[list[str], str]:
    """Return the page of sorted texts that *request* asks for, and the next one's token."""
    size = paging.page_size(request.page_size, default=_LIST_DEFAULT, at_most=_LIST_MAX)
    about = (question, *request.selectors)
    after = paging.read_token(request.page_token, *about)
    rest = [text for text in found if text > after]
    page = rest[:size]
    return page, paging.next_token(page[-1], *about) if len(rest) > size else ""


def _attributes(request: pb.SearchLogsRequest) -> dict[str, str]:
    if len(request.attributes) > _ATTRIBUTES_MAX:
        raise bad("attributes", f"at most {_ATTRIBUTES_MAX}")
    return dict(request.attributes)


def _conditions(request: pb.CountLogsRequest) -> tuple[LogCondition, ...]:
    if len(request.conditions) > _ATTRIBUTES_MAX:
        raise bad("conditions", f"at most {_ATTRIBUTES_MAX}")
    texts = [text for one in request.conditions for text in (*one.values, *one.prefixes)]
    if len(texts) > _CONDITION_TEXTS_MAX:
        raise bad("conditions", f"at most {_CONDITION_TEXTS_MAX} values and prefixes")
    if sum(len(text.encode()) for text in texts) > _CONDITION_BYTES_MAX:
        raise bad("conditions", f"at most {_CONDITION_BYTES_MAX} bytes of values and prefixes")
    return tuple(
        _condition(one, f"conditions[{number}]") for number, one in enumerate(request.conditions)
    )


def _condition(asked: pb.LogCondition, where: str) -> LogCondition:
    if not asked.attribute:
        raise bad(f"{where}.attribute", "required")
    return LogCondition(
        attribute=asked.attribute,
        values=tuple(asked.values),
        prefixes=tuple(asked.prefixes),
        negated=asked.negated,
    )


def _interval(length: Duration) -> int:
    if length.ToNanoseconds() < _SECOND_NS:
        raise bad("interval", "must be at least 1 s")
    return min(length.ToNanoseconds(), _TIME_NS_MAX)


def _bounded(text: str) -> str:
    if len(text.encode()) > _TEXT_BYTES_MAX:
        raise bad("text", f"at most {_TEXT_BYTES_MAX} bytes")
    return text


def _trace_id(text: str) -> bytes:
    if not _TRACE_ID.fullmatch(text):
        raise bad("trace_id", "must be 32 hexadecimal digits")
    return bytes.fromhex(text)


def _lookback(length: Duration) -> timedelta:
    lookback = timedelta(milliseconds=length.ToMilliseconds())
    if lookback <= timedelta(0):
        raise bad("lookback", "must be longer than 0")
    return lookback


def _ms(at: Timestamp) -> int:
    return at.ToMilliseconds()


def _required(value: _T, name: str) -> _T:
    if not value:
        raise bad(name, "required")
    return value
