"""Policies as they are compiled, against what the contract says of them."""

import random

from gateway.compile import policies
from gateway.compile.envoy_api import make
from gateway.compile.issuers import (
    CERTIFICATE_HEADER,
    CERTIFICATE_NAMES_HEADER,
    CLAIMS_METADATA,
    FOREIGN_METADATA,
    JWT_AUTHN,
)
from gateway.compile.revoked import RBAC_CONFIG
from gateway.explain.access import decide
from gateway.explain.call import Call, Headers
from gateway.explain.exchange import Exchange
from tests.fixtures import policies as reference


CATALOGS = 400
CALLS = 10


def exchange(caller, target):
    path = f"/{target.grpc_service}/{target.method}"
    headers = Headers()
    headers.set(":path", path)
    headers.set(":authority", "shop.example:443")
    if caller.spiffe_id:
        headers.set(CERTIFICATE_HEADER, caller.spiffe_id)
    if caller.names:
        headers.set(CERTIFICATE_NAMES_HEADER, ",".join(caller.names))
    key = CLAIMS_METADATA if caller.issuer == "issuers/mesh" else FOREIGN_METADATA
    return Exchange(
        call=Call(
            method="POST",
            path=path,
            server_name=target.server_name,
            remote_address=caller.address,
        ),
        headers=headers,
        configuration=None,
        listener=None,
        manager=None,
        metadata={JWT_AUTHN: {key: dict(caller.claims)}} if caller.issuer else {},
    )


def rules(catalog):
    """The rules that count, of both filters in their order."""
    for made in (policies.deny(catalog), policies.allow(catalog)):
        extension = make("envoy.config.core.v3.TypedExtensionConfig")
        extension.ParseFromString(made.value)
        config = make(RBAC_CONFIG)
        extension.typed_config.Unpack(config)
        if config.HasField("rules"):
            yield config.rules


def test_what_is_compiled_refuses_whom_the_contract_refuses():
    chance = random.Random(7)
    seen = {True: 0, False: 0}
    for _ in range(CATALOGS):
        catalog = reference.catalog(chance)
        compiled = list(rules(catalog))
        for _ in range(CALLS):
            caller, target = reference.caller(chance), reference.target(chance)
            expected = reference.refuses(catalog, caller, target)
            call = exchange(caller, target)
            found = not all(decide(one, call)[0] for one in compiled)
            assert found is expected, (catalog.policies, caller, target)
            seen[expected] += 1
    assert min(seen.values()) > CATALOGS * CALLS / 10, "both happen often"
