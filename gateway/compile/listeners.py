"""The edge's one listener, and the API listener of each service for gRPC clients."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from gateway.compile import (
    areas,
    extensions,
    hardening,
    http3,
    issuers,
    limits,
    logins,
    policies,
    revoked,
    routes,
    switched,
)
from gateway.compile.access_logs import access_log, followed, tracing, unfollowed
from gateway.compile.compression import compressors
from gateway.compile.envoy_api import any_of, make
from gateway.compile.hosts import UPGRADES
from gateway.compile.scopes import scoped_routes
from gateway.compile.sources import PUBLIC_SECRET, ads, extension, secret
from gateway.xds.resources import Resource, resource


if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.compile.options import EdgeOptions
    from gateway.model import Host, Service

EDGE_LISTENER = "edge"

_LISTENER = "envoy.config.listener.v3.Listener"
_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_FILTERS = "envoy.extensions.filters.http"
_BUFFER_BYTES = 256 * 1024
_HANDSHAKE_TIMEOUT = timedelta(seconds=5)
_OUR_HEADERS = "x-aerofusion-"
_IDENTITY = "aerofusion.identity"
_LOAD_FORGOTTEN = [{"remove": "endpoint-load-metrics"}, {"remove": "endpoint-load-metrics-bin"}]


def edge_listener(options: EdgeOptions, hosts: Iterable[Host] = ()) -> Resource:
    """
    Return the edge's listener: TLS, HTTP/2 and HTTP/1.1; a filter chain for services, one a host.

    It holds nothing else that changes while the mesh runs: a listener that changes drains its
    connections, and with them every stream. One of which only filter chains differ is updated in
    place, and drains those that differ or went. So what finds out the server name is always there.
    """
    message = make(
        _LISTENER,
        name=EDGE_LISTENER,
        address={"socket_address": {"address": options.address, "port_value": options.port}},
        per_connection_buffer_limit_bytes={"value": _BUFFER_BYTES},
        listener_filters=[_connection_rate(options), _server_name()],
        # They wait for the handshake to begin.
        listener_filters_timeout=_HANDSHAKE_TIMEOUT,
        # Two edges on one port would share its connections without a word.
        enable_reuse_port={"value": False},
        filter_chains=_chains(options, hosts),
    )
    return resource(EDGE_LISTENER, message.SerializeToString(deterministic=True))


def http3_listener(options: EdgeOptions, hosts: Iterable[Host] = ()) -> Resource:
    """Return the listener of HTTP/3, with the same chains; it is updated in place, too."""
    message = make(
        _LISTENER,
        per_connection_buffer_limit_bytes={"value": _BUFFER_BYTES},
        filter_chains=_chains(options, hosts, quic=True),
        **http3.listener_parts(options),
    )
    return resource(http3.LISTENER, message.SerializeToString(deterministic=True))


def _chains(
    options: EdgeOptions, hosts: Iterable[Host], *, quic: bool = False
) -> list[dict[str, Any]]:
    made = [_chain("services", _services_manager(options), PUBLIC_SECRET, options, quic=quic)]
    for host in sorted(hosts, key=lambda one: one.name):
        certificate = host.certificate or PUBLIC_SECRET
        chain = _chain(host.name, _host_manager(host, options), certificate, options, quic=quic)
        made.append({**chain, "filter_chain_match": {"server_names": sorted(host.domains)}})
    return made


def chain_of(host: Host | None) -> tuple[object, ...] | None:
    """Return all of a host that its filter chain depends on."""
    return None if host is None else (sorted(host.domains), host.certificate)


def _chain(
    name: str, manager: dict[str, Any], certificate: str, options: EdgeOptions, *, quic: bool
) -> dict[str, Any]:
    if quic:
        manager = {**manager, **http3.manager_parts(options)}
        socket = http3.transport(_tls_context(certificate, ["h3"], "TLSv1_3"))
    else:
        socket = _tls(certificate, options)
    return {
        "name": name,
        "transport_socket_connect_timeout": _HANDSHAKE_TIMEOUT,
        "transport_socket": socket,
        "filters": [
            {
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": any_of(_MANAGER, **manager),
            }
        ],
    }


def api_listener(service: Service) -> Resource:
    """Return what a gRPC client finds for `xds:///<service>`."""
    manager = any_of(
        _MANAGER,
        rds={"config_source": ads(), "route_config_name": service.id},
        http_filters=[_router()],
    )
    message = make(_LISTENER, name=service.id, api_listener={"api_listener": manager})
    return resource(service.id, message.SerializeToString(deterministic=True))


def _services_manager(options: EdgeOptions) -> dict[str, Any]:
    return {
        "stat_prefix": "edge",
        "scoped_routes": scoped_routes(),
        "strip_any_host_port": True,
        "http_filters": [
            switched.off(one) if one["name"] in areas.SWITCHED else one
            for one in _http_filters(_to_grpc(), options)
        ],
        **_manager(options),
    }


def _host_manager(host: Host, options: EdgeOptions) -> dict[str, Any]:
    return {
        "stat_prefix": "hosts",
        "rds": {"config_source": ads(), "route_config_name": host.name},
        "http_filters": _http_filters((), options, logins.filters()),
        # Only where a rule says so.
        "upgrade_configs": [{"upgrade_type": one, "enabled": {"value": False}} for one in UPGRADES],
        **_manager(options),
        **access_log(options, signs_in=True),
    }


def _manager(options: EdgeOptions) -> dict[str, Any]:
    """Return what connection managers have in common, hardened as for the open internet."""
    return {
        "codec_type": "AUTO",
        "local_reply_config": hardening.replies(),
        "early_header_mutation_extensions": [_before_everything()],
        "forward_client_cert_details": "SANITIZE",
        "use_remote_address": {"value": True},
        "normalize_path": {"value": True},
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "server_name": "aerofusion",
        "request_headers_timeout": timedelta(seconds=5),
        "request_timeout": timedelta(0),  # Each route has its own.
        "stream_idle_timeout": timedelta(seconds=300),
        "delayed_close_timeout": timedelta(seconds=1),
        "drain_timeout": timedelta(seconds=5),
        "max_request_headers_kb": {"value": options.request_headers_kib_max},
        "common_http_protocol_options": {
            # No bound on a connection's age: at its end the streams on it would be cut.
            "idle_timeout": options.idle_connection_timeout,
            "max_headers_count": {"value": 64},
            "headers_with_underscores_action": "REJECT_REQUEST",
        },
        "http2_protocol_options": {
            "max_concurrent_streams": {"value": options.streams_per_connection_max},
            "initial_stream_window_size": {"value": 65_536},
            "initial_connection_window_size": {"value": 1_048_576},
            "max_outbound_frames": {"value": 10_000},
            "max_outbound_control_frames": {"value": 1_000},
            "max_consecutive_inbound_frames_with_empty_payload": {"value": 1},
            "max_inbound_priority_frames_per_stream": {"value": 100},
            "max_inbound_window_update_frames_per_data_frame_sent": {"value": 10},
            "connection_keepalive": {
                "interval": timedelta(seconds=30),
                "timeout": timedelta(seconds=10),
            },
        },
        **access_log(options),
        **tracing(options),
    }


def _to_grpc() -> list[dict[str, Any]]:
    """Return what makes gRPC calls of others; hosts don't have it."""
    return [
        _filter("envoy.filters.http.grpc_web", "grpc_web.v3.GrpcWeb"),
        extension(extensions.TRANSCODER, extensions.TRANSCODER_CONFIG),
    ]


def _http_filters(
    to_grpc: Sequence[dict[str, Any]],
    options: EdgeOptions,
    sign_in: Sequence[dict[str, Any]] = (),
) -> list[dict[str, Any]]:
    """
    Return the filters in their order, which is security.

    CORS answers preflights, and grpc_web unwraps, before anything is asked of a caller. Whatever
    has a policy by route stands behind the transcoder: the route is known only there. Browsers are
    signed in before tokens are looked at, since what that gives is one.
    """
    return [
        hardening.shape(),
        *http3.announcement(options),
        *(compressors() if options.compression else ()),
        _filter(routes.CORS, "cors.v3.Cors"),
        *to_grpc,
        _filter(routes.LOCAL_RATELIMIT, "local_ratelimit.v3.LocalRateLimit", stat_prefix="edge"),
        *sign_in,
        extension(issuers.JWT_AUTHN, issuers.JWT_CONFIG),
        extension(issuers.ISSUERS, issuers.ISSUERS_CONFIG),
        _filter(
            _IDENTITY,
            "header_mutation.v3.HeaderMutation",
            mutations={
                "request_mutations": [*issuers.identity_mutations(options), unfollowed()],
                # Endpoints say it to the edge; it is nobody else's business.
                "response_mutations": _LOAD_FORGOTTEN,
                "response_trailers_mutations": _LOAD_FORGOTTEN,
            },
        ),
        extension(revoked.REVOKED, revoked.RBAC_CONFIG),
        extension(revoked.REVOKED_LATELY, revoked.RBAC_CONFIG),
        extension(policies.DENY, revoked.RBAC_CONFIG),
        extension(policies.ALLOW, revoked.RBAC_CONFIG),
        _filter(routes.RBAC, "rbac.v3.RBAC"),
        *limits.filters(),
        # Only what is let through counts: what services answer, by the kind of gRPC status.
        _filter(
            "envoy.filters.http.grpc_stats",
            "grpc_stats.v3.FilterConfig",
            stats_for_all_methods={"value": False},
        ),
        _router(),
    ]


def _router() -> dict[str, Any]:
    return _filter("envoy.filters.http.router", "router.v3.Router")


def _filter(name: str, message: str, **config: Any) -> dict[str, Any]:
    return {"name": name, "typed_config": any_of(f"{_FILTERS}.{message}", **config)}


def _before_everything() -> dict[str, Any]:
    """Return the first mutation: headers that only the edge writes go, traces are followed."""
    return {
        "name": "envoy.http.early_header_mutation.header_mutation",
        "typed_config": any_of(
            "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
            mutations=[
                {"remove_on_match": {"key_matcher": {"prefix": _OUR_HEADERS, "ignore_case": True}}},
                *({"remove": name} for name in hardening.SPOOFABLE),
                *followed(),
            ],
        ),
    }


def _tls(certificate: str, options: EdgeOptions) -> dict[str, Any]:
    """Return the TLS of the public side. A client's certificate is asked for, never demanded."""
    context = _tls_context(certificate, ["h2", "http/1.1"], "TLSv1_2")
    if options.client_roots_pem:
        roots = {"trusted_ca": {"inline_string": options.client_roots_pem}}
        context["common_tls_context"]["validation_context"] = roots
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": any_of(
            "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext", **context
        ),
    }


def _tls_context(certificate: str, protocols: Sequence[str], least: str) -> dict[str, Any]:
    return {
        "common_tls_context": {
            "tls_params": {
                "tls_minimum_protocol_version": least,
                "tls_maximum_protocol_version": "TLSv1_3",
            },
            "alpn_protocols": protocols,
            "tls_certificate_sds_secret_configs": [secret(certificate)],
        }
    }


def _server_name() -> dict[str, Any]:
    """Return the filter that reads the server name (SNI), by which a host's chain is found."""
    return {
        "name": "envoy.filters.listener.tls_inspector",
        "typed_config": any_of("envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"),
    }


def _connection_rate(options: EdgeOptions) -> dict[str, Any]:
    return {
        "name": "envoy.filters.listener.local_ratelimit",
        "typed_config": any_of(
            "envoy.extensions.filters.listener.local_ratelimit.v3.LocalRateLimit",
            stat_prefix="edge_connections",
            token_bucket={
                "max_tokens": options.connections_per_second_max,
                "tokens_per_fill": {"value": options.connections_per_second_max},
                "fill_interval": timedelta(seconds=1),
            },
        ),
    }
