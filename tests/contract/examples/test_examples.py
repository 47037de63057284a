"""Every example of docs/examples, applied to a real edge, with the requests it speaks of."""

import asyncio
import contextlib
import functools
import json
from collections import Counter
from datetime import timedelta

import aiohttp
import grpc
import pytest
import pytest_asyncio

from tests.fixtures.backends import backend_for
from tests.fixtures.cli import meshctl
from tests.fixtures.edge import bearer, edge
from tests.fixtures.examples import (
    TOLERANCE,
    VARIABLES,
    Endpoints,
    domains_of,
    endpoints_of,
    examples,
    parted,
)
from tests.fixtures.second_edge import SECOND, second_edge
from tests.fixtures.webca import WebCa
from tests.fixtures.website import browser


pytestmark = pytest.mark.asyncio(loop_scope="module")

EVERYTHING = ("services/", "hosts/", "issuers/", "policies/", "limits/", "certificates/")
PRUNE = [word for prefix in EVERYTHING for word in ("--prune", prefix)]
SETTLED_WITHIN_S = 10
FIRST = "edge"
GATEWAY = """
---
name: services/gateway
grpc_services: [aerofusion.gateway.v1.LimitService]
endpoints: [{{address: 127.0.0.1, port: {port}}}]
"""
"""As the supervisor registers it: edges ask it about limits."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def mesh(postgres):
    async with edge(postgres, strict_limit_timeout=timedelta(seconds=5)) as made:
        made.workloads = {}
        made.tokens = {}
        made.web = WebCa()
        async with (
            contextlib.AsyncExitStack() as stack,
            made.http() as http,
            browser(made.web.root_pem) as sites,
            made.channel() as channel,
        ):
            other = made.channel(port=await second_edge(made, stack))
            made.channels = {FIRST: channel, SECOND: await stack.enter_async_context(other)}
            made.client, made.sites = http, sites
            yield made


def set_variables(mesh, one, monkeypatch):
    issued = mesh.web.issue(*(domains_of(one.path) or ["none.example"]))
    values = {
        "SITE_CHAIN_PEM": issued.chain_pem,
        "SITE_KEY_PEM": issued.key_pem,
        "TILES_ROOTS_PEM": mesh.web.root_pem,
        "LOGIN_SECRET": "secret",
    }
    assert set(values) == set(VARIABLES)
    for name, value in values.items():
        monkeypatch.setenv(name, value)


async def token(mesh, role):
    if role not in mesh.tokens:
        subject = {"operator": "operators/ada", "service": "services/board"}.get(role)
        words = {"subject": subject} if subject else {}
        mesh.tokens[role] = await mesh.token(role, **words)
    return mesh.tokens[role]


async def headers_of(mesh, step):
    role = step.get("as", "passenger")
    own = () if role == "none" else bearer(await token(mesh, role))
    return (*own, *step.get("headers", {}).items())


async def called(mesh, step):
    """Call a gRPC method: its status and the headers of its answer."""
    raw = mesh.channels[step.get("at", FIRST)].unary_stream(f"/{step['call']}")
    call = raw(b"", metadata=await headers_of(mesh, step), timeout=10)
    try:
        async for _ in call:
            pass
    except grpc.aio.AioRpcError as error:
        found = {**dict(error.initial_metadata() or ()), **dict(error.trailing_metadata() or ())}
        return error.code().name, found, error.details() or ""
    return "OK", dict(await call.initial_metadata()), ""


async def requested(mesh, step):
    """Send an HTTP request: its status and the headers of its answer."""
    verb = "get" if "get" in step else "post"
    more = {"json": step.get("json", {})} if verb == "post" else {}
    client = mesh.sites if "host" in step else mesh.client
    url = f"https://{step.get('host', 'localhost')}:{mesh.port}{step[verb]}"
    headers = dict(await headers_of(mesh, step))
    async with client.request(verb, url, headers=headers, allow_redirects=False, **more) as answer:
        found = {name.lower(): value for name, value in answer.headers.items()}
        return answer.status, found, await answer.text()


async def check_once(mesh, step):
    status, headers, text = await (called if "call" in step else requested)(mesh, step)
    expected = step.get("status", "OK" if "call" in step else 200)
    assert status == expected, f"{step}: {status} {text}"
    if "from" in step:
        assert headers.get("x-backend") == step["from"], step
    for name, part in step.get("answer_headers", {}).items():
        assert part in headers.get(name, ""), f"{step}: {headers}"
    assert str(step.get("body", "")) in text, f"{step}: {text}"


async def check_share(mesh, step):
    one = called if "call" in step else requested
    answers = [await one(mesh, step) for _ in range(step["times"])]
    counts = Counter(headers.get("x-backend", "") for _, headers, _ in answers)
    for name, share in step["share"].items():
        assert abs(counts[name] / step["times"] - share) <= TOLERANCE, counts


def filled(step, found):
    """The step with what earlier ones found in its headers."""
    headers = {name: value.format(**found) for name, value in step.get("headers", {}).items()}
    return {**step, "headers": headers}


async def check(mesh, step, found):
    """Do one step; what it finds goes into *found*."""
    step = filled(step, found)
    if "meshctl" in step:
        words = step["meshctl"].format(**found).split()
        asks = words[0] in ("delete", "rollback", "apply")
        told = ["--json"] if "finds" in step else []
        done = await meshctl(mesh.gateway_socket, *words, *(["--yes"] if asks else []), *told)
        assert done.code == 0, done.err
        for name, path in step.get("finds", {}).items():
            found[name] = functools.reduce(
                lambda value, key: value[key], path.split("."), done.json
            )
    elif "share" in step:
        await check_share(mesh, step)
    else:
        await eventually(lambda: check_once(mesh, step))


async def eventually(attempt):
    """Repeat *attempt* while it fails: endpoints that are checked become healthy when they are."""
    async with asyncio.timeout(SETTLED_WITHIN_S):
        while True:
            try:
                return await attempt()
            except (AssertionError, aiohttp.ClientError) as error:
                last = error
            try:
                await asyncio.sleep(0.05)  # polls
            except asyncio.CancelledError:
                raise last from None


@pytest.mark.parametrize("one", examples(), ids=lambda one: one.path.stem)
async def test_every_edge_takes_the_example_and_answers_as_it_says(mesh, one, monkeypatch):
    endpoints, backends = Endpoints(), []
    for name, service in endpoints_of(one.path).items():
        identity = service.identity or service.name.partition("/")[2]
        if identity not in mesh.workloads:
            mesh.workloads[identity] = await mesh.workload(identity)
        backends.append(backend_for(service, name, mesh.workloads[identity], mesh.web))
        endpoints.ports[name] = await backends[-1].start()
    # Beside the protos and all else that it names.
    copy = one.path.with_name(f".{one.path.name}")
    first, words, then = parted(endpoints.replaced(one.path.read_text()))
    copy.write_text(first + GATEWAY.format(port=mesh.gateway_port))
    set_variables(mesh, one, monkeypatch)
    try:
        done = await meshctl(mesh.gateway_socket, "apply", "-f", str(copy), *PRUNE, "--yes")
        assert done.code == 0, done.err
        assert "2 of 2 proxies have it" in done.out, done.out
        history = await meshctl(mesh.gateway_socket, "history", "--limit", "1", "--json")
        found = {"applied": history.json[0]["revision"]}
        if then:
            copy.write_text(then)
            done = await meshctl(
                mesh.gateway_socket, "apply", "-f", str(copy), *words.split(), "--yes"
            )
            assert done.code == 0, done.err
        for step in one.steps:
            await check(mesh, step, found)
    finally:
        copy.unlink()
        for backend in backends:
            await backend.stop()


async def test_what_was_applied_is_exported_and_changes_nothing(mesh):
    """After the last example, whichever it is."""
    exported = await meshctl(mesh.gateway_socket, "export", "--json")
    assert json.loads(exported.out)
    plan = await meshctl(mesh.gateway_socket, "plan", "-f", "-", *PRUNE, stdin=exported.out)
    assert plan.out == "Nothing to change: the catalog is so already.\n", plan.err
