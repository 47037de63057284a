"""Envoy's response flags and response code details, in words."""

from __future__ import annotations

import re
from collections.abc import Sequence


FLAGS = {
    "DC": "the client closed the connection before the answer was complete",
    "DF": "a name could not be resolved",
    "DI": "a fault was injected: the request was delayed",
    "DO": "the overload manager dropped the request",
    "DPE": "the client broke the HTTP protocol",
    "DR": "the client reset the stream",
    "DT": "the longest time for a request or a connection was over",
    "FI": "a fault was injected: the request was aborted",
    "IH": "a header had a value that is not allowed",
    "LH": "the upstream failed its health check",
    "LR": "the edge reset the connection",
    "NC": "the route's cluster doesn't exist",
    "NFCF": "no filter configuration came in time",
    "NR": "no route, or no filter chain, fits the request",
    "OM": "the overload manager ended the request",
    "RFCF": "the answer of a filter was refused",
    "RL": "a local or global rate limit refused the request",
    "RLSE": "the rate limit service failed",
    "SI": "the stream was idle for too long",
    "UAEX": "the authorization service refused the request",
    "UC": "the service closed the connection before it had answered",
    "UF": "the connection to the service failed",
    "UH": "the cluster has no healthy endpoint",
    "UMSDR": "the longest duration of a stream was over",
    "UO": "a circuit breaker was open: too much under way towards the service",
    "UPE": "the service broke the HTTP protocol",
    "UR": "the service reset the stream",
    "URX": "all retries, or all attempts to connect, were used up",
    "UT": "the service took longer than the route allows",
}
"""RESPONSE_FLAGS."""

DETAILS = {
    "absolute_path_rejected": "the path didn't begin with /",
    "admin_filter_response": "Envoy's admin interface answered",
    "cluster_not_found": "the route's cluster doesn't exist",
    "codec_error": "the request broke the HTTP protocol",
    "cors_response": "CORS answered a preflight",
    "direct_response": "the route answers by itself",
    "downstream_remote_disconnect": "the client closed the connection",
    "downstream_local_disconnect": "the edge closed the client's connection",
    "duration_timeout": "the connection's longest duration was over",
    "filter_chain_not_found": "no filter chain takes the server name",
    "filter_config_not_found": "the configuration of a filter hadn't come yet",
    "local_rate_limited": "a local bucket was empty",
    "max_duration_timeout": "the longest duration of the call was over",
    "missing_host_header": "the request had no host",
    "missing_path_rejected": "the request had no path",
    "no_healthy_upstream": "the cluster has no healthy endpoint",
    "overload": "the edge is overloaded",
    "path_normalization_failed": "the path can't be normalised, or has an escaped slash",
    "per_try_timeout": "an attempt took longer than it may",
    "rate_limit_quota": "the quota of this edge was used up",
    "request_headers_failed_strict_check": "a header isn't allowed",
    "request_header_timeout": "the request's headers took too long",
    "request_overall_timeout": "the request took too long",
    "request_payload_too_large": "the body was too large",
    "request_rate_limited": "the rate limit service refused the request",
    "response_payload_too_large": "the answer was too large",
    "response_timeout": "the service took longer than the route allows",
    "route_configuration_not_found": "the routes hadn't come yet",
    "route_not_found": "no route fits the request",
    "stream_idle_timeout": "the stream was idle for too long",
    "upgrade_failed": "an upgrade isn't allowed here",
    "upstream_max_stream_duration_reached": "the longest duration of the call was over",
    "upstream_per_try_timeout": "an attempt took longer than it may",
    "upstream_response_timeout": "the service took longer than the route allows",
    "via_upstream": "the service answered",
    "http1.unexpected_underscore": "a header's name had an underscore",
    "http2.unexpected_underscore": "a header's name had an underscore",
}
"""RESPONSE_CODE_DETAILS without what stands in brackets."""

PREFIXES = {
    "early_grpc_json_transcode_failure": "the JSON call can't become a gRPC call",
    "grpc_json_transcode_failure": "the JSON body can't become a gRPC message",
    "http1.": "the HTTP/1.1 codec refused the request",
    "http2.": "the HTTP/2 codec refused the request",
    "http3.": "the HTTP/3 codec refused the request",
    "jwt_authn_access_denied": "the token was refused",
    "rbac_access_denied_matched_policy": "RBAC refused the caller",
    "upstream_reset_before_response_started": "the service's stream ended before it answered",
    "upstream_reset_after_response_started": "the service's stream ended amid its answer",
    "internal_redirect": "an internal redirect wasn't followed",
}
"""Beginnings of details that go on with particulars."""

_PARTICULARS = re.compile(r"[\[{](.*)[\]}]")


def meanings(flags: str, details: str) -> Sequence[str]:
    """Return what an access log's flags and details mean, a sentence each."""
    found = [
        f"{flag}: {FLAGS.get(flag, 'a flag that is not known here')}."
        for flag in flags.split(",")
        if flag not in ("", "-")
    ]
    if details and details != "-":
        found.append(f"{details}: {_detail(details)}.")
    return found


def _detail(details: str) -> str:
    if details in DETAILS:
        return DETAILS[details]
    for prefix, words in PREFIXES.items():
        if details.startswith(prefix):
            particulars = _PARTICULARS.search(details)
            return f"{words} ({particulars[1].replace('_', ' ')})" if particulars else words
    return "details that are not known here"
