"""
One quota over three edges: how near the sum of what they let through comes to it.

Three real Envoys, with the filters that the compiler makes for the quota, ask a real gateway over
mutual TLS; `h2load` calls them, 80 % of the calls at the first. They answer themselves: what is
measured is the quota, not what is behind it.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from google.protobuf import json_format

from aerofusion.gateway.v1 import (
    limit_pb2,
    limit_service_pb2,
    limit_service_pb2_grpc,
    object_pb2,
    service_pb2,
)
from bench.control_plane import ControlPlane, free_port, listens, until
from gateway.compile import limits
from gateway.compile.envoy_api import message_class, pool
from gateway.compile.inputs import Inputs
from gateway.compile.options import EdgeOptions
from gateway.model import Catalog
from gateway.services.convert import object_in
from meshctl.parts.edge import packaged_binary
from meshkit.identity import Workload
from meshkit.settings import MeshSettings


if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.report import Report

LIMIT: Final = 2_000
BURST: Final = 400
CONNECTIONS: Final = 4
OFFERED: Final = (2_400, 300, 300)
"""Calls a second at each edge: 80 %, 10 % and 10 % of one and a half times the limit."""

FIRST_S: Final = 10
SETTLE_S: Final = 15
STEADY_S: Final = 30
NAME: Final = "limits/bench"
_EXTENSION = "envoy.config.core.v3.TypedExtensionConfig"


def measure(report: Report) -> None:
    """Take the figures; about two minutes."""
    if shutil.which("h2load") is None:
        raise SystemExit("bench: quotas need h2load; apt-get install nghttp2-client")
    with ControlPlane(preflight=False) as plane:
        service = service_pb2.Service(name="services/gateway", identity="gateway")
        service.endpoints.add(address="127.0.0.1", port=plane.gateway_port)
        limit = limit_pb2.Limit(
            name=NAME, strength=limit_pb2.Limit.STRENGTH_QUOTA, requests=LIMIT, burst=BURST
        )
        plane.apply([object_pb2.Object(service=service), object_pb2.Object(limit=limit)])
        ports = [_start_edge(plane, number, limit) for number in range(len(OFFERED))]
        _, first = _load(ports, FIRST_S)
        report.add(
            "rlqs_overshoot_pct",
            100 * max(0.0, sum(first) / (LIMIT * FIRST_S) - 1),
            bound="<= 10",
            samples=[one / FIRST_S for one in first],
        )
        _load(ports, SETTLE_S)
        before = _reports(plane)
        made, steady = _load(ports, STEADY_S)
        reports = _reports(plane) - before
        report.add(
            "rlqs_error_pct",
            100 * abs(sum(steady) / (LIMIT * STEADY_S) - 1),
            bound="<= 5",
            samples=[one / STEADY_S for one in steady],
        )
        # Each report is answered once: two messages.
        report.add("rlqs_requests_per_rpc", sum(made) / (2 * max(1, reports)), bound=">= 1000")
        # Below the limit the generator was too slow, and the figures above mean nothing.
        report.add("rlqs_offered_per_s", sum(made) / STEADY_S, bound=f">= {LIMIT * 6 // 5}")


def _reports(plane: ControlPlane) -> int:
    stub = limit_service_pb2_grpc.LimitServiceStub(plane.channel)
    return int(stub.GetUsage(limit_service_pb2.GetUsageRequest()).reports)


def _start_edge(plane: ControlPlane, number: int, limit: limit_pb2.Limit) -> int:
    """Start an Envoy with the identity `edge/<number>`; returns its port."""
    port, name = free_port(), f"quota-edge-{number}"
    identity = plane.folder / "identities" / name
    settings = MeshSettings(
        gateway_address=f"127.0.0.1:{plane.gateway_port}",
        identity_dir=identity,
        join_file=plane.ticket("edge", str(number)),
        replica=str(number),
    )
    material = asyncio.run(Workload.open(settings, "edge")).material
    path = plane.folder / f"{name}.json"
    path.touch(0o600)
    path.write_text(json.dumps(_bootstrap(plane, port, limit, material)))
    options = ["--use-dynamic-base-id", "--concurrency", "1", "-l", "warning"]
    plane.start(name, [packaged_binary(), "-c", path, *options])
    until(lambda: listens(port), name)
    return port


def _bootstrap(
    plane: ControlPlane, port: int, limit: limit_pb2.Limit, material: Any
) -> dict[str, Any]:
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network"
        ".http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "codec_type": "HTTP2",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}],
                }
            ]
        },
        "http_filters": [*_filters(limit), _router()],
    }
    listener = {
        "address": _address(port),
        "filter_chains": [{"filters": [{"name": "manager", "typed_config": manager}]}],
    }
    return {
        "static_resources": {
            "listeners": [listener],
            "clusters": [_gateway(plane.gateway_port, material)],
        }
    }


def _filters(limit: limit_pb2.Limit) -> list[dict[str, Any]]:
    """Return the filters that the compiler makes for the limit."""
    made = object_in(object_pb2.Object(limit=limit))
    inputs = Inputs(catalog=Catalog.of(1, (made,)))
    found = {part.name: part.value for _, part in limits.compile_limits(inputs, EdgeOptions())}
    return [
        json_format.MessageToDict(
            message_class(_EXTENSION).FromString(found[one["name"]]),
            preserving_proto_field_name=True,
            descriptor_pool=pool(),
        )
        for one in limits.filters()
    ]


def _router() -> dict[str, Any]:
    kind = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
    return {"name": "router", "typed_config": {"@type": kind}}


def _gateway(port: int, material: Any) -> dict[str, Any]:
    tls = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "sni": "gateway.aerofusion",
        "common_tls_context": {
            "tls_params": {"tls_maximum_protocol_version": "TLSv1_3"},
            "alpn_protocols": ["h2"],
            "tls_certificates": [
                {
                    "certificate_chain": {"inline_string": material.chain_pem.decode()},
                    "private_key": {"inline_string": material.key_pem.decode()},
                }
            ],
            "validation_context": {"trusted_ca": {"inline_string": material.bundle_pem.decode()}},
        },
    }
    http2 = {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    endpoint = {"endpoint": {"address": _address(port)}}
    name = "services/gateway"
    return {
        "name": name,
        "type": "STATIC",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "transport_socket": {"name": "tls", "typed_config": tls},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2
        },
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _load(ports: Sequence[int], seconds: int) -> tuple[list[int], list[int]]:
    """Call all edges at once for so long; returns how many calls each got and let through."""
    with ThreadPoolExecutor(len(ports)) as threads:
        found = list(threads.map(_calls, ports, OFFERED, [seconds] * len(ports)))
    return [made for made, _ in found], [allowed for _, allowed in found]


def _calls(port: int, rate: int, seconds: int) -> tuple[int, int]:
    # h2load sends in ticks, and no more at once than -m: a small one would bound the rate.
    words = ["h2load", f"--clients={CONNECTIONS}", "-m", "250", f"--duration={seconds}"]
    words.append(f"--rps={rate / CONNECTIONS:g}")
    done = subprocess.run(
        [*words, f"http://127.0.0.1:{port}/bench.v1.Quota/Call"],
        capture_output=True,
        text=True,
        check=True,
    )
    status = re.search(r"status codes: (\d+) 2xx, \d+ 3xx, (\d+) 4xx", done.stdout)
    assert status is not None, done.stdout
    return int(status[1]) + int(status[2]), int(status[1])
