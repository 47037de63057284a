"""Services to clusters."""

from __future__ import annotations

import functools
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from gateway.compile.envoy_api import any_of, make
from gateway.compile.sources import CERTIFICATE_SECRET, TRUST_SECRET, ads, secret
from gateway.xds.resources import Resource, resource
from meshkit.identity.spiffe import TRUST_DOMAIN


if TYPE_CHECKING:
    from gateway.model import Service

_CLUSTER = "envoy.config.cluster.v3.Cluster"
_CONNECT_TIMEOUT = timedelta(seconds=2)
_BUFFER_BYTES = 256 * 1024
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_TLS_CONTEXT = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
_CERTIFICATE_PROVIDER = "default"  # The one every client of ours has in its xDS bootstrap.


def edge_cluster(service: Service) -> Resource:
    """Return the cluster through which Envoy reaches *service*: HTTP/2 over mutual TLS."""
    message = make(
        _CLUSTER,
        **_common(service),
        lb_policy="LEAST_REQUEST",
        per_connection_buffer_limit_bytes={"value": _BUFFER_BYTES},
        circuit_breakers={"thresholds": [_thresholds(service)]},
        typed_extension_protocol_options={_HTTP_OPTIONS: make("google.protobuf.Any", **_http2())},
        transport_socket=_transport(
            sni=f"{service.identity}.{TRUST_DOMAIN}",
            common_tls_context={
                "tls_params": {
                    "tls_minimum_protocol_version": "TLSv1_3",
                    "tls_maximum_protocol_version": "TLSv1_3",
                },
                "alpn_protocols": ["h2"],
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
        ),
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
        lb_policy="ROUND_ROBIN",
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
        "connect_timeout": _CONNECT_TIMEOUT,
    }


def _thresholds(service: Service) -> dict[str, Any]:
    limits = service.concurrency
    return {
        "max_connections": {"value": limits.connections_max},
        "max_pending_requests": {"value": limits.pending_max},
        "max_requests": {"value": limits.requests_max},
        "max_retries": {"value": 16},
    }


@functools.cache
def _http2() -> dict[str, Any]:
    return any_of(
        _HTTP_OPTIONS,
        explicit_http_config={
            "http2_protocol_options": {
                "connection_keepalive": {
                    "interval": timedelta(seconds=30),
                    "timeout": timedelta(seconds=10),
                }
            }
        },
    )


def _transport(**context: Any) -> dict[str, Any]:
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": any_of(_TLS_CONTEXT, **context),
    }
