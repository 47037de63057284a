"""The filter grpc_json_transcoder: which gRPC call a JSON one becomes."""

from __future__ import annotations

import re
import urllib.parse
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from gateway.explain.call import Body
from gateway.explain.exchange import Exchange
from gateway.explain.steps import NotModelled, Verdict, only
from gateway.explain.templates import Templates, field_at


_INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64),
}
_TRUTHS = frozenset({"true", "t", "yes", "y", "1", "false", "f", "no", "n", "0"})
_FREE = (FieldDescriptor.CPPTYPE_STRING,)
_INTEGER = re.compile(r"[+-]?[0-9]+")


def transcoder(exchange: Exchange, name: str, config: Any) -> None:
    """Make a gRPC call of a JSON one; what has no gRPC method goes on as it is."""
    only(
        config,
        *("proto_descriptor_bin", "services", "print_options", "convert_grpc_status"),
        *("url_unescape_spec", "request_validation_options", "max_request_body_size"),
        *("max_response_body_size", "query_param_unescape_plus"),
    )
    where = {"resource": ("ECDS", name)}
    if exchange.per_route(name) is not None:
        raise NotModelled("GrpcJsonTranscoder by route")
    headers = exchange.headers
    if headers.is_grpc:
        says = "It is a gRPC call already."
        exchange.step("filter", name, Verdict.IDLE, says, **where)
        return
    found = _templates(exchange, name, config).find(
        headers.get(":method") or "", headers.path.partition("?")[0]
    )
    if found is None:
        says = "No gRPC method has this HTTP method and path; it stays as it is."
        exchange.step("filter", name, Verdict.IDLE, says, **where)
        return
    binding, values = found
    problem = _problem(exchange, config, binding, values)
    if problem:
        exchange.step("filter", name, Verdict.REFUSED, problem, **where)
        exchange.refuse(400, "early_grpc_json_transcode_failure{INVALID_ARGUMENT}")
        return
    exchange.original_path = headers.path
    exchange.grpc_method = binding.grpc_method
    headers.remove("content-length")
    headers.set("content-type", "application/grpc")
    headers.set("x-envoy-original-path", headers.path)
    headers.set("x-envoy-original-method", headers.get(":method") or "")
    headers.set(":path", f"/{binding.grpc_method}")
    headers.set(":method", "POST")
    headers.set("te", "trailers")
    exchange.step(
        "filter",
        name,
        Verdict.CHANGED,
        f"It becomes a call of {binding.grpc_method}, by {binding.template}.",
        facts=(("grpc_method", binding.grpc_method), ("template", binding.template), *values),
        **where,
    )
    exchange.choose_route()
    problem = _bad_value(exchange, binding, values)
    if problem and exchange.call.body is Body.NONE:
        exchange.step("filter", name, Verdict.REFUSED, problem, **where)
        exchange.refuse(400, "early_grpc_json_transcode_failure{INVALID_ARGUMENT}")
    elif problem:
        exchange.spoilt = problem


def _templates(exchange: Exchange, name: str, config: Any) -> Templates:
    configuration = exchange.configuration
    key = ("templates", configuration.version("ECDS", name), config.proto_descriptor_bin)
    if key not in configuration.derived:
        configuration.derived[key] = Templates(config.proto_descriptor_bin, list(config.services))
    made: Templates = configuration.derived[key]
    return made


def _query(exchange: Exchange) -> list[tuple[str, str]]:
    found = []
    for pair in exchange.call.path.partition("?")[2].split("&"):
        name, equals, value = pair.partition("=")
        if name and equals:
            found.append((name, value))
    return found


def _problem(exchange: Exchange, config: Any, binding: Any, values: Any) -> str:
    """Return why the call can't become a gRPC one; "" if it can."""
    strict = config.request_validation_options.reject_unknown_query_parameters
    for name, _ in (*values, *_query(exchange)):
        if field_at(binding.input_type, name) is None:
            if not strict:
                raise NotModelled("an unknown query parameter that is let through")
            return f"The request has no field {name}."
    return ""


def _bad_value(exchange: Exchange, binding: Any, values: Any) -> str:
    for name, raw in (*values, *_query(exchange)):
        target = field_at(binding.input_type, name)
        assert target is not None, "checked before"
        value = urllib.parse.unquote(raw)
        if target.cpp_type in _INTEGERS:
            least, end = _INTEGERS[target.cpp_type]
            if not _INTEGER.fullmatch(value) or not least <= int(value) < end:
                return f"{value} is no value for the field {name}."
        elif target.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
            if value.lower() not in _TRUTHS:
                return f"{value} is no value for the field {name}."
        elif target.cpp_type not in _FREE:
            raise NotModelled(f"the field {name} in a path or query")
    return ""
