"""The state of one request on its way through the filters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.compile.envoy_api import TYPE_URL
from gateway.compile.switched import FILTER_CONFIG, NOTHING
from gateway.explain.call import Call, Headers
from gateway.explain.configuration import Configuration
from gateway.explain.steps import Answer, Candidate, NotModelled, Step, Verdict
from gateway.explain.table import Found, find


GRPC_OF_HTTP = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}
"""HTTP status to gRPC's; any other is 2, UNKNOWN. As in gRPC's http-grpc-status-mapping.md."""


@dataclass(slots=True, kw_only=True)
class Exchange:
    """A request while it is looked at; the only thing here that changes."""

    call: Call
    headers: Headers
    configuration: Configuration
    listener: Any
    manager: Any
    metadata: dict[str, Any] = field(default_factory=dict)
    """Dynamic metadata by the filter that wrote it."""

    found: Found = field(default_factory=Found)
    original_path: str = ""
    grpc_method: str = ""
    is_grpc: bool = False
    """It came as a gRPC call, and wasn't only made into one."""

    grpc_web: bool = False
    resource: tuple[str, str] = ("", "")
    """Where the filter that is looked at has its configuration from."""

    spoilt: str = ""
    """Why the body can't become a gRPC message; Envoy finds out when it has sent the headers on."""

    candidates: list[Candidate] = field(default_factory=list)
    """Clusters the router chooses among, once it has come to that."""

    steps: list[Step] = field(default_factory=list)
    answer: Answer | None = None
    certain: bool = True

    def step(self, stage: str, name: str, verdict: Verdict, says: str, **more: Any) -> None:
        """Note a step."""
        if verdict is Verdict.NOT_MODELLED:
            self.certain = False
        self.steps.append(Step(stage=stage, name=name, verdict=verdict, says=says, **more))

    def choose_route(self) -> None:
        """Find scope, virtual host and route for the headers as they are now."""
        self.found = find(self.configuration, self.manager, self.headers, self.call.random)
        self.steps += self.found.steps

    def refuse(
        self,
        status: int,
        details: str,
        *,
        flags: str = "",
        grpc_status: int | None = None,
        body: bool = True,
    ) -> None:
        """
        Answer from the edge: in gRPC's way only to what came as a gRPC call.

        Args:
            body: Whether there is text in it, which grpc_web makes a gRPC status of.

        """
        told = GRPC_OF_HTTP.get(status, 2) if grpc_status is None else grpc_status
        self.answer = Answer(
            http_status=200 if self.is_grpc else status,
            grpc_status=told if self.is_grpc or (self.grpc_web and body) else None,
            details=details,
            flags=flags,
        )

    def per_route(self, name: str) -> Any | None:
        """Return the most particular config of the filter *name*; None: it has none here."""
        configs = self.all_per_route(name)
        return configs[0] if configs else None

    def all_per_route(self, name: str) -> Sequence[Any]:
        """Return its configs of weighted cluster, route, virtual host and table, in that order."""
        return [one for one in self._told(name) if not _switches_on(one)]

    def is_made(self, name: str, *, off: bool) -> bool:
        """
        Return whether Envoy makes the filter *name* for the route found now.

        Args:
            off: The listener has it switched off.

        """
        return not off or (self.found.route is not None and bool(self._told(name)))

    def _told(self, name: str) -> Sequence[Any]:
        return [
            self.configuration.unpack(holder.typed_per_filter_config[name])
            for holder in self.found.holders
            if name in holder.typed_per_filter_config
        ]


def _switches_on(config: Any) -> bool:
    """Return whether a config only switches its filter on; one that wraps another isn't emitted."""
    if config.DESCRIPTOR.full_name != FILTER_CONFIG:
        return False
    if config.disabled or config.config.type_url != TYPE_URL + NOTHING:
        raise NotModelled("FilterConfig")
    return True
