"""HTTP/3: the same filter chains once more, on a UDP listener beside the TCP one."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from gateway.compile.envoy_api import any_of


if TYPE_CHECKING:
    from gateway.compile.options import EdgeOptions

LISTENER = "edge_http3"
_MUTATION = "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation"
_QUIC = "envoy.extensions.transport_sockets.quic.v3.QuicDownstreamTransport"
_KNOWN_S = 86_400


def announcement(options: EdgeOptions) -> list[dict[str, Any]]:
    """Return the filter that tells callers over TCP of HTTP/3 (RFC 7838); none if it is off."""
    if not options.http3:
        return []
    value = f'h3=":{options.http3_port or options.port}"; ma={_KNOWN_S}'
    said = {
        "append": {
            "header": {"key": "alt-svc", "value": value},
            "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
        }
    }
    return [
        {
            "name": "envoy.filters.http.header_mutation",
            "typed_config": any_of(_MUTATION, mutations={"response_mutations": [said]}),
        }
    ]


def listener_parts(options: EdgeOptions) -> dict[str, Any]:
    """
    Return what makes a listener one of QUIC's.

    Its sockets are shared among Envoy's workers, or several workers couldn't listen at all.
    """
    return {
        "name": LISTENER,
        "address": {
            "socket_address": {
                "protocol": "UDP",
                "address": options.address,
                "port_value": options.port,
            }
        },
        "udp_listener_config": {"quic_options": {}},
        "enable_reuse_port": {"value": True},
    }


def transport(tls: dict[str, Any]) -> dict[str, Any]:
    """Return QUIC's transport with *tls*, the fields of a DownstreamTlsContext. No early data."""
    return {
        "name": "envoy.transport_sockets.quic",
        "typed_config": any_of(
            _QUIC, downstream_tls_context=tls, enable_early_data={"value": False}
        ),
    }


def manager_parts(options: EdgeOptions) -> dict[str, Any]:
    """Return what differs in a connection manager of HTTP/3."""
    return {
        "codec_type": "HTTP3",
        "http3_protocol_options": {
            "quic_protocol_options": {
                "max_concurrent_streams": {"value": min(options.streams_per_connection_max, 256)},
                "initial_stream_window_size": {"value": 65_536},
                "initial_connection_window_size": {"value": 1_048_576},
                "connection_keepalive": {"max_interval": timedelta(seconds=30)},
            }
        },
    }
