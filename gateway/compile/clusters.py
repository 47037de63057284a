"""Services to clusters."""

from __future__ import annotations

import functools
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from gateway.compile.envoy_api import any_of, duration, make
from gateway.compile.sources import CERTIFICATE_SECRET, TRUST_SECRET, ads, secret
from gateway.model import BalancingPolicy, Protocol
from gateway.xds.resources import Resource, resource
from meshkit.identity.spiffe import TRUST_DOMAIN


if TYPE_CHECKING:
    from gateway.model import ExternalTls, HealthCheck, Service

_CLUSTER = "envoy.config.cluster.v3.Cluster"
_CONNECT_TIMEOUT = timedelta(seconds=2)
_BUFFER_BYTES = 256 * 1024
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_TLS_CONTEXT = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
_RETRIES_ALWAYS = 16
"""Retries at once that the budget allows however few calls there are."""

_TLS_1_3 = {
    "tls_minimum_protocol_version": "TLSv1_3",
    "tls_maximum_protocol_version": "TLSv1_3",
}
_POLICIES = {
    BalancingPolicy.LEAST_REQUEST: "LEAST_REQUEST",
    BalancingPolicy.ROUND_ROBIN: "ROUND_ROBIN",
    BalancingPolicy.RING_HASH: "RING_HASH",
    BalancingPolicy.MAGLEV: "MAGLEV",
    BalancingPolicy.RANDOM: "RANDOM",
}
_PROXYLESS_POLICIES = {BalancingPolicy.RING_HASH: "RING_HASH"}
"""What gRPC clients know besides round robin (gRFC A42); they refuse a cluster with another."""

_BY_LOAD = "envoy.load_balancing_policies.client_side_weighted_round_robin"
_POLICIES_OF_LOAD = "envoy.extensions.load_balancing_policies"
_LOAD_BLACKOUT = timedelta(seconds=2)
"""How long an endpoint that has just come is taken as average, while its word is still thin."""

_LOAD_UPDATE = timedelta(seconds=1)
_LOAD_EXPIRY = timedelta(seconds=30)
_ERROR_PENALTY = 1.0
"""Errors a second over calls a second count as so much utilisation."""

_CERTIFICATE_PROVIDER = "default"  # The one every client of ours has in its xDS bootstrap.


def edge_cluster(service: Service) -> Resource:
    """Return the cluster through which Envoy reaches *service*, over mutual TLS in the mesh."""
    message = make(
        _CLUSTER,
        **_common(service),
        **_balancing(service),
        **_watching(service),
        per_connection_buffer_limit_bytes={"value": _BUFFER_BYTES},
        circuit_breakers={"thresholds": [_thresholds(service)]},
        typed_extension_protocol_options={
            _HTTP_OPTIONS: make("google.protobuf.Any", **_http(service))
        },
        transport_socket=_external(service.external_tls)
        if service.external_tls
        else _mesh(service),
    )
    return resource(service.name, message.SerializeToString(deterministic=True))


def proxyless_cluster(service: Service) -> Resource:
    """
    Return the cluster through which a gRPC client reaches *service*.

    Its certificate and roots are the client's own, from the provider `default` of its bootstrap.
    """
    provider = {"instance_name": _CERTIFICATE_PROVIDER}
    message = make(
        _CLUSTER,
        **_common(service),
        lb_policy=_PROXYLESS_POLICIES.get(service.load_balancing.policy, "ROUND_ROBIN"),
        circuit_breakers={
            "thresholds": [{"max_requests": {"value": service.concurrency.requests_max}}]
        },
        transport_socket=_transport(
            common_tls_context={
                "tls_certificate_provider_instance": provider,
                "validation_context": {
                    "ca_certificate_provider_instance": provider,
                    "match_subject_alt_names": [{"prefix": spiffe_prefix(service)}],
                },
            },
        ),
    )
    return resource(service.name, message.SerializeToString(deterministic=True))


def spiffe_prefix(service: Service) -> str:
    """Return how the SPIFFE ids of a service's replicas begin."""
    return f"spiffe://{TRUST_DOMAIN}/{service.identity}/"


def _common(service: Service) -> dict[str, Any]:
    return {
        "name": service.name,
        "type": "EDS",
        "eds_cluster_config": {"eds_config": ads()},
        "connect_timeout": duration(_CONNECT_TIMEOUT),
    }


@functools.cache
def _balancing(service: Service) -> dict[str, Any]:
    balancing = service.load_balancing
    # Left alone, Envoy waits up to a second before calls avoid an endpoint that drains.
    common: dict[str, Any] = {"update_merge_window": duration(timedelta(0))}
    if balancing.weights_from_load:
        policy = _by_load(locality_weighted=balancing.locality_weighted)
        return {"load_balancing_policy": policy, "common_lb_config": common}
    if balancing.locality_weighted:
        common["locality_weighted_lb_config"] = {}
    return {"lb_policy": _POLICIES[balancing.policy], "common_lb_config": common}


def _by_load(*, locality_weighted: bool) -> dict[str, Any]:
    """
    Return weighted round robin by what endpoints say of their load with each answer (ORCA).

    A weight is calls a second over utilisation; who says nothing gets the others' mean weight, and
    what is older than 30 s doesn't count. Each edge finds the weights by itself.
    """
    policy = _policy(
        _BY_LOAD,
        f"{_POLICIES_OF_LOAD}.client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin",
        blackout_period=_LOAD_BLACKOUT,
        weight_update_period=_LOAD_UPDATE,
        weight_expiration_period=_LOAD_EXPIRY,
        error_utilization_penalty={"value": _ERROR_PENALTY},
    )
    if locality_weighted:
        policy = _policy(
            "envoy.load_balancing_policies.wrr_locality",
            f"{_POLICIES_OF_LOAD}.wrr_locality.v3.WrrLocality",
            endpoint_picking_policy={"policies": [policy]},
        )
    return {"policies": [policy]}


def _policy(name: str, message: str, **config: Any) -> dict[str, Any]:
    typed = any_of(message, **config)
    return {"typed_extension_config": {"name": name, "typed_config": typed}}


def _watching(service: Service) -> dict[str, Any]:
    """Return how the edge finds out which endpoints are well."""
    made: dict[str, Any] = {}
    if service.health_check is not None:
        made["health_checks"] = [_health_check(service.health_check)]
        # An endpoint that is taken out of the catalog goes at once, however well it is.
        made["ignore_health_on_host_removal"] = True
    outlier = service.outlier_detection
    if outlier is not None:
        made["outlier_detection"] = {
            "consecutive_5xx": {"value": outlier.consecutive_errors},
            "consecutive_gateway_failure": {"value": outlier.consecutive_errors},
            "enforcing_consecutive_gateway_failure": {"value": 100},
            "interval": outlier.interval,
            "base_ejection_time": outlier.base_ejection_time,
            "max_ejection_percent": {"value": outlier.max_ejection_percent},
        }
    return made


def _health_check(check: HealthCheck) -> dict[str, Any]:
    if check.http_path is not None:
        asked: dict[str, Any] = {"http_health_check": {"path": check.http_path}}
    else:
        asked = {"grpc_health_check": {"service_name": check.grpc_service or ""}}
    return {
        "interval": check.interval,
        "timeout": check.timeout,
        "unhealthy_threshold": {"value": check.unhealthy_threshold},
        "healthy_threshold": {"value": check.healthy_threshold},
        # Without traffic Envoy would check once a minute.
        "no_traffic_interval": check.interval,
        **asked,
    }


def _thresholds(service: Service) -> dict[str, Any]:
    limits = service.concurrency
    return {
        "max_connections": {"value": limits.connections_max},
        "max_pending_requests": {"value": limits.pending_max},
        "max_requests": {"value": limits.requests_max},
        "retry_budget": {
            "budget_percent": {"value": float(limits.retry_budget_percent)},
            "min_retry_concurrency": {"value": _RETRIES_ALWAYS},
        },
    }


def _http(service: Service) -> dict[str, Any]:
    if service.protocol is Protocol.HTTP1:
        return any_of(_HTTP_OPTIONS, explicit_http_config={"http_protocol_options": {}})
    return any_of(
        _HTTP_OPTIONS,
        explicit_http_config={
            "http2_protocol_options": {
                "connection_keepalive": {
                    "interval": duration(timedelta(seconds=30)),
                    "timeout": duration(timedelta(seconds=10)),
                }
            }
        },
    )


def _mesh(service: Service) -> dict[str, Any]:
    """Return TLS with a peer of the mesh: both show who they are."""
    return _transport(
        sni=f"{service.identity}.{TRUST_DOMAIN}",
        common_tls_context={
            "tls_params": _TLS_1_3,
            "alpn_protocols": _alpn(service.protocol),
            "tls_certificate_sds_secret_configs": [secret(CERTIFICATE_SECRET)],
            "combined_validation_context": {
                "default_validation_context": {
                    "match_typed_subject_alt_names": [
                        {"san_type": "URI", "matcher": {"prefix": spiffe_prefix(service)}}
                    ]
                },
                "validation_context_sds_secret_config": secret(TRUST_SECRET),
            },
        },
    )


def _external(tls: ExternalTls) -> dict[str, Any]:
    """Return TLS with somebody outside the mesh, who isn't shown a certificate."""
    return _transport(
        sni=tls.server_name,
        common_tls_context={
            "validation_context": {
                "trusted_ca": {"inline_string": tls.ca_pem},
                "match_typed_subject_alt_names": [
                    {"san_type": "DNS", "matcher": {"exact": tls.server_name}}
                ],
            },
        },
    )


def _alpn(protocol: Protocol) -> list[str]:
    return ["http/1.1"] if protocol is Protocol.HTTP1 else ["h2"]


def _transport(**context: Any) -> dict[str, Any]:
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": any_of(_TLS_CONTEXT, **context),
    }
