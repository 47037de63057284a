"""
What policies do, at a real edge: who is meant, by a matrix of principals and callers.

Each principal has a DENY and an ALLOW of its own, about a method of its own, all in one change:
so the matrix tells too that none is about another's calls.
"""

import contextlib
import json

import grpc
import pytest
import pytest_asyncio

from aerofusion.gateway.v1 import catalog_service_pb2 as catalog_rpc
from aerofusion.gateway.v1 import key_service_pb2
from tests.fixtures.echo import SERVICE
from tests.fixtures.issuers import policy


pytestmark = pytest.mark.asyncio(loop_scope="module")

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
DENIED = grpc.StatusCode.PERMISSION_DENIED
PASSED = grpc.StatusCode.UNIMPLEMENTED
"""The upstream, which offers no such method, has answered."""

TABLE = "test.table.v1.TableService"
OTHER = "test.other.v1.OtherService"
OPEN = "test.open.v1.OpenService"
BLOCK = "10.0.0.0/8"

ALL = {"ann", "olga", "shop", "acme", "lists", "zeta"}
OURS = {"ann", "olga", "shop"}
"""With a token or a key of the mesh's own."""

PRINCIPALS = {
    "role": ({"roles": ["operator"]}, {"olga"}),
    "role of everybody's": ({"roles": ["passenger"]}, {"ann", "acme", "zeta"}),
    "role, one of": ({"roles": ["service", "operator"]}, {"olga", "shop"}),
    "role claimed by others only": ({"roles": ["root"]}, set()),
    "scope": ({"scopes": ["flights.read"]}, {"shop", "acme", "lists"}),
    "scope, the last word": ({"scopes": ["bags.write"]}, {"acme"}),
    "scope, part of a word": ({"scopes": ["flights"]}, set()),
    "scope, not a regex": ({"scopes": ["flights-read"]}, {"zeta"}),
    "scope in a list": ({"scopes": ["behind"]}, {"lists"}),
    "tenant": ({"tenants": ["nyc"]}, {*OURS, "acme", "lists"}),
    "tenant of another issuer": ({"tenants": ["jfk"]}, {"zeta"}),
    "tenant, part": ({"tenants": ["ny"]}, set()),
    "subject": ({"subjects": ["passengers/ann"]}, {"ann", "acme"}),
    "subject, prefix": ({"subjects": ["passengers/an*"]}, {"ann", "acme"}),
    "subject, kind": ({"subjects": ["passengers/*"]}, {"ann", "acme", "zeta"}),
    "subject, part of a kind": ({"subjects": ["serv*"]}, {"shop", "lists"}),
    "subject, anybody": ({"subjects": ["*"]}, ALL),
    "subject, no prefix": ({"subjects": ["passengers/an"]}, set()),
    "subject without its kind": ({"subjects": ["ann"]}, set()),
    "issuer, the mesh": ({"issuers": ["issuers/mesh"]}, OURS),
    "issuer, another": ({"issuers": ["issuers/acme"]}, {"acme"}),
    "issuer, one of": ({"issuers": ["issuers/zeta", "issuers/mesh"]}, {*OURS, "zeta"}),
    "claim": ({"claims": [{"name": "plan", "values": ["gold"]}]}, {"acme"}),
    "claim, a list": ({"claims": [{"name": "plan", "values": ["silver"]}]}, {"lists"}),
    "claim, one of": (
        {"claims": [{"name": "plan", "values": ["gold", "silver"]}]},
        {"acme", "lists"},
    ),
    "claim, number": ({"claims": [{"name": "level", "values": ["5"]}]}, {"acme", "lists"}),
    "claim, bool": ({"claims": [{"name": "beta", "values": ["true"]}]}, {"acme", "lists"}),
    "claim, both": (
        {"claims": [{"name": "plan", "values": ["gold"]}, {"name": "level", "values": ["6"]}]},
        set(),
    ),
    "address": ({"remote_ranges": ["127.0.0.0/8"]}, ALL),
    "address, one": ({"remote_ranges": ["127.0.0.1"]}, ALL),
    "address, another": ({"remote_ranges": [BLOCK, "::/0"]}, set()),
    "role and tenant": ({"roles": ["passenger"], "tenants": ["jfk"]}, {"zeta"}),
    "role and address": ({"roles": ["operator"], "remote_ranges": [BLOCK]}, set()),
    "issuer and subject": (
        {"issuers": ["issuers/acme"], "subjects": ["passengers/ann"]},
        {"acme"},
    ),
}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def gate(world):
    """The edge with what is called here, and callers by their names."""
    for name, offered, access in (
        ("table", TABLE, {}),
        ("other", OTHER, {}),
        ("open", OPEN, {"public": True}),
    ):
        more = {"grpc_services": [offered], "json_prefixes": [], "descriptor_set": b""}
        await world.mesh.put_service(name, world.server, access=access, **more)
    key = key_service_pb2.ApiKey(
        subject="services/shop", tenant="nyc", roles=["service"], scopes=["flights.read"]
    )
    shop = await world.keys.CreateKey(key_service_pb2.CreateKeyRequest(key=key))
    lists = type(world.acme)("lists")
    issuers = (
        world.acme.object(),
        world.zeta.object(header="x-zeta-token", tenant="jfk"),
        lists.object(roles=["device"], subject_prefix="services/", header="x-lists-token"),
    )
    acme = world.acme.token(
        scope="flights.read bags.write", plan="gold", level=5, beta=True, roles=["operator", "root"]
    )
    listed = lists.token(
        scope=["flights.read", "behind"], plan=["iron", "silver"], level=[4, 5], beta=[True]
    )
    made = Gate(world, issuers)
    made.callers = {
        "ann": bearer(await world.mesh.token(subject="passengers/ann")),
        "olga": bearer(await world.mesh.token("operator", subject="operators/olga")),
        "shop": (("x-api-key", shop.text),),
        "acme": bearer(acme),
        "lists": (("x-lists-token", listed),),
        "zeta": (("x-zeta-token", world.zeta.token(sub="zoe", scope="a\nb flights-read")),),
        "nobody": (),
    }
    await made.put()
    await world.until(grpc.StatusCode.OK, x_api_key=shop.text)
    async with contextlib.aclosing(made):
        yield made
    await world.put()
    for name in ("table", "other", "open"):
        request = catalog_rpc.DeleteServiceRequest(name=f"services/{name}")
        await world.mesh.catalog.DeleteService(request)


class Gate:
    """Calls through the edge, by whom and of what."""

    def __init__(self, world, issuers):
        self.world = world
        self.mesh = world.mesh
        self._issuers = issuers
        self._channel = world.mesh.channel()
        self.callers = {}

    async def put(self, *policies):
        await self.world.put(*self._issuers, *policies)

    async def code(self, caller, method):
        call = self._channel.unary_unary(f"/{method}")
        try:
            await call(b"", metadata=self.callers[caller])
        except grpc.aio.AioRpcError as error:
            return error.code()
        return grpc.StatusCode.OK

    async def refused(self, method, callers=ALL):
        """Return who of *callers* is refused; all others have passed."""
        found = {caller: await self.code(caller, method) for caller in sorted(callers)}
        assert set(found.values()) <= {DENIED, PASSED}, found
        return {caller for caller, code in found.items() if code is DENIED}

    async def aclose(self):
        await self._channel.close()


def bearer(token):
    return (("authorization", f"Bearer {token}"),)


def methods():
    for number, what in enumerate(PRINCIPALS):
        yield what, f"{TABLE}/Deny{number}", f"{TABLE}/Allow{number}"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def matrix(gate):
    """Every principal in a DENY and an ALLOW, all at once."""
    policies = []
    for number, (what, deny, allow) in enumerate(methods()):
        principal = PRINCIPALS[what][0]
        policies.append(policy(f"deny-{number}", "DENY", principal, methods=[deny]))
        policies.append(policy(f"allow-{number}", "ALLOW", principal, methods=[allow]))
    await gate.put(*policies)
    return gate


async def test_whom_a_deny_means_is_refused_and_nobody_else(matrix):
    wrong = {}
    for what, deny, _ in methods():
        meant, found = PRINCIPALS[what][1], await matrix.refused(deny)
        if found != meant:
            wrong[what] = (found, meant)
    assert not wrong


async def test_whom_an_allow_means_passes_and_nobody_else(matrix):
    wrong = {}
    for what, _, allow in methods():
        meant, found = PRINCIPALS[what][1], ALL - await matrix.refused(allow)
        if found != meant:
            wrong[what] = (found, meant)
    assert not wrong


async def test_without_a_token_no_policy_opens_anything(matrix):
    for _, deny, allow in methods():
        assert await matrix.code("nobody", deny) is UNAUTHENTICATED
        assert await matrix.code("nobody", allow) is UNAUTHENTICATED


async def test_policies_restrict_no_calls_that_they_are_not_about(matrix):
    assert await matrix.refused(f"{TABLE}/Free") == set()
    assert await matrix.refused(f"{OTHER}/Deny0") == set()


ANN = {"subjects": ["passengers/ann"]}
OLGA = {"roles": ["operator"]}
EVERYWHERE = {"remote_ranges": ["127.0.0.0/8"]}
BOTH = {"ann", "olga"}

RULES = {
    "DENY of a method": (
        [policy("p", "DENY", ANN, methods=[f"{TABLE}/A"])],
        {f"{TABLE}/A": {"ann"}, f"{TABLE}/AB": set(), f"{OTHER}/A": set()},
    ),
    "DENY of a gRPC service": (
        [policy("p", "DENY", ANN, grpc_services=[TABLE])],
        {f"{TABLE}/A": {"ann"}, f"{TABLE}/B": {"ann"}, f"{OTHER}/A": set()},
    ),
    "DENY of a service": (
        [policy("p", "DENY", ANN, services=["services/table"])],
        {f"{TABLE}/A": {"ann"}, f"{OTHER}/A": set()},
    ),
    "DENY of everything": (
        [policy("p", "DENY", ANN)],
        {f"{TABLE}/A": {"ann"}, f"{OTHER}/A": {"ann"}, f"{OPEN}/A": {"ann"}},
    ),
    "any list of a scope": (
        [policy("p", "DENY", ANN, services=["services/other"], methods=[f"{TABLE}/A"])],
        {f"{TABLE}/A": {"ann"}, f"{TABLE}/B": set(), f"{OTHER}/B": {"ann"}},
    ),
    "several principals": ([policy("p", "DENY", ANN, OLGA)], {f"{TABLE}/A": BOTH}),
    "ALLOW of everything": ([policy("p", "ALLOW", ANN)], {f"{TABLE}/A": {"olga"}}),
    "ALLOW of a service": (
        [policy("p", "ALLOW", ANN, services=["services/table"])],
        {f"{TABLE}/A": {"olga"}, f"{OTHER}/A": set()},
    ),
    "one of several ALLOWs": (
        [policy("p", "ALLOW", ANN), policy("q", "ALLOW", OLGA, methods=[f"{TABLE}/A"])],
        {f"{TABLE}/A": set(), f"{TABLE}/B": {"olga"}},
    ),
    "DENY beats ALLOW": (
        [policy("p", "ALLOW", ANN), policy("q", "DENY", ANN, methods=[f"{TABLE}/A"])],
        {f"{TABLE}/A": BOTH, f"{TABLE}/B": {"olga"}},
    ),
    "shadow DENY": ([policy("p", "DENY", ANN, shadow=True)], {f"{TABLE}/A": set()}),
    "shadow ALLOW": ([policy("p", "ALLOW", ANN, shadow=True)], {f"{TABLE}/A": set()}),
    "shadow ALLOW beside one that counts": (
        [policy("p", "ALLOW", ANN, shadow=True), policy("q", "ALLOW", OLGA)],
        {f"{TABLE}/A": {"ann"}},
    ),
    "shadow ALLOW is about nothing": (
        [
            policy("p", "ALLOW", ANN, shadow=True),
            policy("q", "ALLOW", OLGA, services=["services/other"]),
        ],
        {f"{TABLE}/A": set(), f"{OTHER}/A": {"ann"}},
    ),
    "none any more": ([], {f"{TABLE}/A": set(), f"{OTHER}/A": set()}),
}


@pytest.mark.parametrize("what", RULES)
async def test_which_calls_are_refused(gate, what):
    policies, expected = RULES[what]
    await gate.put(*policies)
    assert {method: await gate.refused(method, BOTH) for method in expected} == expected


async def test_public_services_are_open_to_all_but_whom_a_policy_means(gate):
    await gate.put(
        policy("away", "DENY", EVERYWHERE, methods=[f"{OPEN}/Deny"]),
        policy("some", "ALLOW", OLGA, methods=[f"{OPEN}/Allow"]),
    )
    everybody = {*BOTH, "nobody"}
    assert await gate.refused(f"{OPEN}/Deny", everybody) == everybody
    assert await gate.refused(f"{OPEN}/Allow", everybody) == {"ann", "nobody"}
    assert await gate.refused(f"{OPEN}/Else", everybody) == set()


async def test_a_policy_is_about_a_method_however_it_is_called(gate):
    await gate.put(policy("away", "DENY", ANN, methods=[f"{SERVICE}/Echo"]))
    async with gate.mesh.http() as http:
        for caller, status, code in (("ann", 403, "7"), ("olga", 200, "0")):
            who = dict(gate.callers[caller])
            for path in ("/echo/v1/echo", "/echo/v1/echo?", "/x/../echo/v1//echo"):
                async with http.post(path, data=b"{}", headers=who) as answer:
                    assert answer.status == status, (caller, path)
            assert await web(http, f"/{SERVICE}/Echo", who) == code, caller
        query = f"/{SERVICE}/Echo?x=/{SERVICE}/Ticks"
        assert await web(http, query, dict(gate.callers["ann"])) == "7"
        async with http.get("/echo/v1/ticks/x", headers=dict(gate.callers["ann"])) as answer:
            assert answer.status == 200


async def web(http, path, headers):
    """Make a gRPC-Web call; returns its status, from the headers or the body's last frame."""
    headers = {"content-type": "application/grpc-web+proto", **headers}
    async with http.post(path, data=bytes(5), headers=headers) as answer:
        body = await answer.read()
        ended = body.rpartition(b"grpc-status:")[2][:1].decode()
        return answer.headers.get("grpc-status") or ended


async def test_a_refusal_does_not_say_by_which_policy(gate):
    await gate.put(policy("secret-name", "DENY", ANN))
    headers = dict(gate.callers["ann"])
    async with (
        gate.mesh.http() as http,
        http.post("/echo/v1/echo", headers=headers) as answer,
    ):
        whole = json.dumps([await answer.text(), dict(answer.headers)])
    assert answer.status == 403
    assert "secret-name" not in whole
