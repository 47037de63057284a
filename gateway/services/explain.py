"""Explanations as a gRPC service."""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format

from aerofusion.gateway.v1 import explain_service_pb2 as rpc
from aerofusion.gateway.v1 import explain_service_pb2_grpc
from gateway.compile.compiler import compile_all
from gateway.explain import access_log
from gateway.explain.call import Body, Call
from gateway.explain.configuration import Configuration
from gateway.explain.origin import attributed
from gateway.explain.steps import Explanation, Step, Verdict
from gateway.explain.walk import explain
from meshkit.errors import InvalidInput, NotFound


if TYPE_CHECKING:
    from gateway.compile.inputs import Inputs
    from gateway.compile.options import EdgeOptions
    from gateway.explain.access_log import Logged
    from gateway.model import Catalog
    from gateway.store.history import History, Origin
    from gateway.xds.resources import Snapshot

    Context = Any

SERVICE = "aerofusion.gateway.v1.ExplainService"
HEADERS_MAX = 100
CLIENT_URIS_MAX = 4
CLIENT_NAMES_MAX = 16
PAST_KEPT = 4
"""Past revisions that stay compiled."""

_BODIES = {
    rpc.CallDescription.BODY_NONE: Body.NONE,
    rpc.CallDescription.BODY_GRPC: Body.GRPC,
    rpc.CallDescription.BODY_GRPC_WEB: Body.GRPC_WEB,
    rpc.CallDescription.BODY_GRPC_WEB_TEXT: Body.GRPC_WEB_TEXT,
    rpc.CallDescription.BODY_JSON: Body.JSON,
    rpc.CallDescription.BODY_OTHER: Body.OTHER,
}
_VERDICTS = {
    Verdict.CHOSEN: rpc.ExplainStep.VERDICT_CHOSEN,
    Verdict.PASSED: rpc.ExplainStep.VERDICT_PASSED,
    Verdict.CHANGED: rpc.ExplainStep.VERDICT_CHANGED,
    Verdict.MISSED: rpc.ExplainStep.VERDICT_MISSED,
    Verdict.IDLE: rpc.ExplainStep.VERDICT_IDLE,
    Verdict.DEPENDS: rpc.ExplainStep.VERDICT_DEPENDS,
    Verdict.SHADOW: rpc.ExplainStep.VERDICT_SHADOW,
    Verdict.ANSWERED: rpc.ExplainStep.VERDICT_ANSWERED,
    Verdict.REFUSED: rpc.ExplainStep.VERDICT_REFUSED,
    Verdict.NOT_MODELLED: rpc.ExplainStep.VERDICT_NOT_MODELLED,
}
_SOURCES = {
    "edge": rpc.ExpectedAnswer.SOURCE_EDGE,
    "service": rpc.ExpectedAnswer.SOURCE_SERVICE,
    "nobody": rpc.ExpectedAnswer.SOURCE_UNSPECIFIED,
}


class ExplainService(explain_service_pb2_grpc.ExplainServiceServicer):
    """
    What becomes of a request, by the newest configuration or a past one.

    Args:
        newest: What the edges are served.
        inputs: What that was compiled from.

    """

    def __init__(
        self,
        history: History,
        options: EdgeOptions,
        *,
        newest: Callable[[], Snapshot],
        inputs: Callable[[], Inputs],
    ) -> None:
        self._history = history
        self._options = options
        self._newest = newest
        self._inputs = inputs
        self._present: Configuration | None = None
        self._past: OrderedDict[int, tuple[Configuration, Catalog]] = OrderedDict()

    async def Explain(  # noqa: N802
        self, request: rpc.ExplainRequest, context: Context
    ) -> rpc.ExplainResponse:
        logged = access_log.parse(request.log_line) if request.log_line else None
        call = _call(request, logged)
        revision = request.revision
        if not revision and logged is not None and logged.time is not None:
            revision = await self._history.revision_at(logged.time)
        configuration, catalog = await self._at(revision)
        found = attributed(explain(configuration, call), catalog)
        objects = {step.object for step in found.steps if step.object}
        origins = await self._history.origins(objects, catalog.revision)
        answer = _answer(found, origins)
        answer.revision = catalog.revision
        if logged is not None:
            answer.log.CopyFrom(_comparison(logged, found))
        return answer

    async def _at(self, revision: int) -> tuple[Configuration, Catalog]:
        """Return the configuration of a revision; 0 and the newest are what is served."""
        catalog = self._inputs().catalog
        if revision in (0, catalog.revision):
            snapshot = self._newest()
            if self._present is None or self._present.snapshot is not snapshot:
                self._present = Configuration(snapshot)
            return self._present, catalog
        if revision not in self._past:
            if revision < 0 or revision > await self._history.newest():
                raise NotFound(
                    "REVISION_NOT_FOUND",
                    f"There is no revision {revision}.",
                    revision=str(revision),
                )
            past = await self._history.catalog_at(revision)
            inputs = dataclasses.replace(self._inputs(), catalog=past)
            compiled = await asyncio.to_thread(compile_all, inputs, self._options)
            self._past[revision] = (Configuration(compiled.edge), past)
            while len(self._past) > PAST_KEPT:
                self._past.popitem(last=False)
        return self._past[revision]


def _call(request: rpc.ExplainRequest, logged: Logged | None) -> Call:
    call = _described(request.call) if logged is None else logged.call
    headers = call.headers
    claims, partial = call.claims, call.partial_claims
    if request.token:
        headers = (*headers, ("authorization", f"Bearer {request.token}"))
        claims, partial = None, False
    elif request.HasField("claims"):
        claims, partial = json_format.MessageToDict(request.claims), False
    now = logged.time if logged is not None and logged.time is not None else datetime.now(UTC)
    if request.HasField("time"):
        now = request.time.ToDatetime(UTC)
    return dataclasses.replace(
        call,
        headers=headers,
        claims=claims,
        partial_claims=partial,
        random=request.random if request.HasField("random") else None,
        now=now.timestamp(),
    )


def _described(call: rpc.CallDescription) -> Call:
    problems = {}
    if not call.path:
        problems["call.path"] = "required"
    if len(call.headers) > HEADERS_MAX:
        problems["call.headers"] = f"more than {HEADERS_MAX}"
    try:
        address = str(ipaddress.ip_address(call.remote_address or "127.0.0.1"))
    except ValueError:
        problems["call.remote_address"] = "no IP address"
        address = ""
    if problems:
        raise InvalidInput(
            "INVALID_EXPLAIN",
            f"The request can't be explained: {', '.join(problems)}.",
            field_violations=problems,
        )
    headers = tuple((one.name.lower(), one.value) for one in call.headers)
    body = _BODIES.get(call.body) or _body_of(headers)
    return Call(
        method=call.method or ("GET" if body is Body.NONE else "POST"),
        scheme=call.scheme or "https",
        host=call.host or "localhost",
        server_name=call.server_name,
        path=call.path,
        headers=headers,
        remote_address=address,
        client_uris=tuple(call.client_uris[:CLIENT_URIS_MAX]),
        client_names=tuple(call.client_names[:CLIENT_NAMES_MAX]),
        body=body,
    )


def _body_of(headers: tuple[tuple[str, str], ...]) -> Body:
    kind = dict(headers).get("content-type", "")
    if kind.startswith("application/grpc-web"):
        return Body.GRPC_WEB
    if kind.startswith("application/grpc"):
        return Body.GRPC
    return Body.OTHER if kind else Body.NONE


def _answer(found: Explanation, origins: Any) -> rpc.ExplainResponse:
    return rpc.ExplainResponse(
        steps=[_step(step, origins.get(step.object)) for step in found.steps],
        answer=rpc.ExpectedAnswer(
            source=_SOURCES[found.answer.by],
            http_status=found.answer.http_status,
            grpc_status=found.answer.grpc_status,
            details=found.answer.details,
            flags=found.answer.flags,
        ),
        certain=found.certain,
        route=found.route,
        grpc_method=found.grpc_method,
        path=found.path,
        clusters=[
            rpc.ClusterCandidate(cluster=one.cluster, share=one.share, chosen=one.chosen)
            for one in found.clusters
        ],
        endpoints=[rpc.EndpointCandidate(**dataclasses.asdict(one)) for one in found.endpoints],
    )


def _step(step: Step, origin: Origin | None) -> rpc.ExplainStep:
    made = rpc.ExplainStep(
        stage=step.stage,
        name=step.name,
        verdict=_VERDICTS[step.verdict],
        says=step.says,
        resource_type=step.resource[0],
        resource=step.resource[1],
        object=step.object,
        facts=[rpc.RequestHeader(name=name, value=value) for name, value in step.facts],
    )
    if origin is not None:
        made.revision = origin.revision
        made.actor = origin.actor
        made.change_time.FromDatetime(origin.create_time)
    return made


def _comparison(logged: Logged, found: Explanation) -> rpc.LogComparison:
    made = rpc.LogComparison(
        http_status=logged.http_status,
        grpc_status=logged.grpc_status,
        details=logged.details,
        cluster=logged.cluster,
        route=logged.route,
        differences=logged.differences(found),
        meanings=logged.meanings(),
    )
    if logged.time is not None:
        made.time.FromDatetime(logged.time)
    return made
