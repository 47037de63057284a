"""What the model compiles to, resource by resource, in files to be read in review."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from google.protobuf import json_format

from gateway import model
from gateway.compile.compiler import compile_all
from gateway.compile.envoy_api import make, pool
from gateway.compile.inputs import Inputs
from gateway.compile.options import EdgeOptions
from gateway.xds.resources import BY_KEY
from tests.fixtures.echo import SERVICE, descriptor_set


FOLDER = Path(__file__).parent

ECHO = model.Service(
    name="services/echo",
    identity="echo",
    grpc_services=(SERVICE,),
    json_prefixes=("echo",),
    descriptor_set=descriptor_set(),
    endpoints=(
        model.Endpoint(address="10.0.0.1", port=5000),
        model.Endpoint(address="10.0.0.2", port=5000, weight=3, health=model.Health.DRAINING),
        model.Endpoint(address="fd00::3", port=5000, health=model.Health.UNHEALTHY),
    ),
    access=model.Access(roles=("passenger", "operator")),
    rate_limit=model.RateLimit(burst=50, per_second=10),
)
CANARY = model.Service(name="services/canary", identity="echo")
UNDESCRIBED = model.Service(
    name="services/plain",
    identity="plain",
    grpc_services=("test.plain.v1.PlainService",),
    access=model.Access(public=True),
    stream_idle_timeout=timedelta(seconds=5),
)
ROUTES = (
    model.Route(
        name="services/echo/routes/canary",
        grpc_service=SERVICE,
        headers=(
            model.HeaderMatch(name="x-canary", exact="yes"),
            model.HeaderMatch(name="x-tester", present=False),
            model.HeaderMatch(name="user-agent", prefix="web/"),
        ),
        destinations=(
            model.Destination(service="services/canary", weight=1),
            model.Destination(service="services/echo", weight=99),
        ),
        timeout=timedelta(seconds=2),
        retry=model.Retry(attempts_max=2, per_try_timeout=timedelta(milliseconds=500)),
    ),
    model.Route(
        name="services/echo/routes/open",
        grpc_service=SERVICE,
        grpc_method="Echo",
        destinations=(model.Destination(service="services/echo", weight=0),),
        access=model.Access(public=True),
    ),
)
SITE = model.Service(name="services/site", identity="site", protocol=model.Protocol.HTTP1)
PARTNER = model.Service(
    name="services/partner",
    identity="partner",
    protocol=model.Protocol.HTTP1,
    external_tls=model.ExternalTls(server_name="api.partner.example", ca_pem="roots"),
)
CERTIFICATE = model.Certificate(
    name="certificates/shop", chain_pem="chain", private_key_pem="sealed.v1.of-the-shop"
)
TO_SITE = (model.Destination(service="services/site", weight=1),)
HOST = model.Host(
    name="hosts/shop",
    domains=("shop.example", "*.shop.example"),
    certificate="certificates/shop",
    cors_origins=("https://console.example",),
    access=model.Access(roles=("passenger",)),
    rules=(
        model.HttpRule(
            id="old",
            match=model.HttpMatch(path_prefix="/old", methods=("GET", "HEAD")),
            redirect=model.Redirect(prefix="/new", status=308),
            access=model.Access(public=True),
        ),
        model.HttpRule(
            id="closed",
            match=model.HttpMatch(exact_path="/closed"),
            direct_response=model.DirectResponse(
                status=503, body="<p>later", content_type="text/html"
            ),
        ),
        model.HttpRule(
            id="items",
            match=model.HttpMatch(
                path_regex="/items/([0-9]+)",
                headers=(model.HeaderMatch(name="x-canary", exact="yes"),),
                query=(model.QueryMatch(name="page", present=True),),
            ),
            forward=model.Forward(
                destinations=(*TO_SITE, model.Destination(service="services/canary", weight=2)),
                rewrite=model.Rewrite(substitution=r"/v2/\1"),
                retry=model.Retry(attempts_max=1),
            ),
            access=model.Access(),
        ),
        model.HttpRule(
            id="partner",
            match=model.HttpMatch(path_prefix="/partner"),
            forward=model.Forward(
                destinations=(model.Destination(service="services/partner", weight=1),),
                rewrite=model.Rewrite(prefix="/"),
                host="api.partner.example",
            ),
        ),
        model.HttpRule(
            id="rest",
            forward=model.Forward(destinations=TO_SITE, upgrades=True),
            request_headers=model.HeaderChanges(
                set=(model.HeaderValue(name="x-set", value="1"),), remove=("x-gone",)
            ),
        ),
    ),
)
PLAIN_HOST = model.Host(
    name="hosts/plain",
    domains=("plain.example",),
    rules=(model.HttpRule(id="all", forward=model.Forward(destinations=TO_SITE)),),
)
LOGIN_HOST = model.Host(
    name="hosts/console",
    domains=("console.example",),
    rules=(
        model.HttpRule(
            id="open",
            match=model.HttpMatch(path_prefix="/open"),
            forward=model.Forward(destinations=TO_SITE),
            access=model.Access(public=True),
        ),
        model.HttpRule(id="all", forward=model.Forward(destinations=TO_SITE)),
    ),
    login=model.OidcLogin(
        issuer="issuers/acme",
        authorization_endpoint="https://idp.example/auth",
        token_endpoint="https://idp.example/token",
        token_service="services/partner",
        client_id="console",
        client_secret="sealed.v1.of-the-client",
        scopes=("openid", "offline_access"),
        end_session_endpoint="https://idp.example/end",
        cookie_secret="sealed.v1.of-the-cookies",
    ),
)
ACME = model.Issuer(
    name="issuers/acme",
    issuer="https://idp.example",
    audiences=("api",),
    jwks=json.dumps(
        {
            "keys": [
                {
                    "kid": "acme-2027",
                    "alg": "ES256",
                    "use": "sig",
                    "kty": "EC",
                    "crv": "P-256",
                    "x": "WosgLZk821StjTQRIWD2xAdeXect1FSCVOf-suBPoqs",
                    "y": "WJ4nELyR9wq07WP3jqdZvcc4S8Lim2whYXf-WrMEVM4",
                }
            ]
        }
    ),
    tenant="acme",
    roles=("passenger",),
)
POLICIES = (
    model.Policy(
        name="policies/away",
        action=model.PolicyAction.DENY,
        scope=model.CallScope(hosts=("hosts/shop",), services=("services/echo",)),
        principals=(
            model.Principal(remote_ranges=("192.0.2.0/24",), tenants=("jfk",)),
            model.Principal(claims=(model.ClaimMatch(name="plan", values=("gold", "5")),)),
        ),
    ),
    model.Policy(
        name="policies/readers",
        action=model.PolicyAction.ALLOW,
        scope=model.CallScope(methods=(f"{SERVICE}/Echo",)),
        principals=(
            model.Principal(roles=("operator",)),
            model.Principal(subjects=("services/*",), scopes=("echo.read",)),
        ),
    ),
)
OPTIONS = EdgeOptions(cors_origins=("https://console.example",))
MAP_FIELDS = (
    "source_codes",
    "filter_context",
    "typed_per_filter_config",
    "typed_extension_protocol_options",
    "providers",
    "requirement_map",
    "policies",
    "map",
)
EVERYTHING = (
    *(ECHO, CANARY, UNDESCRIBED, SITE, PARTNER, *ROUTES),
    *(CERTIFICATE, HOST, PLAIN_HOST, ACME, LOGIN_HOST),
    *POLICIES,
)
JWKS = '{"keys":[]}'


def catalog():
    made = model.Catalog()
    for number, value in enumerate(EVERYTHING, start=1):
        made = made.with_object(number, value.name, value)
    return made


def shown(kind, resource):
    """A resource as YAML; the descriptors' bytes are of no use to a reader."""
    name = BY_KEY[kind].type_url.removeprefix("type.googleapis.com/")
    message = make(name)
    message.ParseFromString(resource.value)
    text = json_format.MessageToJson(
        message, preserving_proto_field_name=True, descriptor_pool=pool()
    )
    content = json.loads(text)
    _sort_maps(content)
    config = content.get("typed_config", {})
    if "proto_descriptor_bin" in config:
        config["proto_descriptor_bin"] = "..."
    if "generic_secret" in content:
        content["generic_secret"]["secret"] = "..."
    pair = content.get("tls_certificate", {})
    if "private_key" in pair:
        pair["private_key"] = "..."
    return content


def _sort_maps(content):
    """Sort the entries of map fields, whose order means nothing and differs from run to run."""
    if isinstance(content, list):
        for item in content:
            _sort_maps(item)
    elif isinstance(content, dict):
        for key, value in content.items():
            _sort_maps(value)
            if key in MAP_FIELDS:
                content[key] = dict(sorted(value.items()))


@pytest.mark.parametrize("flavour", ["edge", "proxyless"])
@pytest.mark.parametrize("kind", BY_KEY)
def test_golden(flavour, kind, rewrite):
    inputs = Inputs(catalog=catalog(), jwks=JWKS, unseal=lambda sealed, name: f"{sealed} {name}")
    snapshot = getattr(compile_all(inputs, OPTIONS), flavour)
    found = snapshot.of(BY_KEY[kind])
    text = yaml.safe_dump_all(
        [shown(kind, found[name]) for name in sorted(found)], sort_keys=False, width=100
    )
    path = FOLDER / flavour / f"{kind.lower()}.yaml"
    if rewrite:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert path.read_text() == text
