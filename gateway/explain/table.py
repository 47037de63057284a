"""Which route a request gets: scope, virtual host, match."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.explain.call import Headers
from gateway.explain.configuration import Configuration
from gateway.explain.matching import route_matches
from gateway.explain.steps import NotModelled, Step, Verdict, only


if TYPE_CHECKING:
    from collections.abc import Sequence

AEROFUSION_METADATA = "aerofusion"
"""Key of a route's metadata under which the compiler says what catalog object it is of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Where a request is in the tables; what is None wasn't found."""

    table: Any = None
    host: Any = None
    route: Any = None
    index: int = -1
    steps: tuple[Step, ...] = ()

    @property
    def holders(self) -> Sequence[Any]:
        """Whatever may hold configs of filters, the most particular first."""
        return [one for one in (self.route, self.host, self.table) if one is not None]

    @property
    def is_forwarded(self) -> bool:
        """Whether the route sends requests on: only then it counts as a route entry."""
        return self.route is not None and self.route.WhichOneof("action") == "route"

    @property
    def name(self) -> str:
        """Name of the route; "" for one without."""
        return self.route.name if self.route is not None else ""


def find(configuration: Configuration, manager: Any, headers: Headers, random: int | None) -> Found:
    """Return what the connection manager finds for *headers*, with the steps to it."""
    steps: list[Step] = []
    table = _table(configuration, manager, headers, steps)
    if table is None:
        return Found(steps=tuple(steps))
    only(
        table,
        *("name", "virtual_hosts", "typed_per_filter_config", "metadata"),
        *("max_direct_response_body_size_bytes", "ignore_port_in_host_matching"),
        *("response_headers_to_add", "response_headers_to_remove"),
        *("request_headers_to_add", "request_headers_to_remove", "validate_clusters"),
    )
    host = _virtual_host(table, headers.get(":authority") or "")
    rds = ("RDS", table.name)
    if host is None:
        steps.append(
            Step(
                stage="virtual_host",
                name="",
                verdict=Verdict.MISSED,
                says="No virtual host has this name.",
                resource=rds,
            )
        )
        return Found(table=table, steps=tuple(steps))
    steps.append(
        Step(
            stage="virtual_host",
            name=host.name,
            verdict=Verdict.CHOSEN,
            says=f"It answers for {', '.join(host.domains)}.",
            resource=rds,
        )
    )
    return _route(table, host, headers, random, steps)


def _table(
    configuration: Configuration, manager: Any, headers: Headers, steps: list[Step]
) -> Any | None:
    kind = manager.WhichOneof("route_specifier")
    if kind == "route_config":
        return manager.route_config
    if kind == "rds":
        return _named(configuration, manager.rds.route_config_name, steps)
    if kind != "scoped_routes":
        raise NotModelled(f"HttpConnectionManager.{kind}")
    element = _scope_key(manager.scoped_routes, headers)
    name = configuration.scope(element) if element is not None else None
    steps.append(
        Step(
            stage="scope",
            name=element or "",
            verdict=Verdict.MISSED if name is None else Verdict.CHOSEN,
            says=(
                "No gRPC service and no JSON area begins like this path."
                if name is None
                else "The path's first element says which routes there are."
            ),
            resource=("SRDS", element or ""),
        )
    )
    return None if name is None else _named(configuration, name, steps)


def _named(configuration: Configuration, name: str, steps: list[Step]) -> Any | None:
    table = configuration.get("RDS", name)
    if table is None:
        steps.append(
            Step(
                stage="route_table",
                name=name,
                verdict=Verdict.MISSED,
                says="There is no such route configuration.",
                resource=("RDS", name),
            )
        )
    return table


def _scope_key(scoped: Any, headers: Headers) -> str | None:
    fragments = scoped.scope_key_builder.fragments
    if len(fragments) != 1:
        raise NotModelled("a scope key of several fragments")
    extractor = fragments[0].header_value_extractor
    if extractor.WhichOneof("extract_type") != "index":
        raise NotModelled("a scope key that isn't an element")
    value = headers.get(extractor.name)
    if value is None:
        return None
    elements = value.split(extractor.element_separator) if extractor.element_separator else [value]
    return elements[extractor.index] if extractor.index < len(elements) else None


def _virtual_host(table: Any, authority: str) -> Any | None:
    """Return the host for a name: exact, then `*.suffix`, then `prefix.*`, then `*`."""
    name = authority.lower()
    if table.ignore_port_in_host_matching:
        name = without_port(name)
    best: tuple[int, int, Any] | None = None
    for host in table.virtual_hosts:
        for domain in host.domains:
            rank = _rank(domain.lower(), name)
            if rank is not None and (best is None or rank > best[:2]):
                best = (*rank, host)
    return best[2] if best else None


def _rank(domain: str, name: str) -> tuple[int, int] | None:
    if domain == "*":
        return (0, 0)
    if domain.startswith("*"):
        return (2, len(domain)) if name.endswith(domain[1:]) and len(name) >= len(domain) else None
    if domain.endswith("*"):
        return (
            (1, len(domain)) if name.startswith(domain[:-1]) and len(name) >= len(domain) else None
        )
    return (3, 0) if domain == name else None


def without_port(authority: str) -> str:
    """Return a host's name without its port."""
    name, colon, port = authority.rpartition(":")
    return name if colon and port.isdigit() and not name.endswith(":") else authority


def _route(table: Any, host: Any, headers: Headers, random: int | None, steps: list[Step]) -> Found:
    only(
        host,
        *("name", "domains", "routes", "typed_per_filter_config", "rate_limits", "metadata"),
        *("request_headers_to_add", "request_headers_to_remove", "retry_policy"),
        *("response_headers_to_add", "response_headers_to_remove"),
        *("include_request_attempt_count", "request_mirror_policies", "hedge_policy"),
    )
    for index, route in enumerate(host.routes):
        if route_matches(route.match, headers, random=random):
            steps.append(
                Step(
                    stage="route",
                    name=route.name or f"#{index + 1}",
                    verdict=Verdict.CHOSEN,
                    says=f"{index + 1} of {len(host.routes)}: {_words(route.match)}.",
                    resource=("RDS", table.name),
                    object=object_of(route),
                )
            )
            return Found(table=table, host=host, route=route, index=index, steps=tuple(steps))
    steps.append(
        Step(
            stage="route",
            name="",
            verdict=Verdict.MISSED,
            says=f"None of {len(host.routes)} routes matches.",
            resource=("RDS", table.name),
        )
    )
    return Found(table=table, host=host, steps=tuple(steps))


def object_of(route: Any) -> str:
    """
    Return the catalog object that a route was made for.

    It is what the route's metadata says, else its name, else the one destination it has.
    """
    if route is None:
        return ""
    metadata = route.metadata.filter_metadata
    if AEROFUSION_METADATA in metadata:
        named = metadata[AEROFUSION_METADATA].fields["object"].string_value
        if named:
            return str(named)
    if "/" in route.name:
        return str(route.name)
    cluster = str(route.route.cluster)
    return cluster if "/" in cluster else ""


def _words(match: Any) -> str:
    kind = match.WhichOneof("path_specifier")
    value = getattr(match, kind)
    said = f"{kind.replace('_', ' ')} {value.regex if kind == 'safe_regex' else value}"
    more = [header.name for header in match.headers]
    more += [f"?{query.name}" for query in match.query_parameters]
    return f"{said} and {', '.join(more)}" if more else said
