"""Hosts in the model: what a certificate covers, what is compiled anew, how secrets are kept."""

import dataclasses
import re
from datetime import UTC, datetime

import pytest

from gateway import model
from gateway.compile.compiler import compile_all, compile_changes
from gateway.compile.hosts import prefix_rewrite
from gateway.compile.inputs import Inputs
from gateway.compile.options import EdgeOptions
from gateway.compile.preflight import harmless, stand_ins, whole
from gateway.hosts import prepared
from gateway.identity.seal import Seal, is_sealed
from gateway.store.rows import Stored
from gateway.validation.certificate import covers
from gateway.validation.host import check_host
from gateway.xds.resources import BY_KEY
from meshkit.errors import FailedPrecondition, InvalidInput
from tests.fixtures.webca import WebCa


SEAL = Seal(bytes(32))
NOW = datetime.now(UTC)
OPTIONS = EdgeOptions()
RULE = model.HttpRule(
    id="all",
    forward=model.Forward(destinations=(model.Destination(service="services/a", weight=1),)),
)
HOST = model.Host(
    name="hosts/shop", domains=("shop.example",), rules=(RULE,), certificate="certificates/web"
)


@pytest.fixture(scope="module")
def issued():
    return WebCa().issue("shop.example")


def certificate(issued, name="certificates/web", **fields):
    return model.Certificate(
        name=name, chain_pem=issued.chain_pem, **{"private_key_pem": issued.key_pem, **fields}
    )


def stored(value):
    return Stored(value=value, etag="", revision=1, create_time=NOW, update_time=NOW)


@pytest.mark.parametrize(
    ("names", "domain", "good"),
    [
        (("a.b",), "a.b", True),
        (("a.b",), "b", False),
        (("*.b.c",), "a.b.c", True),
        (("*.b.c",), "b.c", False),
        (("*.b.c",), "x.a.b.c", False),
        (("*.b.c",), "*.b.c", True),
        (("a.b.c",), "*.b.c", False),
        (("*.b.c",), "*.a.b.c", False),
        (("*.c",), "*.b.c", False),
    ],
)
def test_a_wildcard_is_good_for_one_label(names, domain, good):
    assert covers(names, domain) is good


def test_a_secret_opens_for_what_it_was_sealed_for_only():
    sealed = SEAL.seal("secret", "certificates/web")
    assert is_sealed(sealed)
    assert "secret" not in sealed
    assert SEAL.open(sealed, "certificates/web") == "secret"
    assert SEAL.seal("secret", "certificates/web") != sealed
    for seal, name in ((SEAL, "certificates/other"), (Seal(b"x" * 32), "certificates/web")):
        with pytest.raises(FailedPrecondition) as caught:
            seal.open(sealed, name)
        assert caught.value.reason == "SECRET_SEALED"
        assert seal.opened(sealed, name) is None


def test_a_certificates_key_is_sealed_once(issued):
    first = prepared(SEAL, None, certificate(issued), NOW)
    assert is_sealed(first.private_key_pem)
    assert first.domains == ("shop.example",)
    for again in (issued.key_pem, "", first.private_key_pem):
        value = certificate(issued, private_key_pem=again)
        assert prepared(SEAL, stored(first), value, NOW) == first


def test_an_ended_certificate_stands_in_no_other_changes_way(issued):
    first = prepared(SEAL, None, certificate(issued), NOW)
    later = first.expire_time.replace(year=first.expire_time.year + 1)
    described = dataclasses.replace(first, description="ended", private_key_pem="")
    assert prepared(SEAL, stored(first), described, later).description == "ended"


def test_the_versions_and_the_preflight_know_nothing_of_a_key(issued):
    first = prepared(SEAL, None, certificate(issued), NOW)
    catalog = model.Catalog.of(1, [first, HOST])
    opened = compile_all(Inputs(catalog=catalog, unseal=SEAL.opened), OPTIONS)
    found = opened.edge.of(BY_KEY["SDS"])["certificates/web"]
    assert issued.key_pem.encode() in found.value
    fake = compile_all(Inputs(catalog=catalog, unseal=lambda *_: "fake"), OPTIONS)
    assert fake.edge.of(BY_KEY["SDS"])["certificates/web"].version == found.version
    base = stand_ins(("edge", "edge_public"), "trust", b"key", b"chain")
    tried = harmless(base, opened.edge, whole(opened.edge)).of(BY_KEY["SDS"])
    assert b"chain" in tried["certificates/web"].value
    assert issued.key_pem.encode() not in tried["certificates/web"].value
    sealed = compile_all(Inputs(catalog=catalog), OPTIONS)
    assert "certificates/web" not in sealed.edge.of(BY_KEY["SDS"])


def login(**fields):
    given = {
        "issuer": "issuers/idp",
        "authorization_endpoint": "https://idp.example/auth",
        "token_endpoint": "https://idp.example/token",
        "token_service": "services/a",
        "client_id": "shop",
        "client_secret": "s3cret",
        **fields,
    }
    return dataclasses.replace(HOST, login=model.OidcLogin(**given))


def test_the_secrets_of_a_sign_in_are_sealed_and_stay_while_they_are_the_same():
    first = prepared(SEAL, None, login(), NOW)
    names = ("hosts/shop/login/client", "hosts/shop/login/cookies")
    secrets = (first.login.client_secret, first.login.cookie_secret)
    assert SEAL.open(secrets[0], names[0]) == "s3cret"
    assert len(SEAL.open(secrets[1], names[1])) >= 32
    assert "s3cret" not in repr(first)
    assert secrets[1] not in repr(first)
    with pytest.raises(FailedPrecondition):
        SEAL.open(secrets[0], names[1])
    for again in ("s3cret", "", secrets[0]):
        assert prepared(SEAL, stored(first), login(client_secret=again), NOW) == first
    other = prepared(SEAL, stored(first), login(client_secret="other"), NOW)
    assert other.login.client_secret != secrets[0]
    assert other.login.cookie_secret == secrets[1], "another secret ends no session"


def test_a_generation_of_sessions_that_was_ended_never_comes_back():
    first = prepared(SEAL, None, login(), NOW)
    second = prepared(SEAL, stored(first), login(session_generation=1), NOW)
    assert second.login.cookie_secret != first.login.cookie_secret
    # As a roll-back writes it: the object of then, with its secrets.
    back = prepared(SEAL, stored(second), first, NOW)
    assert back.login.client_secret == first.login.client_secret
    assert back.login.cookie_secret not in {one.login.cookie_secret for one in (first, second)}
    anew = prepared(SEAL, None, first, NOW)
    assert anew.login.cookie_secret != first.login.cookie_secret


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"client_secret": ""}, "client_secret"),
        ({"client_secret": "x" * 1001}, "client_secret"),
        ({"issuer": "idp"}, "issuer"),
        ({"token_service": "idp"}, "token_service"),
        ({"authorization_endpoint": "http://idp.example/auth"}, "authorization_endpoint"),
        ({"authorization_endpoint": "https://idp.example/auth#x"}, "authorization_endpoint"),
        ({"token_endpoint": ""}, "token_endpoint"),
        ({"token_endpoint": "https://user@idp.example/"}, "token_endpoint"),
        ({"end_session_endpoint": "javascript:alert(1)"}, "end_session_endpoint"),
        ({"client_id": "a:b"}, "client_id"),
        ({"scopes": ("email",)}, "scopes"),
        ({"scopes": ("openid", "a b")}, "scopes[1]"),
        ({"redirect_path": "callback"}, "redirect_path"),
        ({"signout_path": "/a?b"}, "signout_path"),
        ({"signout_path": "/oauth2/callback"}, "signout_path"),
    ],
)
def test_a_sign_in_that_cannot_be_is_refused(fields, where):
    made = login(**fields)
    check = check_host if where != "client_secret" else lambda one: prepared(SEAL, None, one, NOW)
    with pytest.raises(InvalidInput) as caught:
        check(made)
    assert list(caught.value.field_violations) == [f"host.login.{where}"]


def test_a_sign_in_touches_no_listener_and_the_preflight_gets_stand_ins():
    issuer = model.Issuer(name="issuers/idp", issuer="https://idp.example", audiences=("api",))
    service = model.Service(name="services/a", identity="a")
    plain = compile_all(Inputs(catalog=model.Catalog.of(1, [service, issuer, HOST])), OPTIONS)
    made = prepared(SEAL, None, login(), NOW)
    catalog = model.Catalog.of(2, [service, issuer, made])
    inputs = Inputs(catalog=catalog, unseal=SEAL.opened)
    opened = compile_changes(plain, inputs, OPTIONS, {"hosts/shop"})
    secrets = {("SDS", f"hosts/shop/login/{one}") for one in ("client", "cookies")}
    ours = {("RDS", "hosts/shop"), ("ECDS", "aerofusion.issuers"), *secrets}
    assert opened.touched["edge"] == ours
    found = opened.edge.of(BY_KEY["SDS"])
    assert b"s3cret" in found["hosts/shop/login/client"].value
    base = stand_ins(("edge", "edge_public"), "trust", b"key", b"chain")
    tried = harmless(base, opened.edge, whole(opened.edge)).of(BY_KEY["SDS"])
    for _, name in secrets:
        assert b"a stand-in" in tried[name].value
    assert b"s3cret" not in tried["hosts/shop/login/client"].value
    gone = compile_changes(opened, plain.inputs, OPTIONS, {"hosts/shop"})
    assert gone.touched["edge"] == ours


def test_a_header_that_an_issuer_has_tokens_in_passes_by_the_sign_ins():
    issuer = model.Issuer(name="issuers/x", issuer="https://x.example", audiences=("api",))
    service = model.Service(name="services/a", identity="a")
    before = compile_all(Inputs(catalog=model.Catalog.of(1, [service, issuer, login()])), OPTIONS)
    moved = dataclasses.replace(issuer, header="x-other-token")
    after = Inputs(catalog=model.Catalog.of(2, [service, moved, login()]))
    found = compile_changes(before, after, OPTIONS, {"issuers/x"})
    assert ("RDS", "hosts/shop") in found.touched["edge"]
    assert b"x-other-token" in found.edge.of(BY_KEY["RDS"])["hosts/shop"].value


def touched(before, *objects):
    after = model.Catalog.of(2, objects)
    changed = {one.name for one in objects} | set(before.inputs.catalog.hosts)
    changed = {n for n in changed if before.inputs.catalog.get(n) != after.get(n)}
    inputs = Inputs(catalog=after)
    return compile_changes(before, inputs, OPTIONS, changed).touched["edge"]


def test_a_hosts_rules_touch_its_routes_and_its_domains_the_listener():
    other = dataclasses.replace(HOST, name="hosts/other", domains=("other.example",))
    service = model.Service(name="services/a", identity="a")
    before = compile_all(Inputs(catalog=model.Catalog.of(1, [service, HOST, other])), OPTIONS)
    ruled = dataclasses.replace(HOST, access=model.Access(public=True))
    assert touched(before, service, ruled, other) == {("RDS", "hosts/shop")}
    named = dataclasses.replace(HOST, domains=("shop.example", "www.shop.example"))
    assert touched(before, service, named, other) == {("RDS", "hosts/shop"), ("LDS", "edge")}
    assert touched(before, service, HOST) == {("RDS", "hosts/other"), ("LDS", "edge")}
    # A service that comes to stand outside the mesh gets no tokens any more.
    tls = model.ExternalTls(server_name="a.example", ca_pem="roots")
    outside = dataclasses.replace(service, external_tls=tls)
    assert touched(before, outside, HOST, other) == {
        ("CDS", "services/a"),
        ("RDS", "hosts/shop"),
        ("RDS", "hosts/other"),
    }


@pytest.mark.parametrize("old", ["/", "/a", "/a/", "/a.b"])
@pytest.mark.parametrize("new", ["/", "/x", "/x/"])
def test_a_rewritten_prefix_makes_no_double_slash_and_loses_none(old, new):
    made = prefix_rewrite(model.HttpMatch(path_prefix=old), new)
    rest = "1" if old.endswith("/") else "/1"
    if "prefix_rewrite" in made:
        path = made["prefix_rewrite"] + rest
    else:
        rule = made["regex_rewrite"]
        path = re.sub(rule["pattern"]["regex"], rule["substitution"], old + rest)
    assert path == f"{new.rstrip('/')}/1"
