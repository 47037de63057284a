"""
Whose tokens are good: a provider of jwt_authn for each issuer, and what tells them apart.

The provider that verified a token notes it in a header of its issuer's own. The next filter takes
that away and makes metadata of it, which the one behind writes for services. No client can write
any of the three, and no token says by itself whose it is.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from gateway.compile.envoy_api import any_of, make
from gateway.validation.jwks import reduced
from gateway.xds.resources import Resource, resource
from meshkit.issuers import ISSUER_HEADER, SESSION, ClaimMapping
from meshkit.tokens import (
    CLAIMS_HEADER,
    KEY_AUDIENCE,
    KEY_HEADER,
    KEY_ISSUER,
    KEY_PREFIX,
    TOKEN_HEADER,
    TOKEN_ID_HEADER,
)


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gateway.compile.inputs import Delta, Inputs
    from gateway.compile.options import EdgeOptions
    from gateway.model import Catalog, Issuer

JWT_AUTHN: Final = "envoy.filters.http.jwt_authn"
JWT_CONFIG: Final = "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"
ISSUERS: Final = "aerofusion.issuers"
ISSUERS_CONFIG: Final = "envoy.extensions.filters.http.header_to_metadata.v3.Config"

CLAIMS_METADATA: Final = "claims"
"""Where jwt_authn leaves the payload of the mesh's own tokens and keys."""

FOREIGN_METADATA: Final = "foreign"
"""Where it leaves that of other issuers: what asks for a role of ours never sees it."""

IDENTITY_METADATA: Final = "aerofusion.identity"

ANY_TOKEN: Final = "token"  # noqa: S105  a name
OPTIONAL_TOKEN: Final = "optional"  # noqa: S105  a name

LIFETIME_MAX: Final = timedelta(hours=24)
"""Longest life that a token of another issuer may have left; so long is it remembered when it is
revoked."""

CERTIFICATE_HEADER: Final = "x-aerofusion-certificate"
"""SPIFFE id of the client's certificate; the edge writes it, and nobody else can."""

CERTIFICATE_NAMES_HEADER: Final = "x-aerofusion-certificate-names"
"""Its DNS names, with commas between."""

KEY_ID_HEADER: Final = "x-aerofusion-key-id"
"""The token id of an API key, of no other token."""

WRITTEN: Final = (
    *(CLAIMS_HEADER, ISSUER_HEADER, TOKEN_ID_HEADER, KEY_ID_HEADER),
    *(CERTIFICATE_HEADER, CERTIFICATE_NAMES_HEADER),
)
"""Headers in which the edge tells services who calls."""

SIGN_IN_HEADER: Final = "x-aerofusion-sign-in"
"""Where the filter that signs browsers in leaves the ID token; nobody else can write it."""

_MESH = "mesh"
_KEYS = "keys"
_MARK = "x-aerofusion-issuer-"
_SIGN_IN_MARK = "x-aerofusion-sign-in-"
_PROVIDER = "envoy.extensions.filters.http.jwt_authn.v3.JwtProvider"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What of an issuer decides about roles, tenants and subjects. All that routes know of it."""

    issuer: str
    """As in `iss`."""

    name: str
    subject_claim: str
    subject_prefix: str
    tenant_claim: str
    tenant: str
    roles_claim: str
    roles: tuple[str, ...]

    @classmethod
    def of(cls, issuer: Issuer) -> Grant:
        return cls(
            issuer=issuer.issuer,
            name=issuer.name,
            subject_claim=issuer.subject_claim,
            subject_prefix=issuer.subject_prefix,
            tenant_claim=issuer.tenant_claim,
            tenant=issuer.tenant,
            roles_claim=issuer.roles_claim,
            roles=issuer.roles,
        )


def grants(catalog: Catalog) -> tuple[Grant, ...]:
    """Return what other issuers grant, by their names."""
    return tuple(Grant.of(one) for _, one in sorted(catalog.issuers.items()))


def grants_differ(delta: Delta) -> bool:
    """Return whether issuers give other roles, or to others, than before."""
    if not delta.touches("issuers"):
        return False
    return grants(delta.before.catalog) != grants(delta.after.catalog)


def services_affected(delta: Delta) -> Iterable[str]:
    """Return the services whose routes ask for roles that an issuer gives since, or no longer."""
    if not grants_differ(delta):
        return
    after = delta.after.catalog
    for name, service in after.services.items():
        if service.access.roles or any(
            one.access is not None and one.access.roles
            for one in after.routes.get(name, {}).values()
        ):
            yield name


def keys_of(issuer: Issuer, fetched: Mapping[str, str]) -> str:
    """Return an issuer's key set; "" while it has none."""
    return reduced(issuer.jwks) if issuer.jwks is not None else fetched.get(issuer.name, "")


def providers(inputs: Inputs, options: EdgeOptions) -> dict[str, Any]:
    """
    Return jwt_authn's providers by name; an issuer whose keys aren't known has none yet.

    ID tokens of a sign-in have providers of their own: they are for the site that asked for them,
    and stand where only the filter that signs in puts them.
    """
    clients = clients_of(inputs.catalog)
    found = {
        _MESH: _provider(
            options,
            issuer=options.issuer,
            audiences=[options.audience],
            jwks=inputs.jwks,
            payload_in_metadata=CLAIMS_METADATA,
            **_bearer(TOKEN_HEADER),
        )
    }
    if inputs.key_jwks:
        found[_KEYS] = _provider(
            options,
            issuer=KEY_ISSUER,
            audiences=[KEY_AUDIENCE],
            jwks=inputs.key_jwks,
            payload_in_metadata=CLAIMS_METADATA,
            marks=[{"claim_name": "jti", "header_name": KEY_ID_HEADER}],
            forward=False,  # A secret of two years goes no further than it must.
            from_headers=[{"name": KEY_HEADER, "value_prefix": KEY_PREFIX}],
        )
    for name, issuer in sorted(inputs.catalog.issuers.items()):
        jwks = keys_of(issuer, inputs.issuer_keys)
        if jwks:
            found[name] = _provider(
                options,
                issuer=issuer.issuer,
                audiences=issuer.audiences,
                jwks=jwks,
                payload_in_metadata=FOREIGN_METADATA,
                marks=[{"claim_name": "iss", "header_name": _mark(name)}],
                max_lifetime=LIFETIME_MAX,
                **_bearer(issuer.header or TOKEN_HEADER),
            )
        if jwks and name in clients:
            found[f"{name}/login"] = _provider(
                options,
                issuer=issuer.issuer,
                audiences=clients[name],
                jwks=jwks,
                payload_in_metadata=FOREIGN_METADATA,
                marks=[{"claim_name": "iss", "header_name": _mark(name, _SIGN_IN_MARK)}],
                max_lifetime=LIFETIME_MAX,
                forward=False,
                from_headers=[{"name": SIGN_IN_HEADER}],
            )
    return found


def clients_of(catalog: Catalog) -> dict[str, list[str]]:
    """Return what the providers of hosts' sign-ins know them as, by the issuer's name."""
    found: dict[str, set[str]] = {}
    for host in catalog.hosts.values():
        if host.login is not None:
            found.setdefault(host.login.issuer, set()).add(host.login.client_id)
    return {name: sorted(clients) for name, clients in found.items()}


def clients_differ(delta: Delta) -> bool:
    """Return whether other sites sign in, or with other issuers, than before."""
    if not delta.touches("hosts"):
        return False
    return clients_of(delta.before.catalog) != clients_of(delta.after.catalog)


def requirements(names: list[str]) -> dict[str, Any]:
    """Return what rules ask for: a token of anybody's, or that there is none or a good one."""
    wanted = [{"provider_name": name} for name in names]
    return {
        ANY_TOKEN: {"requires_any": {"requirements": wanted}} if len(wanted) > 1 else wanted[0],
        OPTIONAL_TOKEN: {"requires_any": {"requirements": [*wanted, {"allow_missing": {}}]}},
    }


def mappings(inputs: Inputs) -> Resource:
    """Return the config of the filter that tells by which issuer's token somebody calls."""
    rules = []
    clients = clients_of(inputs.catalog)
    for name, issuer in sorted(inputs.catalog.issuers.items()):
        mapping = mapping_of(issuer)
        rules += _told(_mark(name), name, mapping)
        if name in clients:
            kept = dataclasses.replace(mapping, header=SESSION)
            rules += _told(_mark(name, _SIGN_IN_MARK), name, kept)
    config = any_of(ISSUERS_CONFIG, request_rules=rules)
    message = make("envoy.config.core.v3.TypedExtensionConfig", name=ISSUERS, typed_config=config)
    return resource(ISSUERS, message.SerializeToString(deterministic=True))


def _told(header: str, name: str, mapping: ClaimMapping) -> list[dict[str, Any]]:
    return [
        _rule(header, "issuer", name, remove=False),
        _rule(header, "mapping", mapping.encode(), remove=True),
    ]


def mapping_of(issuer: Issuer) -> ClaimMapping:
    """Return what services are told of an issuer."""
    return ClaimMapping(
        name=issuer.name,
        header=issuer.header,
        subject_claim=issuer.subject_claim,
        subject_prefix=issuer.subject_prefix,
        tenant_claim=issuer.tenant_claim,
        tenant=issuer.tenant,
        roles_claim=issuer.roles_claim,
        roles=issuer.roles,
    )


def identity_mutations(options: EdgeOptions) -> Iterator[dict[str, Any]]:
    """Yield what is done to a request's headers once it is known who calls."""
    yield {"remove": KEY_HEADER}  # Also one that wasn't asked for.
    yield _written(ISSUER_HEADER, f"%DYNAMIC_METADATA({IDENTITY_METADATA}:mapping)%")
    if not options.client_roots_pem:
        return  # Nobody is asked for a certificate.
    yield _written(CERTIFICATE_HEADER, "%DOWNSTREAM_PEER_URI_SAN%")
    yield _written(CERTIFICATE_NAMES_HEADER, "%DOWNSTREAM_PEER_DNS_SAN%")


def _written(name: str, value: str) -> dict[str, Any]:
    return {
        "append": {
            "header": {"key": name, "value": value},
            "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
        }
    }


def _rule(header: str, key: str, value: str, *, remove: bool) -> dict[str, Any]:
    return {
        "header": header,
        "on_header_present": {
            "metadata_namespace": IDENTITY_METADATA,
            "key": key,
            "value": value,
            "type": "STRING",
        },
        "remove": remove,
    }


def _mark(name: str, beginning: str = _MARK) -> str:
    """Return the header by which jwt_authn notes that an issuer's token was good."""
    return beginning + name.partition("/")[2]


def _bearer(header: str) -> dict[str, Any]:
    prefix = "Bearer " if header == TOKEN_HEADER else ""
    return {"from_headers": [{"name": header, "value_prefix": prefix}]}


def _provider(
    options: EdgeOptions, *, jwks: str, marks: tuple[()] | list[dict[str, Any]] = (), **more: Any
) -> Any:
    given = {
        "local_jwks": {"inline_string": jwks},
        "forward": True,
        "forward_payload_header": CLAIMS_HEADER,
        "claim_to_headers": [{"claim_name": "jti", "header_name": TOKEN_ID_HEADER}, *marks],
        "clock_skew_seconds": int(options.clock_skew.total_seconds()),
        "require_expiration": True,
        "jwt_cache_config": {"jwt_cache_size": options.token_cache_size},
        **more,
    }
    return make(_PROVIDER, **given)
