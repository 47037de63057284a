"""The upstream, and the bare proxies that the edge is measured beside, each with one worker."""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from aerofusion.gateway.v1 import object_pb2, service_pb2
from bench.control_plane import free_port, listens, until
from meshctl.parts.edge import packaged_binary
from meshkit.identity import IdentityFolder, Workload


if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.control_plane import ControlPlane

GRPC_SERVICE = "bench.cost.v1.Api"
PATH = f"/{GRPC_SERVICE}/Get"
EXPORTS = tuple(
    f"/opentelemetry.proto.collector.{signal}.v1.{name}/Export"
    for signal, name in (("logs", "LogsService"), ("trace", "TraceService"))
)
TOOLS = ("h2load", "nghttpd", "nginx", "haproxy")
UPSTREAM = "bench"
TELEMETRY = "telemetry"
_TICKS = os.sysconf("SC_CLK_TCK")
_PROXY_CORE, _OTHER_CORE = 0, 1


@dataclass(frozen=True, slots=True)
class Proxy:
    """Something that forwards calls, or answers them."""

    name: str
    pid: int
    port: int

    def cpu_s(self) -> float:
        """Seconds of a core that it has used, in user and in kernel mode."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS


@dataclass(frozen=True, slots=True)
class Files:
    """An identity of the mesh as files."""

    key: Path
    chain: Path
    bundle: Path


def missing() -> Sequence[str]:
    """Return the tools that aren't there."""
    return [one for one in TOOLS if shutil.which(one) is None]


def identity(plane: ControlPlane, service: str) -> Files:
    """Have *service* join the mesh; returns its files."""
    settings = plane.client_settings(service)
    asyncio.run(Workload.open(settings, service))
    folder = IdentityFolder(settings.identity_dir)
    return Files(folder.key, folder.chain, folder.bundle)


def upstream(plane: ControlPlane, service: str, files: Files) -> Proxy:
    """
    Start a server that answers every call with an empty message, and put it into the catalog.

    It is C and answers from memory, so that it is never what limits.
    """
    root = plane.folder / f"{service}-root"
    for path in (PATH, *EXPORTS):
        file = root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes(5))
    port = free_port()
    words = ["nghttpd", "-n1", f"--htdocs={root}", "--trailer=grpc-status: 0", "--verify-client"]
    # A proxy learns of a smaller maximum only once it has sent more.
    words += ["--max-concurrent-streams=1000"]
    words += ["--address=127.0.0.1", str(port), str(files.key), str(files.chain)]
    pid = plane.start(service, words)
    until(lambda: listens(port), service)
    pin(pid, _OTHER_CORE)
    plane.apply([object_pb2.Object(service=catalogued(service, port))])
    return Proxy(service, pid, port)


def catalogued(service: str, port: int) -> service_pb2.Service:
    """The catalog's object for the upstream, open to passengers, or for telemetry."""
    made = service_pb2.Service(
        name=f"services/{service}",
        identity=service,
        endpoints=[service_pb2.Endpoint(address="127.0.0.1", port=port)],
    )
    if service == UPSTREAM:
        made.grpc_services.append(GRPC_SERVICE)
        made.access.roles.append("passenger")
    return made


def bare_envoy(plane: ControlPlane, files: Files, to: Proxy) -> Proxy:
    """Start the same Envoy with the same TLS on both sides, and one route."""
    options = ["--use-dynamic-base-id", "--concurrency", "1", "-l", "warning"]
    path, port = _configured(plane, "envoy-bare", _ENVOY, files, to)
    return _started(plane, "envoy-bare", port, [packaged_binary(), "-c", path, *options])


def nginx(plane: ControlPlane, files: Files, to: Proxy) -> Proxy:
    """Start nginx as a gRPC proxy with the same TLS on both sides."""
    path, port = _configured(plane, "nginx", _NGINX, files, to)
    return _started(plane, "nginx", port, ["nginx", "-p", plane.folder, "-c", path])


def haproxy(plane: ControlPlane, files: Files, to: Proxy) -> Proxy:
    """Start HAProxy as a gRPC proxy with the same TLS on both sides."""
    path, port = _configured(plane, "haproxy", _HAPROXY, files, to)
    return _started(plane, "haproxy", port, ["haproxy", "-db", "-f", path])


def pin(pid: int, core: int) -> None:
    """Keep a process on one core, where there are several."""
    if len(os.sched_getaffinity(0)) > 1:
        for task in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(task.name), {core})


def pin_proxy(proxy: Proxy) -> None:
    """Keep a proxy on a core of its own."""
    pin(proxy.pid, _PROXY_CORE)


def other_core() -> Sequence[str]:
    """Return the words before a command that is to stay off the proxies' core."""
    return ("taskset", "-c", str(_OTHER_CORE)) if len(os.sched_getaffinity(0)) > 1 else ()


def _configured(
    plane: ControlPlane, name: str, template: str, files: Files, to: Proxy
) -> tuple[Path, int]:
    """Write a proxy's configuration; returns it, and the port in it."""
    both = plane.folder / f"{name}.pem"
    both.write_bytes(files.chain.read_bytes() + files.key.read_bytes())
    both.chmod(0o600)
    port = free_port()
    path = plane.folder / f"{name}.yaml"  # Envoy goes by the ending.
    path.write_text(
        Template(template).substitute(
            port=port,
            upstream=to.port,
            key=files.key,
            chain=files.chain,
            bundle=files.bundle,
            both=both,
            folder=plane.folder,
        )
    )
    return path, port


def _started(plane: ControlPlane, name: str, port: int, words: Sequence[object]) -> Proxy:
    pid = plane.start(name, words)
    until(lambda: listens(port), name)
    made = Proxy(name, pid, port)
    pin_proxy(made)
    return made


_ENVOY = """
static_resources:
  listeners:
    - name: bare
      address: {socket_address: {address: 127.0.0.1, port_value: $port}}
      filter_chains:
        - transport_socket:
            name: envoy.transport_sockets.tls
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
              common_tls_context:
                alpn_protocols: [h2]
                tls_certificates: [{certificate_chain: {filename: "$chain"}, private_key: {filename: "$key"}}]
          filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: bare
                http_filters:
                  - name: envoy.filters.http.router
                    typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
                route_config:
                  virtual_hosts:
                    - name: all
                      domains: ["*"]
                      routes: [{match: {prefix: /}, route: {cluster: upstream}}]
  clusters:
    - name: upstream
      type: STATIC
      load_assignment:
        cluster_name: upstream
        endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: $upstream}}}}]}]
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
          sni: bench.aerofusion
          common_tls_context:
            tls_params: {tls_maximum_protocol_version: TLSv1_3}
            alpn_protocols: [h2]
            tls_certificates: [{certificate_chain: {filename: "$chain"}, private_key: {filename: "$key"}}]
            validation_context: {trusted_ca: {filename: "$bundle"}}
      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: {http2_protocol_options: {}}
"""

_NGINX = """
daemon off;
master_process off;
pid $folder/nginx.pid;
error_log $folder/nginx-errors.log;
events { worker_connections 1024; }
http {
  access_log off;
  client_body_temp_path $folder/nginx-body;
  proxy_temp_path $folder/nginx-proxy;
  fastcgi_temp_path $folder/nginx-fastcgi;
  uwsgi_temp_path $folder/nginx-uwsgi;
  scgi_temp_path $folder/nginx-scgi;
  keepalive_requests 100000000;
  upstream bench { server 127.0.0.1:$upstream; keepalive 64; keepalive_requests 100000000; }
  server {
    listen 127.0.0.1:$port ssl http2;
    ssl_certificate $chain;
    ssl_certificate_key $key;
    large_client_header_buffers 8 16k;
    location / {
      grpc_pass grpcs://bench;
      grpc_ssl_certificate $chain;
      grpc_ssl_certificate_key $key;
      grpc_ssl_trusted_certificate $bundle;
      grpc_ssl_verify on;
      grpc_ssl_name bench.aerofusion;
    }
  }
}
"""

_HAPROXY = """
global
  nbthread 1
  maxconn 2000
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend edge
  bind 127.0.0.1:$port ssl crt $both alpn h2
  default_backend upstream
backend upstream
  http-reuse always
  server one 127.0.0.1:$upstream ssl crt $both ca-file $bundle verify required verifyhost bench.aerofusion alpn h2
"""
