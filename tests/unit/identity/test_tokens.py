import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from gateway.identity.keyring import Keyring, KeyState
from gateway.identity.tokens import TokenRequest, sign
from meshkit.errors import Conflict, FailedPrecondition, InvalidInput, MeshError, Unauthenticated
from meshkit.issuers import ClaimMapping
from meshkit.tokens import edge_claims


NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SEAL = b"s" * 32
DAY = timedelta(hours=24)
KEY = ECKey.generate_key("P-256")
P1 = TokenRequest(subject="passengers/p1", tenant="demo", roles=("passenger",))


def metadata(token: str) -> dict[str, str]:
    """What the edge forwards of a token it has verified."""
    return {"authorization": f"Bearer {token}", "x-aerofusion-claims": token.split(".")[1]}


def encoded(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def token(header: object = None, **changes: object) -> str:
    """A token by hand: what Envoy's verifier lets pass, signed or not."""
    claims = {
        "iss": "aerofusion",
        "aud": "aerofusion-mesh",
        "sub": "passengers/p1",
        "tenant": "demo",
        "roles": ["passenger"],
        "jti": "t1",
        "iat": NOW.timestamp(),
        "exp": NOW.timestamp() + 60,
    } | changes
    given = {name: value for name, value in claims.items() if value is not ...}
    header = {"alg": "ES256", "typ": "JWT", "kid": "k1"} if header is None else header
    return f"{encoded(header)}.{encoded(given)}.c2ln"


def refused(text: str, now: datetime = NOW) -> str:
    with pytest.raises(Unauthenticated) as raised:
        edge_claims(metadata(text), now.timestamp())
    return raised.value.reason


def test_a_signed_token_passes_every_check_behind_the_edge():
    signed = sign(P1, token_id="t1", key_id="k1", key=KEY, now=NOW)

    claims = edge_claims(metadata(signed), NOW.timestamp())

    assert (claims.subject, claims.tenant, claims.roles) == (
        "passengers/p1",
        "demo",
        ("passenger",),
    )
    assert claims.token_id == "t1"
    assert claims.expires_at == (NOW + timedelta(hours=1)).timestamp()
    assert jwt.decode(signed, KEY, algorithms=["ES256"]).claims["aud"] == "aerofusion-mesh"


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "ES256", "kid": "k1"},
        {"alg": "ES256", "kid": "k1", "typ": "at+jwt"},
        {"alg": "ES256", "kid": "k1", "typ": "jwt"},
        {"alg": "ES256", "typ": "JWT"},
        {"alg": "ES256", "typ": "JWT", "kid": ""},
        {"alg": "ES256", "typ": "JWT", "kid": 7},
        {"alg": "RS256", "typ": "JWT", "kid": "k1"},
        {"alg": "none", "typ": "JWT", "kid": "k1"},
        {"alg": "ES256", "typ": "JWT", "kid": "k1", "crit": ["x"], "x": 1},
        {"alg": "ES256", "typ": "JWT", "kid": "k1", "crit": []},
    ],
)
def test_headers_that_envoy_lets_pass_are_refused(header):
    assert refused(token(header)) == "TOKEN_HEADER_REFUSED"


@pytest.mark.parametrize(
    "claim",
    [
        {"iss": "elsewhere"},
        {"iss": ...},
        {"aud": "other"},
        {"aud": ["aerofusion-mesh", "other"]},
        {"aud": ...},
        {"sub": ...},
        {"sub": 1},
        {"sub": "passengers/"},
        {"sub": "passengers/a/b"},
        {"sub": "root"},
        {"tenant": ...},
        {"tenant": 3},
        {"tenant": "Demo"},
        {"tenant": ""},
        {"roles": ...},
        {"roles": []},
        {"roles": "operator"},
        {"roles": ["owner"]},
        {"roles": [["operator"]]},
        {"roles": ["passenger"] * 5},
        {"jti": ...},
        {"jti": ""},
        {"jti": 5},
        {"iat": ...},
        {"iat": "1"},
        {"iat": True},
        {"iat": NOW.timestamp() + 3_600},
        {"exp": ...},
        {"exp": "9999999999"},
        {"exp": float("nan")},
        {"exp": float("inf")},
        {"exp": -1},
        {"nbf": NOW.timestamp() + 3_600},
        {"nbf": "soon"},
    ],
    ids=str,
)
def test_claims_that_are_missing_or_of_the_wrong_kind_are_refused(claim):
    assert refused(token(**claim)) == "TOKEN_CLAIMS_INVALID"


def test_an_expired_token_says_so():
    assert refused(token(), NOW + timedelta(minutes=3)) == "TOKEN_EXPIRED"


def test_claims_that_are_not_the_tokens_are_refused():
    forged = metadata(token()) | {"x-aerofusion-claims": encoded({"sub": "operators/eve"})}

    with pytest.raises(Unauthenticated) as raised:
        edge_claims(forged, NOW.timestamp())

    assert raised.value.reason == "TOKEN_CLAIMS_MISMATCH"


@pytest.mark.parametrize(
    "given_metadata",
    [
        {},
        {"authorization": "Bearer a.b.c"},
        {"x-aerofusion-claims": "e30"},
        {"authorization": "Basic dTpw", "x-aerofusion-claims": "e30"},
        {"authorization": "Bearer ", "x-aerofusion-claims": "e30"},
    ],
)
def test_a_call_without_token_or_claims_is_told_to_send_one(given_metadata):
    with pytest.raises(Unauthenticated) as raised:
        edge_claims(given_metadata, NOW.timestamp())

    assert raised.value.reason == "TOKEN_MISSING"


SESSION = ClaimMapping(
    name="issuers/idp", header="cookie", tenant="nyc", roles=("passenger",)
).encode()


def session(**claims: object) -> dict[str, str]:
    """What the edge forwards of a browser that has signed in: no token comes along."""
    given = {"iss": "https://idp.example", "sub": "ann", "exp": NOW.timestamp() + 60} | claims
    payload = encoded({name: value for name, value in given.items() if value is not ...})
    return {"x-aerofusion-claims": payload, "x-aerofusion-issuer": SESSION}


def test_who_has_signed_in_needs_no_token_behind_the_edge():
    claims = edge_claims(session() | {"cookie": "a=b", "authorization": "x"}, NOW.timestamp())

    assert (claims.subject, claims.tenant, claims.roles) == (
        "passengers/ann",
        "nyc",
        ("passenger",),
    )
    assert (claims.issuer, claims.token_id) == ("issuers/idp", "")


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"iss": "aerofusion"}, "TOKEN_CLAIMS_INVALID"),
        ({"iss": "aerofusion-keys"}, "TOKEN_CLAIMS_INVALID"),
        ({"iss": ...}, "TOKEN_CLAIMS_INVALID"),
        ({"sub": "operators/eve"}, "TOKEN_CLAIMS_INVALID"),
        ({"sub": ...}, "TOKEN_CLAIMS_INVALID"),
        ({"exp": ...}, "TOKEN_CLAIMS_INVALID"),
        ({"exp": NOW.timestamp() - 120}, "TOKEN_EXPIRED"),
        ({"iat": NOW.timestamp() + 120}, "TOKEN_CLAIMS_INVALID"),
    ],
)
def test_what_a_session_says_is_checked_again(claims, reason):
    with pytest.raises(Unauthenticated) as raised:
        edge_claims(session(**claims), NOW.timestamp())

    assert raised.value.reason == reason


def test_only_the_mapping_says_that_no_token_comes():
    bare = session()
    bare["x-aerofusion-issuer"] = ClaimMapping(name="issuers/idp", tenant="nyc").encode()
    for given_metadata in (bare, {"x-aerofusion-claims": session()["x-aerofusion-claims"]}):
        with pytest.raises(Unauthenticated) as raised:
            edge_claims(given_metadata, NOW.timestamp())
        assert raised.value.reason == "TOKEN_MISSING"


def test_a_name_given_twice_in_a_token_is_refused():
    twice = encoded(b'{"sub":"passengers/p1","sub":"operators/eve"}')
    header = encoded({"alg": "ES256", "typ": "JWT", "kid": "k1"})

    assert refused(f"{header}.{twice}.c2ln") == "TOKEN_MALFORMED"


def test_a_token_nested_too_deep_is_refused():
    deep = encoded(b"[" * 5_000 + b"]" * 5_000)

    assert refused(f"{deep}.{deep}.c2ln") == "TOKEN_MALFORMED"


@given(st.text(max_size=80), st.text(max_size=40))
def test_no_text_makes_the_check_fail_in_another_way(text, claims):
    given_metadata = {"authorization": f"Bearer {text}", "x-aerofusion-claims": claims}

    with pytest.raises(Unauthenticated):
        edge_claims(given_metadata, NOW.timestamp())


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"subject": "ada"}, "subject"),
        ({"subject": "passengers/p 1"}, "subject"),
        ({"tenant": ""}, "tenant"),
        ({"tenant": "no such/name"}, "tenant"),
        ({"roles": ()}, "roles"),
        ({"roles": ("operator",)}, "roles"),
        ({"roles": ("passenger", "passenger")}, "roles"),
        ({"lifetime": timedelta(0)}, "ttl"),
        ({"lifetime": timedelta(hours=25)}, "ttl"),
    ],
)
def test_a_token_that_must_not_exist_is_not_signed(changes, field):
    wanted = {"subject": "passengers/p1", "tenant": "demo", "roles": ("passenger",)} | changes

    with pytest.raises(InvalidInput) as raised:
        TokenRequest(**wanted)

    assert list(raised.value.field_violations) == [field]


@given(
    st.sampled_from(["passengers/a", "services/a", "operators/a", "devices/a", "x"]),
    st.sampled_from(["", "demo", "UPPER"]),
    st.lists(st.sampled_from(["passenger", "service", "operator", "device", "x"]), max_size=5),
)
def test_whatever_can_be_signed_is_accepted_behind_the_edge(subject, tenant, roles):
    try:
        wanted = TokenRequest(subject=subject, tenant=tenant, roles=tuple(roles))
    except MeshError:
        return
    signed = sign(wanted, token_id="t", key_id="k", key=KEY, now=NOW)

    assert edge_claims(metadata(signed), NOW.timestamp()).roles == tuple(roles)


def ring() -> Keyring:
    return Keyring().completed(SEAL, now=NOW)


def states(keys: Keyring) -> list[str]:
    return sorted(key.state.name for key in keys.keys)


def test_a_new_ring_signs_with_one_key_and_has_published_the_next():
    assert states(ring()) == ["ACTIVE", "NEXT"]
    assert ring().completed(SEAL, now=NOW).active.state is KeyState.ACTIVE


def test_rotating_keeps_what_was_signed_verifiable():
    before = ring()
    later = NOW + timedelta(minutes=1)
    after = before.rotated(SEAL, expected="", now=later, token_lifetime_max=DAY)
    signed = sign(
        P1, token_id="t", key_id=before.active.key_id, key=before.active.open(SEAL), now=NOW
    )

    keys = KeySet.import_key_set(json.loads(after.jwks_json()))

    assert jwt.decode(signed, keys, algorithms=["ES256"]).claims["sub"] == "passengers/p1"
    assert states(after) == ["ACTIVE", "NEXT", "RETIRED"]
    assert after.active.key_id in before.jwks_json(), "verifiers knew it before it signed"


def test_a_retired_key_is_forgotten_only_after_its_last_token():
    later = NOW + timedelta(minutes=1)
    after = ring().rotated(SEAL, expected="", now=later, token_lifetime_max=DAY)

    assert states(after.pruned(now=later + DAY)) == ["ACTIVE", "NEXT", "RETIRED"]
    assert states(after.pruned(now=later + DAY + timedelta(minutes=2))) == ["ACTIVE", "NEXT"]


def test_naming_the_key_makes_a_repeated_rotation_rotate_once():
    before = ring()
    later = NOW + timedelta(minutes=1)
    after = before.rotated(SEAL, expected=before.active.key_id, now=later, token_lifetime_max=DAY)

    with pytest.raises(Conflict):
        after.rotated(SEAL, expected=before.active.key_id, now=later, token_lifetime_max=DAY)


def test_a_key_that_verifiers_have_hardly_seen_does_not_sign():
    with pytest.raises(FailedPrecondition) as raised:
        ring().rotated(SEAL, expected="", now=NOW, token_lifetime_max=DAY)

    assert raised.value.reason == "KEY_ROTATED_TOO_OFTEN"


def test_retired_keys_are_bounded():
    keys, now = ring(), NOW
    for _ in range(8):
        now += timedelta(minutes=1)
        keys = keys.rotated(SEAL, expected="", now=now, token_lifetime_max=DAY)

    with pytest.raises(FailedPrecondition):
        keys.rotated(SEAL, expected="", now=now + timedelta(minutes=1), token_lifetime_max=DAY)


def test_a_private_key_opens_with_its_seal_key_alone():
    active = ring().active

    assert active.open(SEAL).thumbprint() == active.key_id
    with pytest.raises(FailedPrecondition) as raised:
        active.open(b"t" * 32)
    assert raised.value.reason == "SIGNING_KEY_SEALED"


def test_nothing_private_is_published():
    published = json.loads(ring().jwks_json())["keys"]

    assert [sorted(key) for key in published] == [["alg", "crv", "kid", "kty", "use", "x", "y"]] * 2
