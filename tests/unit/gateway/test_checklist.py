"""The edge's listener and bootstrap against the checklist of Envoy's edge best practices, no waivers."""

import string
from pathlib import Path

import pytest
import yaml

from gateway.compile.envoy_api import message_class
from gateway.compile.hardening import SHAPE, SPOOFABLE
from gateway.compile.listeners import edge_listener
from gateway.compile.options import EdgeOptions


ROOT = Path(__file__).parents[3]
MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


@pytest.fixture(scope="module")
def listener():
    body = edge_listener(EdgeOptions()).value
    return message_class("envoy.config.listener.v3.Listener").FromString(body)


@pytest.fixture(scope="module")
def managers(listener):
    made = [
        message_class(MANAGER).FromString(one.typed_config.value)
        for chain in listener.filter_chains
        for one in chain.filters
        if one.typed_config.type_url.endswith(MANAGER)
    ]
    assert made
    return made


@pytest.fixture(scope="module")
def bootstrap():
    text = string.Template((ROOT / "envoy" / "bootstrap.yaml").read_text()).substitute(
        node_id="edge",
        admin_socket="/run/admin.sock",
        relay_socket="/run/relay.sock",
        heap_bytes_max=1 << 29,
        connections_max=1000,
    )
    return yaml.safe_load(text)


def test_buffers_are_bounded_and_handshakes_have_an_end(listener):
    assert 0 < listener.per_connection_buffer_limit_bytes.value <= 1 << 20
    for chain in listener.filter_chains:
        assert 0 < chain.transport_socket_connect_timeout.seconds <= 10
        assert chain.transport_socket.name == "envoy.transport_sockets.tls"


def test_new_connections_are_limited_before_anything_is_read(listener):
    names = [one.name for one in listener.listener_filters]
    assert names[0] == "envoy.filters.listener.local_ratelimit"


def test_requests_are_bounded_in_every_dimension(managers):
    for manager in managers:
        assert 0 < manager.max_request_headers_kb.value <= 60
        assert 0 < manager.common_http_protocol_options.max_headers_count.value <= 100
        assert 0 < manager.request_headers_timeout.seconds <= 10
        assert 0 < manager.stream_idle_timeout.seconds <= 300
        assert 0 < manager.common_http_protocol_options.idle_timeout.seconds <= 3600


def test_http2_is_bounded_against_floods(managers):
    for manager in managers:
        options = manager.http2_protocol_options
        assert 0 < options.max_concurrent_streams.value <= 1_000
        assert 0 < options.initial_stream_window_size.value <= 1 << 20
        assert 0 < options.initial_connection_window_size.value <= 1 << 24
        assert 0 < options.max_outbound_frames.value <= 10_000
        assert 0 < options.max_outbound_control_frames.value <= 1_000
        assert options.max_consecutive_inbound_frames_with_empty_payload.value == 1
        assert 0 < options.max_inbound_priority_frames_per_stream.value <= 100
        assert 0 < options.max_inbound_window_update_frames_per_data_frame_sent.value <= 10
        assert options.connection_keepalive.interval.seconds > 0


def test_paths_and_addresses_have_one_meaning(managers):
    for manager in managers:
        assert manager.use_remote_address.value
        assert manager.xff_num_trusted_hops == 0
        assert manager.normalize_path.value
        assert manager.merge_slashes
        assert manager.path_with_escaped_slashes_action in {2, 4}  # Reject, or redirect.
        assert manager.common_http_protocol_options.headers_with_underscores_action == 1  # Reject.
        assert manager.server_name == "aerofusion"


def test_headers_that_only_the_edge_may_write_are_stripped_first(managers):
    kind = "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"
    for manager in managers:
        (early,) = manager.early_header_mutation_extensions
        mutations = message_class(kind).FromString(early.typed_config.value).mutations
        assert {one.remove for one in mutations if one.remove} >= set(SPOOFABLE)
        (prefix,) = [
            one.remove_on_match.key_matcher for one in mutations if one.HasField("remove_on_match")
        ]
        assert (prefix.prefix, prefix.ignore_case) == ("x-aerofusion-", True)


def test_what_no_client_needs_is_refused_before_any_other_filter(managers):
    for manager in managers:
        assert manager.http_filters[0].name == SHAPE


def test_tokens_are_verified_before_whoever_decides_by_them_and_the_router_is_last(managers):
    for manager in managers:
        names = [one.name for one in manager.http_filters]
        assert names[-1] == "envoy.filters.http.router"
        verifier = names.index("envoy.filters.http.jwt_authn")
        if "envoy.filters.http.grpc_json_transcoder" in names:
            assert names.index("envoy.filters.http.grpc_json_transcoder") < verifier
        assert verifier < names.index("envoy.filters.http.rbac")


@pytest.mark.parametrize("status", [401, 403, 404, 503, 504])
def test_what_the_edge_itself_answers_has_a_fixed_text(managers, status):
    for manager in managers:
        texts = [
            mapper.body.inline_string
            for mapper in manager.local_reply_config.mappers
            for one in (mapper.filter, *mapper.filter.and_filter.filters)
            if one.status_code_filter.comparison.value.default_value == status
        ]
        assert len(texts) == 1
        assert texts[0]


def test_tls_is_1_2_at_least(listener):
    kind = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
    for chain in listener.filter_chains:
        context = message_class(kind).FromString(chain.transport_socket.typed_config.value)
        assert context.common_tls_context.tls_params.tls_minimum_protocol_version >= 3


def test_the_admin_interface_is_a_unix_socket_of_the_owners(bootstrap):
    pipe = bootstrap["admin"]["address"]["pipe"]
    assert pipe == {"path": "/run/admin.sock", "mode": 0o600}
    assert "listeners" not in bootstrap["static_resources"]


def test_the_overload_manager_sheds_load_before_the_heap_is_full(bootstrap):
    manager = bootstrap["overload_manager"]
    monitors = {one["name"] for one in manager["resource_monitors"]}
    assert monitors >= {
        "envoy.resource_monitors.fixed_heap",
        "envoy.resource_monitors.global_downstream_max_connections",
    }
    actions = {one["name"].rpartition(".")[2] for one in manager["actions"]}
    assert actions == {
        *("shrink_heap", "reduce_timeouts", "reset_high_memory_stream"),
        *("disable_http_keepalive", "stop_accepting_requests"),
    }
    points = {one["name"].rpartition(".")[2] for one in manager["loadshed_points"]}
    assert points == {"tcp_listener_accept", "http2_server_go_away_on_dispatch"}


def test_rapid_resets_and_large_regular_expressions_are_bounded(bootstrap):
    (layer,) = bootstrap["layered_runtime"]["layers"]
    values = layer["static_layer"]
    assert 0 < values["overload.premature_reset_total_stream_count"] <= 500
    assert 0 < values["overload.premature_reset_min_stream_lifetime_seconds"] <= 1
    assert 0 < values["http.max_requests_per_io_cycle"] <= 100
    assert values["re2.max_program_size.error_level"] <= 200
