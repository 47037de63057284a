"""What the edge tells telemetry, over OTLP: a log record of each request, and spans of some."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from gateway.compile.envoy_api import any_of


if TYPE_CHECKING:
    from gateway.compile.options import EdgeOptions

_LOG = "envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig"
_TRACER = "envoy.config.trace.v3.OpenTelemetryConfig"
_FOLLOWED = "x-client-trace-id"
"""Envoy traces a call that has this header, whatever lots say."""

_SERVICE_NAME = "edge"
_TIMEOUT = timedelta(seconds=5)
_BODY = "%REQ(X-ENVOY-ORIGINAL-METHOD?:METHOD)% %PATH(NQ)% %RESPONSE_CODE% %GRPC_STATUS%"
_ATTRIBUTES = {
    "http.request.method": "%REQ(X-ENVOY-ORIGINAL-METHOD?:METHOD)%",
    "url.path": "%PATH(NQ)%",
    "rpc.path": "%PATH(NQ:PATH)%",
    "http.response.status_code": "%RESPONSE_CODE%",
    "rpc.grpc.status": "%GRPC_STATUS%",
    "duration_ms": "%DURATION%",
    "upstream_duration_ms": "%RESPONSE_TX_DURATION%",
    "request_bytes": "%BYTES_RECEIVED%",
    "response_bytes": "%BYTES_SENT%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "cluster": "%UPSTREAM_CLUSTER%",
    "route": "%ROUTE_NAME%",
    "upstream": "%UPSTREAM_HOST%",
    "host": "%REQ(:AUTHORITY)%",
    "server_name": "%REQUESTED_SERVER_NAME%",
    "content_type": "%REQ(CONTENT-TYPE)%",
    "client.address": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "user_agent": "%REQ(USER-AGENT)%",
    "subject": "%DYNAMIC_METADATA(envoy.filters.http.jwt_authn:claims:sub)%",
    "tenant": "%DYNAMIC_METADATA(envoy.filters.http.jwt_authn:claims:tenant)%",
    "roles": "%DYNAMIC_METADATA(envoy.filters.http.jwt_authn:claims:roles)%",
    "issuer": "%DYNAMIC_METADATA(envoy.filters.http.jwt_authn:foreign:iss)%",
    "foreign_subject": "%DYNAMIC_METADATA(envoy.filters.http.jwt_authn:foreign:sub)%",
    "certificate_uri": "%DOWNSTREAM_PEER_URI_SAN%",
    "certificate_names": "%DOWNSTREAM_PEER_DNS_SAN%",
    "shadow_deny": "%DYNAMIC_METADATA(envoy.filters.http.rbac:deny_shadow_effective_policy_id)%",
    "shadow_allow": "%DYNAMIC_METADATA(envoy.filters.http.rbac:allow_shadow_engine_result)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
}


def access_log(options: EdgeOptions, *, signs_in: bool = False) -> dict[str, Any]:
    """
    Return the connection manager's access log; none without a telemetry service.

    Args:
        signs_in: Browsers may sign in here. Refusing, the filter for that puts the path with its
            query into the details, and so a code of the provider's: they are left out then.

    """
    if not options.telemetry_service:
        return {}
    if not signs_in:
        return {"access_log": [_log(options, _ATTRIBUTES)]}
    discreet = {key: value for key, value in _ATTRIBUTES.items() if key != "details"}
    said = {"or_filter": {"filters": [_status("NE"), _query(given=False)]}}
    unsaid = {"and_filter": {"filters": [_status("EQ"), _query(given=True)]}}
    return {
        "access_log": [
            {**_log(options, _ATTRIBUTES), "filter": said},
            {**_log(options, discreet), "filter": unsaid},
        ]
    }


def _log(options: EdgeOptions, attributes: dict[str, str]) -> dict[str, Any]:
    return {
        "name": "envoy.access_loggers.open_telemetry",
        "typed_config": any_of(
            _LOG,
            grpc_service=_grpc_service(options),
            log_name=_SERVICE_NAME,
            buffer_flush_interval=timedelta(seconds=1),
            buffer_size_bytes={"value": 65_536},
            disable_builtin_labels=True,
            resource_attributes=_attributes({"service.name": _SERVICE_NAME}),
            body={"string_value": _BODY},
            # Tags become attributes as well, at half the cost, and those without a value none.
            custom_tags=[{"tag": key, "value": value} for key, value in attributes.items()],
        ),
    }


def _status(op: str) -> dict[str, Any]:
    """Return the filter for 401, or for what isn't."""
    value = {"default_value": 401, "runtime_key": "aerofusion.access_log.refused"}
    return {"status_code_filter": {"comparison": {"op": op, "value": value}}}


def _query(*, given: bool) -> dict[str, Any]:
    header = {"name": ":path", "string_match": {"contains": "?"}, "invert_match": not given}
    return {"header_filter": {"header": header}}


def tracing(options: EdgeOptions) -> dict[str, Any]:
    """Return the connection manager's tracing; none without a telemetry service."""
    if not options.telemetry_service:
        return {}
    return {
        "tracing": {
            # By itself the share would hold for traces that callers began, too: `followed`.
            "random_sampling": {"value": options.trace_sampling},
            "spawn_upstream_span": {"value": True},
            "provider": {
                "name": "envoy.tracers.opentelemetry",
                "typed_config": any_of(
                    _TRACER,
                    grpc_service=_grpc_service(options),
                    service_name=_SERVICE_NAME,
                ),
            },
        }
    }


def followed() -> list[dict[str, Any]]:
    """
    Return the mutations by which the trace of a caller that has begun one is followed.

    They come before Envoy draws lots. One that the caller has begun and doesn't want kept
    (W3C Trace Context, the `sampled` flag) is passed on as that.
    """
    return [
        {"remove": _FOLLOWED},
        {
            "append": {
                "header": {"key": _FOLLOWED, "value": "%REQ(TRACEPARENT)%"},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }
        },
    ]


def unfollowed() -> dict[str, Any]:
    """Return the mutation that forgets what `followed` has written; services needn't see it."""
    return {"remove": _FOLLOWED}


def _grpc_service(options: EdgeOptions) -> dict[str, Any]:
    return {"envoy_grpc": {"cluster_name": options.telemetry_service}, "timeout": _TIMEOUT}


def _attributes(values: dict[str, str]) -> dict[str, Any]:
    return {"values": [{"key": key, "value": {"string_value": v}} for key, v in values.items()]}
