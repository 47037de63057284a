"""Browsers sign in at a host: a real Envoy, a real provider, a browser by hand and a real one."""

import asyncio
import base64
import json
import shutil
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import pytest_asyncio

from aerofusion.gateway.v1 import config_service_pb2, key_service_pb2, key_service_pb2_grpc
from tests.fixtures.issuers import policy
from tests.fixtures.logins import (
    BRIEF,
    COOKIE,
    SITE,
    claims_of,
    open_logins,
    signed_in,
    site,
    status,
    until,
)
from tests.fixtures.provider import HOST
from tests.fixtures.visitor import Visitor


pytestmark = pytest.mark.asyncio(loop_scope="module")

BROWSER = Path(__file__).parents[2] / "fixtures" / "sign_in.mjs"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def sites(postgres):
    async with open_logins(postgres) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def http(sites):
    async with sites.browser() as made:
        yield made


@pytest.fixture
def visitor(http):
    return Visitor(http)


async def test_a_browser_signs_in_and_gets_the_page_it_asked_for(sites, visitor):
    before = len(sites.shop.requests)
    answer = await visitor.ask(sites.url("/x?y=1&z=%20"))
    asked = {
        key: value[0] for key, value in parse_qs(urlsplit(answer.headers["location"]).query).items()
    }
    assert answer.status == 302
    assert answer.headers["location"].startswith(f"{sites.idp.address}/auth?")
    assert asked["code_challenge_method"] == "S256"
    assert (asked["client_id"], asked["scope"]) == ("shop", "openid")
    assert asked["redirect_uri"] == sites.url("/oauth2/callback")
    assert len(sites.shop.requests) == before

    answer = await visitor.visit(sites.url("/x?y=1&z=%20"))

    assert (answer.status, answer.url) == (200, sites.url("/x?y=1&z=%20"))
    claims = claims_of(answer)
    assert (claims.subject, claims.tenant) == ("passengers/ann", "nyc")
    assert (claims.roles, claims.issuer) == (("passenger",), "issuers/idp")


async def test_cookies_are_out_of_reach_of_scripts_and_of_other_names(sites, visitor):
    set_cookies = []
    answer = await visitor.ask(sites.url("/"))
    set_cookies += answer.set_cookies
    ask = visitor.ask

    async def noted(*args, **fields):
        answer = await ask(*args, **fields)
        if urlsplit(answer.url).hostname == SITE:
            set_cookies.extend(answer.set_cookies)
        return answer

    visitor.ask = noted
    await visitor.visit(sites.url("/"))
    given = [line for line in set_cookies if "=deleted" not in line]
    names = {line.partition("=")[0].removeprefix(COOKIE).partition(".")[0] for line in given}
    assert names == {"proof", "expires", "id", "refresh", "nonce", "verifier"}
    for line in given:
        attributes = {one.strip().lower() for one in line.split(";")[1:]}
        assert line.startswith(COOKIE), line
        assert {"secure", "httponly", "samesite=lax", "path=/"} <= attributes, line
        assert not any(one.startswith("domain") for one in attributes), line
    kept = visitor.cookies[SITE]
    for name in ("id", "refresh"):
        assert "." not in kept[COOKIE + name].removeprefix("gcm."), "sealed, not a token"


async def test_services_get_who_it_is_and_nothing_of_the_session(sites, visitor):
    await signed_in(sites, visitor)
    visitor.cookies[SITE] |= {"theme": "dark", "__Host-other": "1"}
    answer = await visitor.ask(sites.url("/page"))
    headers = json.loads(answer.text)["headers"]
    assert set(headers["cookie"].split("; ")) == {"theme=dark", "__Host-other=1"}
    assert not {"authorization", "x-aerofusion-sign-in"} & headers.keys()
    token = json.loads(base64.urlsafe_b64decode(headers["x-aerofusion-claims"] + "=="))
    assert (token["sub"], token["aud"]) == ("ann", "shop")
    mesh = await sites.user()
    answer = await visitor.ask(sites.url("/page"), headers=mesh)
    assert answer.status == 200
    assert COOKIE not in json.loads(answer.text)["headers"].get("cookie", "")
    visitor.cookies[SITE] = {
        name: value for name, value in visitor.cookies[SITE].items() if COOKIE in name
    }
    answer = await visitor.ask(sites.url("/page"))
    assert "cookie" not in json.loads(answer.text)["headers"]


async def test_roles_and_policies_hold_for_who_has_signed_in(sites, visitor, http):
    await signed_in(sites, visitor)
    assert (await visitor.ask(sites.url("/staff"))).status == 403
    olga = Visitor(http, "olga")
    answer = await olga.visit(sites.url("/staff"))
    assert (answer.status, claims_of(answer).roles) == (200, ("service",))
    denied = policy("p", "DENY", {"subjects": ["passengers/ann"]}, hosts=["hosts/shop"])
    await sites.apply(object_of(denied))
    assert (await visitor.ask(sites.url("/page"))).status == 403
    assert (await olga.ask(sites.url("/page"))).status == 200
    await sites.apply(deletes=["policies/p"])
    assert (await visitor.ask(sites.url("/page"))).status == 200


def object_of(one):
    return config_service_pb2.ChangeSet().objects.add(policy=one)


async def test_what_is_public_stays_so_and_knows_who_has_signed_in(sites, visitor):
    answer = await visitor.ask(sites.url("/open/a"))
    headers = json.loads(answer.text)["headers"]
    assert answer.status == 200
    assert not [name for name in headers if name.startswith(("x-aerofusion-", "x-envoy-oauth"))]
    await signed_in(sites, visitor)
    assert claims_of(await visitor.ask(sites.url("/open/a"))).subject == "passengers/ann"


SCRIPTS = {
    "gRPC-Web": ("POST", {"content-type": "application/grpc-web+proto", "accept": "*/*"}),
    "gRPC-Web that says it takes pages": ("GET", {"content-type": "application/grpc-web-text"}),
    "fetch": ("GET", {"sec-fetch-mode": "cors"}),
    "fetch of the own site": ("GET", {"sec-fetch-mode": "same-origin", "accept": "*/*"}),
    "XMLHttpRequest": ("GET", {"x-requested-with": "XMLHttpRequest"}),
    "a form": ("POST", {"content-type": "application/x-www-form-urlencoded"}),
    "an image": ("GET", {"accept": "image/avif,image/webp,*/*", "sec-fetch-mode": "no-cors"}),
    "a tool": ("GET", {"accept": "*/*"}),
    "PUT": ("PUT", {}),
}


@pytest.mark.parametrize("kind", SCRIPTS)
async def test_scripts_are_told_401_and_never_sent_to_a_page(sites, visitor, kind):
    method, headers = SCRIPTS[kind]
    before = len(sites.shop.requests)
    for path in ("/x", "/staff", "/nothing"):
        answer = await visitor.ask(sites.url(path), method=method, headers=headers)
        assert answer.status == 401, answer
        assert "location" not in answer.headers
        assert not answer.set_cookies
    assert len(sites.shop.requests) == before
    await signed_in(sites, visitor)
    answer = await visitor.ask(sites.url("/x"), method=method, headers=headers)
    assert answer.status == 200, answer


async def test_a_grpc_call_without_a_session_gets_a_grpc_status(sites, visitor):
    headers = {"content-type": "application/grpc", "te": "trailers", "accept": "*/*"}
    answer = await visitor.ask(sites.url("/a.B/C"), method="POST", headers=headers)
    assert (answer.status, answer.headers["grpc-status"]) == (200, "16")


async def test_a_token_that_is_brought_counts_and_no_session(sites, visitor):
    mesh = await sites.user()
    assert (await visitor.ask(sites.url("/x"), headers=mesh)).status == 200
    keys = key_service_pb2_grpc.KeyServiceStub(sites.mesh.operator)
    made = key_service_pb2.ApiKey(subject="services/board", tenant="nyc", roles=["service"])
    made = await keys.CreateKey(key_service_pb2.CreateKeyRequest(key=made))
    key = {"x-api-key": made.text}
    answer = await until(lambda: visitor.ask(sites.url("/staff"), headers=key), status(200))
    assert claims_of(answer).subject == "services/board"
    await signed_in(sites, visitor)
    for bad in ("Bearer a.b.c", "bearer a.b.c", "Bearer x"):
        answer = await visitor.ask(sites.url("/x"), headers={"authorization": bad})
        assert answer.status == 401, bad
    basic = await visitor.ask(sites.url("/x"), headers={"authorization": "Basic YTpi"})
    assert claims_of(basic).subject == "passengers/ann"
    assert "authorization" not in json.loads(basic.text)["headers"]


async def test_sessions_that_were_altered_are_none(sites, visitor, http):
    mine = dict(await signed_in(sites, visitor))
    olga = Visitor(http, "olga")
    hers = dict(await signed_in(sites, olga))
    late = str(int(time.time()) + 10**6)
    brief = Visitor(http)
    other = dict(await signed_in(sites, brief, BRIEF))
    forgeries = {
        "another's ID token": mine | {COOKIE + "id": hers[COOKIE + "id"]},
        "a later end": mine | {COOKIE + "expires": late},
        "another's proof": mine | {COOKIE + "proof": hers[COOKIE + "proof"]},
        "an altered ID token": mine | {COOKIE + "id": mine[COOKIE + "id"][:-6] + "AAAAAA"},
        "no proof": {name: value for name, value in mine.items() if "proof" not in name},
        "no ID token": {name: value for name, value in mine.items() if not name.endswith("-id")},
        "of another site": other,
        "nothing of it true": {
            COOKIE + name: "x" for name in ("proof", "expires", "id", "refresh")
        },
    }
    before = len(sites.shop.requests)
    for what, cookies in forgeries.items():
        # A refresh token that is good would make a session of it anew, and the right one.
        visitor.cookies[SITE] = {n: v for n, v in cookies.items() if n != COOKIE + "refresh"}
        answer = await visitor.ask(sites.url("/x"))
        assert answer.status == 302, what
        assert answer.headers["location"].startswith(f"{sites.idp.address}/auth"), what
    assert len(sites.shop.requests) == before
    visitor.cookies[SITE] = mine
    assert claims_of(await visitor.ask(sites.url("/x"))).subject == "passengers/ann"


async def test_nobody_writes_what_the_sign_in_hands_on(sites, visitor):
    token = await id_token(sites, visitor)
    visitor.cookies.clear()
    for headers in (
        {"x-aerofusion-sign-in": token},
        {"x-aerofusion-sign-in": token, "authorization": "Bearer "},
        {"authorization": f"Bearer {token}"},
        {"x-aerofusion-sign-in-idp": sites.idp.address},
    ):
        answer = await visitor.ask(sites.url("/x"), headers={"accept": "*/*", **headers})
        # As a bearer token it is one of the issuer's, but for the site and not for the mesh.
        assert answer.status in {401, 403}, headers
    # Nor does a cookie count that no session stands behind, whatever passes by the sign-in.
    brought = ({}, {"authorization": "Bearer a.b.c"}, {"x-api-key": "afk_x"})
    for headers in brought:
        visitor.cookies[SITE] = {COOKIE + "id": token}
        answer = await visitor.ask(sites.url("/x"), headers={"accept": "*/*", **headers})
        assert answer.status == 401, headers
    visitor.cookies[SITE] = {COOKIE + "id": token}
    answer = await visitor.ask(sites.url("/open/a"))
    told = json.loads(answer.text)["headers"]
    assert not [name for name in told if name.startswith("x-aerofusion-")]


async def id_token(sites, visitor):
    """The ID token that the provider gave: it comes to light when it is told to the provider."""
    await signed_in(sites, visitor)
    kept = dict(visitor.cookies[SITE])
    answer = await visitor.ask(sites.url("/oauth2/signout"))
    visitor.cookies[SITE] = kept
    return parse_qs(urlsplit(answer.headers["location"]).query)["id_token_hint"][0]


async def test_answers_of_a_sign_in_that_this_browser_did_not_begin_are_refused(
    sites, visitor, http
):
    answer = await visitor.ask(sites.url("/x"))
    victim = Visitor(http, "eve")
    while urlsplit(place := answer.headers.get("location", "")).hostname != SITE:
        answer = await visitor.step(answer)
    assert "/oauth2/callback?" in place
    query = parse_qs(urlsplit(place).query)
    assert (await victim.ask(place)).status == 401
    evil = (
        base64.urlsafe_b64encode(
            json.dumps({**state_of(query["state"][0]), "url": "https://evil.example/"}).encode()
        )
        .decode()
        .rstrip("=")
    )
    for state in (evil, "x", "", query["state"][0][:-4]):
        forged = f"/oauth2/callback?code={query['code'][0]}&state={state}"
        answer = await visitor.ask(sites.url(forged))
        assert answer.status == 401, state
        assert "location" not in answer.headers, state
    assert (await visitor.ask(sites.url("/oauth2/callback"))).status == 401
    wrong = f"/oauth2/callback?code=wrong&state={query['state'][0]}"
    assert (await visitor.ask(sites.url(wrong))).status == 401
    assert COOKIE + "proof" not in visitor.cookies[SITE]


def state_of(text):
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


async def test_signing_out_ends_the_session_at_the_provider_too(sites, visitor):
    await signed_in(sites, visitor)
    answer = await visitor.ask(sites.url("/oauth2/signout"))
    assert answer.status == 302
    assert answer.headers["location"].startswith(f"{sites.idp.address}/session/end?")
    assert not [name for name in visitor.cookies[SITE] if name.startswith(COOKIE)]
    visitor.name = "olga"
    # Sent back to the site, it has to sign in again, and isn't known to the provider any more.
    answer = await visitor.visit(answer.headers["location"])
    assert answer.status == 200, answer
    assert claims_of(answer).subject == "passengers/olga"


async def test_who_has_no_role_of_ours_is_known_and_refused_by_services(sites, http):
    stranger = Visitor(http, "nobody")
    assert (await stranger.visit(sites.url("/staff"))).status == 403


async def test_what_is_nobodys_is_404_once_somebody_has_signed_in(sites, visitor):
    rules = [{"id": "all", "match": {"path_prefix": "/some"}}]
    await sites.apply(site(sites, rules=rules))
    try:
        assert (await visitor.ask(sites.url("/none"))).status == 302
        answer = await visitor.visit(sites.url("/none"))
        assert (answer.status, answer.text) == (404, "There is nothing by this name.")
    finally:
        await sites.apply(site(sites))


@pytest.mark.browser
async def test_a_real_browser_signs_in_and_out(sites):
    task = {
        "chromium": shutil.which("chromium"),
        "site": sites.url("").rstrip("/"),
        "user": "olga",
    }
    run = await asyncio.create_subprocess_exec(
        *("node", BROWSER, json.dumps(task)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=BROWSER.parent,
    )
    out, err = await run.communicate()
    assert run.returncode == 0, err.decode()
    seen = json.loads(out)
    assert seen["before"] == {"page": 401, "image": 401}, "scripts aren't sent to sign in"
    assert seen["asked"] == HOST
    assert (seen["url"], seen["said"]["path"]) == (task["site"] + "/staff?x=1", "/staff?x=1")
    assert "cookie" not in seen["said"]["headers"]
    assert seen["script"] == {"status": 200, "subject": "olga", "cookies": ""}
    assert {(one["httpOnly"], one["secure"], one["sameSite"]) for one in seen["cookies"]} == {
        (True, True, "Lax")
    }
    assert seen["left"] == []
    assert seen["after"] == 401
    assert seen["again"] == HOST
