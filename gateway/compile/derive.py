"""
Derives `envoy_api.binpb`: descriptors of the part of Envoy's API that the compiler speaks.

    python -m gateway.compile.derive            write it
    python -m gateway.compile.derive --check    fail if it is stale

`envoy-data-plane` holds that API as dataclasses that are slow to build and to encode. Their
field metadata is enough to declare the same messages to protobuf's own runtime; the gateway
loads only the result (see `envoy_api`). Names of messages are the real ones, since `Any`
needs them; an enum's is not, since nothing on the wire names it.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import importlib
import keyword
import sys
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2

from gateway.compile.envoy_api import DESCRIPTORS, WELL_KNOWN_FILES


ROOTS = (
    "envoy.config.cluster.v3.Cluster",
    "envoy.config.core.v3.TypedExtensionConfig",
    "envoy.config.endpoint.v3.ClusterLoadAssignment",
    "envoy.config.listener.v3.Listener",
    "envoy.config.rbac.v3.Action",
    "envoy.config.route.v3.FilterConfig",
    "envoy.config.route.v3.RouteConfiguration",
    "envoy.config.route.v3.ScopedRouteConfiguration",
    "envoy.config.trace.v3.OpenTelemetryConfig",
    "envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig",
    "envoy.extensions.compression.brotli.compressor.v3.Brotli",
    "envoy.extensions.compression.gzip.compressor.v3.Gzip",
    "envoy.extensions.compression.zstd.compressor.v3.Zstd",
    "envoy.extensions.filters.http.compressor.v3.Compressor",
    "envoy.extensions.filters.http.cors.v3.Cors",
    "envoy.extensions.filters.http.cors.v3.CorsPolicy",
    "envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
    "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig",
    "envoy.extensions.filters.http.grpc_web.v3.GrpcWeb",
    "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
    "envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute",
    "envoy.extensions.filters.http.header_to_metadata.v3.Config",
    "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
    "envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig",
    "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
    "envoy.extensions.filters.http.lua.v3.Lua",
    "envoy.extensions.filters.http.lua.v3.LuaPerRoute",
    "envoy.extensions.filters.http.oauth2.v3.OAuth2",
    "envoy.extensions.filters.http.oauth2.v3.OAuth2PerRoute",
    "envoy.extensions.filters.http.rate_limit_quota.v3.RateLimitQuotaBucketSettings",
    "envoy.extensions.filters.http.rate_limit_quota.v3.RateLimitQuotaFilterConfig",
    "envoy.extensions.filters.http.ratelimit.v3.RateLimit",
    "envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute",
    "envoy.extensions.filters.http.rbac.v3.RBAC",
    "envoy.extensions.filters.http.rbac.v3.RBACPerRoute",
    "envoy.extensions.filters.http.router.v3.Router",
    "envoy.extensions.filters.listener.local_ratelimit.v3.LocalRateLimit",
    "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
    "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
    "envoy.extensions.load_balancing_policies.client_side_weighted_round_robin.v3"
    ".ClientSideWeightedRoundRobin",
    "envoy.extensions.load_balancing_policies.wrr_locality.v3.WrrLocality",
    "envoy.extensions.rbac.principals.mtls_authenticated.v3.Config",
    "envoy.extensions.transport_sockets.quic.v3.QuicDownstreamTransport",
    "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
    "envoy.extensions.transport_sockets.tls.v3.Secret",
    "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
    "envoy.service.discovery.v3.DeltaDiscoveryRequest",
    "envoy.service.discovery.v3.DeltaDiscoveryResponse",
    "envoy.service.discovery.v3.DiscoveryRequest",
    "envoy.service.discovery.v3.DiscoveryResponse",
    "envoy.service.status.v3.ClientStatusRequest",
    "envoy.service.status.v3.ClientStatusResponse",
    "envoy.service.rate_limit_quota.v3.RateLimitQuotaResponse",
    "envoy.service.rate_limit_quota.v3.RateLimitQuotaUsageReports",
    "envoy.service.ratelimit.v3.RateLimitRequest",
    "envoy.service.ratelimit.v3.RateLimitResponse",
    "envoy.service.load_stats.v3.LoadStatsRequest",
    "envoy.service.load_stats.v3.LoadStatsResponse",
    "envoy.type.matcher.v3.HttpRequestHeaderMatchInput",
)
"""What is sent or received; everything these refer to comes along."""

_PACKAGE = "envoy_data_plane"
_FIELD = descriptor_pb2.FieldDescriptorProto


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m gateway.compile.derive")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    args = parser.parse_args(argv)
    fresh = derive(ROOTS)
    if not args.check:
        DESCRIPTORS.write_bytes(fresh)
        return 0
    if DESCRIPTORS.read_bytes() != fresh:
        sys.stderr.write(f"{DESCRIPTORS.name} is stale; run python -m gateway.compile.derive\n")
        return 1
    return 0


def derive(roots: tuple[str, ...]) -> bytes:
    """Return a serialised FileDescriptorSet of *roots* and all they refer to, in order of use."""
    names = _message_names()
    units: dict[str, _Unit] = {}
    for root in roots:
        _collect(names, _top_level(root), units)
    result = descriptor_pb2.FileDescriptorSet()
    groups = _in_order(units)
    home = {name: f"{group[0]}.proto" for group in groups for name in group}
    result.file.extend(_file(group, units, home) for group in groups)
    return result.SerializeToString(deterministic=True)


@dataclasses.dataclass(kw_only=True)
class _Unit:
    """One top-level message or enum with all that is nested in it."""

    package: str
    message: descriptor_pb2.DescriptorProto
    uses: set[str]
    """Full names of top-level units and paths of well-known files."""


@dataclasses.dataclass(frozen=True)
class _Names:
    by_class: dict[type, str]
    by_name: dict[str, type]
    children: dict[str, list[str]]
    """Of a top-level message, the full names of it and of everything nested in it."""


def _message_names() -> _Names:
    """Import every package of the API and read the registry of real names."""
    package = importlib.import_module(_PACKAGE)
    assert package.__file__ is not None, "envoy-data-plane is a package"
    folder = Path(package.__file__).parent
    for path in sorted(folder.rglob("__init__.py")):
        parts = path.parent.relative_to(folder).parts
        importlib.import_module(".".join((_PACKAGE, *parts)))
    pool = importlib.import_module(f"{_PACKAGE}.message_pool").default_message_pool
    by_name = {
        url.removeprefix("type.googleapis.com/"): cls for url, cls in pool.url_to_type.items()
    }
    children: dict[str, list[str]] = {}
    for name in sorted(by_name):
        children.setdefault(_top_level(name), []).append(name)
    return _Names({cls: name for name, cls in by_name.items()}, by_name, children)


def _top_level(name: str) -> str:
    """Return the name of the top-level message around *name*: packages are in lower case."""
    parts = name.split(".")
    first = next(i for i, part in enumerate(parts) if part[0].isupper())
    return ".".join(parts[: first + 1])


def _collect(names: _Names, root: str, units: dict[str, _Unit]) -> None:
    """Declare *root* and whatever it refers to."""
    waiting = [root]
    while waiting:
        name = waiting.pop()
        if name in units:
            continue
        package, _, short = name.rpartition(".")
        unit = _Unit(
            package=package, message=descriptor_pb2.DescriptorProto(name=short), uses=set()
        )
        units[name] = unit
        for nested in sorted(names.children[name], key=lambda full: full.count(".")):
            target = unit.message
            for part in nested.removeprefix(name).split(".")[1:]:
                target = next((m for m in target.nested_type if m.name == part), None) or (
                    target.nested_type.add(name=part)
                )
            _declare_fields(names, names.by_name[nested], nested, target, units=units, unit=unit)
        waiting += sorted(use for use in unit.uses if not use.endswith(".proto"))


def _declare_fields(
    names: _Names,
    cls: Any,
    full_name: str,
    message: descriptor_pb2.DescriptorProto,
    *,
    units: dict[str, _Unit],
    unit: _Unit,
) -> None:
    groups: dict[str, int] = {}
    meta = cls._betterproto
    ordered = sorted(meta.meta_by_field_name.items(), key=lambda item: int(item[1].number))
    for _, field in ordered:
        if field.group and field.group not in groups:
            groups[field.group] = len(groups)
            message.oneof_decl.add(name=field.group)
    for attribute, field in ordered:
        name = attribute[:-1] if keyword.iskeyword(attribute.rstrip("_")) else attribute
        made = message.field.add(name=name, number=field.number, label=_FIELD.LABEL_OPTIONAL)
        if field.map_meta is not None:
            made.label = _FIELD.LABEL_REPEATED
            made.type = _FIELD.TYPE_MESSAGE
            entry = message.nested_type.add(name=_entry_name(name))
            entry.options.map_entry = True
            made.type_name = f".{full_name}.{entry.name}"
            for part, number in zip(field.map_meta, (1, 2), strict=True):
                key = entry.field.add(
                    name=("key", "value")[number - 1], number=number, label=_FIELD.LABEL_OPTIONAL
                )
                value_cls = meta.cls_by_field.get(f"{attribute}.value")
                _set_type(names, key, part, value_cls, units=units, unit=unit)
            continue
        _set_type(names, made, field, meta.cls_by_field.get(attribute), units=units, unit=unit)
        if field.repeated:
            made.label = _FIELD.LABEL_REPEATED
        elif field.group:
            made.oneof_index = groups[field.group]
        elif field.optional and made.type != _FIELD.TYPE_MESSAGE:
            made.proto3_optional = True
    for made in message.field:  # Synthetic oneofs stand behind all real ones.
        if made.proto3_optional:
            made.oneof_index = len(message.oneof_decl)
            message.oneof_decl.add(name=f"_{made.name}")


def _set_type(
    names: _Names,
    made: descriptor_pb2.FieldDescriptorProto,
    field: Any,
    cls: Any,
    *,
    units: dict[str, _Unit],
    unit: _Unit,
) -> None:
    made.type = _FIELD.Type.Value(f"TYPE_{field.proto_type.upper()}")
    if made.type == _FIELD.TYPE_ENUM:
        name = _declare_enum(cls, units)
        made.type_name = f".{name}.Value"
        unit.uses.add(name)
        return
    if made.type != _FIELD.TYPE_MESSAGE:
        return
    name = _well_known(names, field.unwrap() if field.unwrap else cls)
    made.type_name = f".{name}"
    unit.uses.add(WELL_KNOWN_FILES.get(name) or _top_level(name))


def _well_known(names: _Names, cls: Any) -> str:
    if cls is dt.timedelta:
        return "google.protobuf.Duration"
    if cls is dt.datetime:
        return "google.protobuf.Timestamp"
    if cls in names.by_class:
        return names.by_class[cls]
    assert cls.__module__.endswith("google.protobuf"), f"no name for {cls}"
    return f"google.protobuf.{cls.__name__}"


def _declare_enum(cls: Any, units: dict[str, _Unit]) -> str:
    """Declare the enum *cls* as `<its name>.Value`, so that its values need no prefix."""
    package = cls.__module__.removeprefix(f"{_PACKAGE}.")
    name = f"{package}.{cls.__name__}Enum"
    if name not in units:
        holder = descriptor_pb2.DescriptorProto(name=f"{cls.__name__}Enum")
        enum = holder.enum_type.add(name="Value")
        members = sorted(cls.__members__.items(), key=lambda item: int(item[1]))
        seen: set[int] = set()
        for label, member in members:
            if int(member) not in seen:
                seen.add(int(member))
                enum.value.add(name=label, number=int(member))
        units[name] = _Unit(package=package, message=holder, uses=set())
    return name


def _entry_name(field: str) -> str:
    return "".join(part.capitalize() for part in field.split("_")) + "Entry"


def _in_order(units: dict[str, _Unit]) -> list[list[str]]:
    """Return groups of units that refer to one another, used before user (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for use in sorted(units[name].uses):
            if use.endswith(".proto"):
                continue
            if use not in index:
                visit(use)
                low[name] = min(low[name], low[use])
            elif use in stack:
                low[name] = min(low[name], index[use])
        if low[name] == index[name]:
            cut = stack.index(name)
            groups.append(sorted(stack[cut:]))
            del stack[cut:]

    for name in sorted(units):
        if name not in index:
            visit(name)
    return groups


def _file(
    group: list[str], units: dict[str, _Unit], home: dict[str, str]
) -> descriptor_pb2.FileDescriptorProto:
    """Return the file of one group; *home* tells the file of every unit."""
    packages = {units[name].package for name in group}
    assert len(packages) == 1, f"messages of several packages refer to one another: {group}"
    result = descriptor_pb2.FileDescriptorProto(
        name=home[group[0]], package=packages.pop(), syntax="proto3"
    )
    uses = {home.get(use, use) for name in group for use in units[name].uses}
    result.dependency.extend(sorted(uses - {result.name}))
    result.message_type.extend(units[name].message for name in group)
    return result


if __name__ == "__main__":
    sys.exit(main())
