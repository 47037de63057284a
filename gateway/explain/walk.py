"""From the connection to the answer: every step a request takes through the edge."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway.compile.envoy_api import TYPE_URL
from gateway.explain.access import rbac
from gateway.explain.authn import jwt_authn
from gateway.explain.call import Call, headers_of
from gateway.explain.configuration import Configuration
from gateway.explain.exchange import Exchange
from gateway.explain.filters import (
    cors,
    grpc_web,
    header_mutation,
    header_to_metadata,
    mutate,
    unaffected,
)
from gateway.explain.limits import asked_limit, local_ratelimit, quota
from gateway.explain.login import oauth2, session
from gateway.explain.paths import PathRefused, normalised
from gateway.explain.steps import (
    Answer,
    EndpointCandidate,
    Explanation,
    NotModelled,
    Step,
    Verdict,
    only,
)
from gateway.explain.table import without_port
from gateway.explain.transcoding import transcoder
from gateway.explain.upgrades import upgraded
from gateway.explain.upstream import endpoints, router


Filter = Callable[[Exchange, str, Any], None]

_HTTP = "envoy.extensions.filters.http"
FILTERS: dict[str, Filter] = {
    f"{_HTTP}.cors.v3.Cors": cors,
    f"{_HTTP}.grpc_stats.v3.FilterConfig": unaffected,
    f"{_HTTP}.grpc_web.v3.GrpcWeb": grpc_web,
    f"{_HTTP}.grpc_json_transcoder.v3.GrpcJsonTranscoder": transcoder,
    f"{_HTTP}.lua.v3.Lua": session,
    f"{_HTTP}.oauth2.v3.OAuth2": oauth2,
    f"{_HTTP}.local_ratelimit.v3.LocalRateLimit": local_ratelimit,
    f"{_HTTP}.jwt_authn.v3.JwtAuthentication": jwt_authn,
    f"{_HTTP}.rate_limit_quota.v3.RateLimitQuotaFilterConfig": quota,
    f"{_HTTP}.ratelimit.v3.RateLimit": asked_limit,
    f"{_HTTP}.rbac.v3.RBAC": rbac,
    f"{_HTTP}.header_to_metadata.v3.Config": header_to_metadata,
    f"{_HTTP}.header_mutation.v3.HeaderMutation": header_mutation,
    f"{_HTTP}.compressor.v3.Compressor": unaffected,
    f"{_HTTP}.router.v3.Router": router,
}
"""Type of a filter's config to what it does. One that isn't here is told as not modelled."""

TRANSCODER = "envoy.filters.http.grpc_json_transcoder"
_EDGE = "edge"
_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_LISTENER_RATE = "envoy.extensions.filters.listener.local_ratelimit.v3.LocalRateLimit"
_TLS_INSPECTOR = "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"
_REJECT_UNDERSCORES, _DROP_UNDERSCORES = 1, 2  # HeadersWithUnderscoresAction


def explain(configuration: Configuration, call: Call) -> Explanation:
    """Return what becomes of *call*, step by step, and what its caller is answered."""
    listener = configuration.get("LDS", _EDGE)
    if listener is None:
        step = Step(
            stage="listener",
            name=_EDGE,
            verdict=Verdict.REFUSED,
            says="The edge has no listener yet.",
        )
        return Explanation(steps=(step,), answer=Answer(http_status=None, by="nobody"))
    headers = headers_of(call)
    exchange = Exchange(
        call=call,
        headers=headers,
        is_grpc=headers.is_grpc,
        configuration=configuration,
        listener=listener,
        manager=None,
    )
    try:
        _accept(exchange)
        if exchange.manager is not None and exchange.answer is None:
            _manage(exchange)
    except NotModelled as missing:
        exchange.step("evaluator", "", Verdict.NOT_MODELLED, f"{missing} isn't known here.")
        exchange.answer = None
    return _told(exchange)


def _told(exchange: Exchange) -> Explanation:
    answer = exchange.answer or Answer(http_status=None, by="nobody")
    found: tuple[EndpointCandidate, ...] = ()
    for one in exchange.candidates:
        cluster = exchange.configuration.get("CDS", one.cluster)
        if cluster is not None and (one.chosen or exchange.call.random is None):
            found += endpoints(exchange.configuration, one.cluster, cluster)
    path = exchange.headers.path
    method = exchange.grpc_method or (path[1:] if exchange.headers.is_grpc else "")
    return Explanation(
        steps=tuple(exchange.steps),
        answer=answer,
        route=exchange.found.name,
        grpc_method=method.partition("?")[0],
        path=path,
        clusters=tuple(exchange.candidates),
        endpoints=found,
        certain=exchange.certain,
    )


def _accept(exchange: Exchange) -> None:
    """Choose listener and filter chain."""
    listener = exchange.listener
    where = {"resource": ("LDS", listener.name)}
    address = listener.address.socket_address
    exchange.step(
        "listener",
        listener.name,
        Verdict.CHOSEN,
        f"It listens on {address.address}:{address.port_value}.",
        **where,
    )
    for one in listener.listener_filters:
        kind = one.typed_config.type_url.removeprefix(TYPE_URL)
        if kind == _LISTENER_RATE:
            bucket = exchange.configuration.unpack(one.typed_config).token_bucket
            says = f"The edge takes {bucket.tokens_per_fill.value} new connections a second."
            exchange.step("listener_filter", one.name, Verdict.DEPENDS, says, **where)
        elif kind != _TLS_INSPECTOR:
            raise NotModelled(kind)
    chain = _chain(listener, exchange.call.server_name.lower())
    if chain is None:
        says = "No filter chain takes this server name: the connection is closed."
        exchange.step("filter_chain", "", Verdict.REFUSED, says, **where)
        exchange.answer = Answer(http_status=None, flags="NR", details="filter_chain_not_found")
        return
    names = ", ".join(chain.filter_chain_match.server_names)
    exchange.step(
        "filter_chain",
        chain.name,
        Verdict.CHOSEN,
        f"It takes {names}." if names else "It takes every server name.",
        **where,
    )
    (network,) = chain.filters
    if network.typed_config.type_url != TYPE_URL + _MANAGER:
        raise NotModelled(network.typed_config.type_url)
    exchange.manager = exchange.configuration.unpack(network.typed_config)


def _chain(listener: Any, server_name: str) -> Any | None:
    """Return the chain for an SNI: the exact name, then the longest wildcard, then any."""
    best: tuple[int, Any] | None = None
    for chain in listener.filter_chains:
        only(chain.filter_chain_match, "server_names", "transport_protocol")
        for name in chain.filter_chain_match.server_names or ("",):
            rank = _rank(name, server_name)
            if rank is not None and (best is None or rank > best[0]):
                best = (rank, chain)
    if best is not None:
        return best[1]
    return listener.default_filter_chain if listener.HasField("default_filter_chain") else None


def _rank(name: str, server_name: str) -> int | None:
    if not name:
        return 0
    if name.startswith("*."):
        return len(name) if server_name.endswith(name[1:]) else None
    return 1_000 if name == server_name else None


def _manage(exchange: Exchange) -> None:
    """Do what the connection manager does, then run its filters."""
    manager, headers, call = exchange.manager, exchange.headers, exchange.call
    if not manager.use_remote_address.value or manager.xff_num_trusted_hops:
        raise NotModelled("trust in x-forwarded-for")
    options = manager.common_http_protocol_options
    odd = [name for name, _ in call.headers if "_" in name]
    if odd and options.headers_with_underscores_action == _REJECT_UNDERSCORES:
        says = f"The header {odd[0]} has an underscore."
        exchange.step("connection_manager", "headers", Verdict.REFUSED, says)
        exchange.answer = Answer(
            http_status=400, details="http1.unexpected_underscore", flags="DPE"
        )
        return
    if odd and options.headers_with_underscores_action == _DROP_UNDERSCORES:
        for name in odd:
            headers.remove(name.lower())
    if manager.strip_any_host_port:
        headers.set(":authority", without_port(headers.get(":authority") or ""))
    if not call.path.startswith("/"):
        exchange.step("connection_manager", "path", Verdict.REFUSED, "The path isn't absolute.")
        exchange.refuse(404, "absolute_path_rejected" if call.path else "missing_path_rejected")
        return
    try:
        path = normalised(call.path, manager)
    except PathRefused as refused:
        exchange.step(
            "connection_manager", "path", Verdict.REFUSED, f"The path is refused: {refused}."
        )
        exchange.refuse(400, "path_normalization_failed")
        return
    if path != call.path:
        exchange.step("connection_manager", "path", Verdict.CHANGED, f"The path becomes {path}.")
        headers.set(":path", path)
    _strip(exchange)
    exchange.choose_route()
    if upgraded(exchange):
        _filters(exchange)


def _strip(exchange: Exchange) -> None:
    for extension in exchange.manager.early_header_mutation_extensions:
        config = exchange.configuration.unpack(extension.typed_config)
        touched = mutate(exchange, config.mutations)
        if touched:
            says = f"Only the edge writes {', '.join(sorted(touched))}: taken away."
            exchange.step("connection_manager", "headers", Verdict.CHANGED, says)


def _filters(exchange: Exchange) -> None:
    """Run the HTTP filters in their order until one answers."""
    filters = exchange.manager.http_filters
    # By the route of the first headers, whatever route there is later.
    made = [exchange.is_made(one.name, off=one.disabled) for one in filters]
    for one, there in zip(filters, made, strict=True):
        packed = one.typed_config
        given = {"resource": ("LDS", exchange.listener.name)}
        if not there:
            says = "It is off: these calls don't need it."
            exchange.step("filter", one.name, Verdict.IDLE, says, **given)
            continue
        if one.WhichOneof("config_type") == "config_discovery":
            discovered = exchange.configuration.get("ECDS", one.name)
            if discovered is None:
                says = "Its configuration hasn't come: Envoy answers 500."
                exchange.step("filter", one.name, Verdict.REFUSED, says, **given)
                exchange.refuse(500, "filter_config_not_found")
                return
            packed, given = discovered.typed_config, {"resource": ("ECDS", one.name)}
        exchange.resource = given["resource"]
        apply = FILTERS.get(packed.type_url.removeprefix(TYPE_URL))
        if apply is None:
            says = f"What {packed.type_url.rpartition('.')[2]} does here isn't known."
            exchange.step("filter", one.name, Verdict.NOT_MODELLED, says, **given)
            continue
        try:
            apply(exchange, one.name, exchange.configuration.unpack(packed))
        except NotModelled as missing:
            says = f"{missing} isn't known here."
            exchange.step("filter", one.name, Verdict.NOT_MODELLED, says, **given)
        if exchange.answer is not None:
            break
    if exchange.spoilt and exchange.answer is not None and exchange.answer.by == "service":
        exchange.step("filter", TRANSCODER, Verdict.REFUSED, exchange.spoilt)
        exchange.refuse(400, "grpc_json_transcode_failure{INVALID_ARGUMENT}")
