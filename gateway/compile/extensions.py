"""Filter configs that change at run time: they come by ECDS, so no stream is cut for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.compile.envoy_api import any_of, make
from gateway.compile.issuers import (
    ANY_TOKEN,
    JWT_AUTHN,
    JWT_CONFIG,
    OPTIONAL_TOKEN,
    requirements,
)
from gateway.compile.routes import matches
from gateway.xds.resources import Resource, resource


if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gateway.compile.options import EdgeOptions
    from gateway.model import Catalog, Route, Service

TRANSCODER = "envoy.filters.http.grpc_json_transcoder"
TRANSCODER_CONFIG = "envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder"


def transcoder(grpc_services: Sequence[str], descriptors: bytes, options: EdgeOptions) -> Resource:
    """
    Return the config of the filter that makes gRPC calls of JSON ones.

    Args:
        grpc_services: Full names of those with a JSON API.
        descriptors: One FileDescriptorSet with all of them.

    """
    body = {"value": options.json_body_bytes_max}
    return _extension(
        TRANSCODER,
        any_of(
            TRANSCODER_CONFIG,
            proto_descriptor_bin=descriptors,
            services=sorted(grpc_services),
            print_options={"always_print_primitive_fields": True, "stream_newline_delimited": True},
            convert_grpc_status=True,
            url_unescape_spec="ALL_CHARACTERS_EXCEPT_RESERVED",
            request_validation_options={
                "reject_unknown_query_parameters": True,
                "reject_binding_body_field_collisions": True,
            },
            max_request_body_size=body,
            max_response_body_size=body,
        ),
    )


def jwt_authn(rules: Sequence[dict[str, Any]], providers: Mapping[str, Any]) -> Resource:
    """
    Return the config of the filter that verifies tokens and refuses calls without one.

    Args:
        rules: What needs less than a token, from `public_rules`; the rest needs one.
        providers: Whose tokens are good, from `issuers.providers`.

    """
    rest = {"match": {"prefix": "/"}, "requirement_name": ANY_TOKEN}
    return _extension(
        JWT_AUTHN,
        any_of(
            JWT_CONFIG,
            providers=providers,
            rules=[*rules, rest],
            requirement_map=requirements(list(providers)),
        ),
    )


def public_rules(catalog: Catalog) -> Iterator[dict[str, Any]]:
    """
    Yield the rules of gRPC services that have anything public, in the order of their routes.

    The same matches in the same order as the routes': a rule can't be looser than its route. A
    token that is sent to a public method must still be good.
    """
    for name in sorted(catalog.services):
        service = catalog.services[name]
        routes = catalog.routes_of(name)
        if not has_public(service, routes):
            continue
        for grpc_service in service.grpc_services:
            for match in matches(service, routes, grpc_service):
                access = (match.route and match.route.access) or service.access
                yield {
                    "match": match.condition(),
                    "requirement_name": OPTIONAL_TOKEN if access.public else ANY_TOKEN,
                }


def has_public(service: Service, routes: Sequence[Route]) -> bool:
    """Return whether anything of *service* may be called without a token."""
    if service.access.public:
        return True
    return any(route.access is not None and route.access.public for route in routes)


def _extension(name: str, config: dict[str, Any]) -> Resource:
    message = make("envoy.config.core.v3.TypedExtensionConfig", name=name, typed_config=config)
    return resource(name, message.SerializeToString(deterministic=True))
