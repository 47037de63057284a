"""Changing the catalog from the command line, with a real edge behind it."""

import json
import re

import pytest
import pytest_asyncio

from meshctl import exits
from meshctl.admin import Admin
from meshctl.cli.running import edge_lines
from meshctl.cli.watch import connected
from tests.fixtures.cli import meshctl, meshctl_process
from tests.fixtures.echo import descriptor_set
from tests.fixtures.edge import edge


pytestmark = pytest.mark.asyncio(loop_scope="module")

SHOP = """\
name: services/shop
description: The duty-free shop.
grpc_services: [test.echo.v1.EchoService]
identity: echo
endpoints:
  - {{address: 127.0.0.1, port: {port}}}
descriptor_set: echo.binpb
json_prefixes: [echo]
unary_timeout: {timeout}
---
name: services/next
identity: echo
endpoints:
  - {{address: 127.0.0.1, port: {port}}}
---
name: services/shop/routes/canary
match: {{grpc_service: test.echo.v1.EchoService}}
destinations:
  - {{service: services/shop, weight: 90}}
  - {{service: services/next, weight: 10}}
"""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def mesh(postgres):
    async with edge(postgres) as made:
        made.server = await made.echo("0")
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def run(mesh):
    async def run(*words, **more):
        return await meshctl(mesh.gateway_socket, *words, **more)

    return run


@pytest_asyncio.fixture(loop_scope="module")
async def shop(mesh, run, tmp_path):
    """The shop as the catalog has it, whatever the test before made of it; its file."""
    path = tmp_path / "shop.yaml"
    (tmp_path / "echo.binpb").write_bytes(descriptor_set())
    path.write_text(SHOP.format(port=mesh.server.port, timeout="5s"))
    done = await run("apply", "-f", str(path), "--prune", "services/", "--yes")
    assert done.code == 0, done.err
    return path


def edited(path, old, new):
    path.write_text(path.read_text().replace(old, new))
    return str(path)


async def test_a_plan_tells_field_by_field_and_changes_nothing(run, shop):
    before = (await run("list", "--json")).json
    edited(shop, "unary_timeout: 5s", "unary_timeout: 2s")
    edited(shop, "weight: 90", "weight: 80")
    plan = await run("plan", "-f", str(shop))

    assert plan.out == (
        "~ services/shop\n"
        "    unary_timeout  5s → 2s\n"
        "~ services/shop/routes/canary\n"
        "    destinations[0].weight  90 → 80\n"
        "\nPlan: 2 to update.\n"
    )
    assert (await run("list", "--json")).json == before
    assert (await run("plan", "-f", str(shop), "--exit-code")).code == exits.DIFFERS


async def test_a_change_is_followed_until_every_edge_has_it(run, shop):
    done = await run("apply", "-f", edited(shop, "5s", "2s"), "--yes")

    assert done.code == 0, done.err
    assert "edge: acknowledged after " in done.out
    assert " is active: 1 of 1 proxies have it after " in done.out.splitlines()[-1]
    assert "unary_timeout: 2s" in (await run("get", "services/shop")).out


async def test_what_is_so_already_makes_no_revision(run, shop):
    done = await run("apply", "-f", str(shop), "--yes")

    assert (done.code, done.out) == (0, "Nothing to change: the catalog is so already.\n")
    assert (await run("plan", "-f", str(shop), "--exit-code")).code == exits.OK


async def test_without_a_terminal_nobody_is_asked_and_nothing_is_done(run, shop):
    refused = await run("apply", "-f", edited(shop, "5s", "3s"))

    assert refused.code == exits.USAGE
    assert "Try: --yes" in refused.err
    assert "unary_timeout: 5s" in (await run("get", "services/shop")).out


async def test_what_is_refused_is_told_with_the_line_of_the_file(mesh, run, shop):
    edited(shop, "unary_timeout: 5s", "unary_timeout: 2h")
    edited(shop, "weight: 90", "weight: 90000")
    refused = await run("apply", "-f", str(shop), "--yes")

    assert refused.code == exits.FAILED
    assert f"  {shop}:9: services/shop unary_timeout: must be 0.001 to 3600 s\n" in refused.err
    edited(shop, "unary_timeout: 2h", "unary_timeout: 5s")
    refused = await run("plan", "-f", str(shop))
    assert f"  {shop}:19: services/shop/routes/canary destinations[0].weight: " in refused.err


async def test_an_edge_that_refuses_is_told_with_object_and_line(mesh, run, shop):
    broken = descriptor_set().replace(b"/echo/v1/echo", b"!echo/v1/echo")
    (shop.parent / "echo.binpb").write_bytes(broken)
    refused = await run("apply", "-f", str(shop), "--yes")

    assert refused.code == exits.FAILED
    assert "descriptor_set  changed, not shown" in refused.out
    assert " is refused in part" in refused.err
    assert f"{shop}:7: services/shop descriptor_set\n" in refused.err
    assert "meshctl rollback " in refused.err
    told = await run("edges")
    assert told.code == exits.FAILED
    assert "refuses 1" in told.out


async def test_pruning_takes_away_what_the_files_do_not_have(run, shop):
    documents = shop.read_text().split("---\n")
    shop.write_text(documents[0])
    done = await run("apply", "-f", str(shop), "--prune", "services/", "--yes", "--json")

    assert [(one["name"], one["action"]) for one in done.json["changes"]] == [
        ("services/next", "ACTION_DELETE"),
        ("services/shop/routes/canary", "ACTION_DELETE"),
    ]
    assert done.json["state"]["state"] == "STATE_ACTIVE"


@pytest.mark.parametrize("how", ["text", "folder", "json"])
async def test_what_was_exported_changes_nothing_when_it_is_applied(run, shop, how, tmp_path):
    if how == "folder":
        folder = tmp_path / "exported"
        done = await run("export", "--to", str(folder))
        assert (folder / "services/shop.binpb").read_bytes() == descriptor_set()
        words, text = ("-f", str(folder)), ""
    else:
        done = await run("export", *(("--json",) if how == "json" else ()))
        words, text = ("-f", "-"), done.out
    assert done.code == 0, done.err
    plan = await run("plan", *words, "--prune", "services/", stdin=text)

    assert plan.out == "Nothing to change: the catalog is so already.\n", plan.err


async def test_a_rollback_makes_the_catalog_what_it_was(run, shop):
    before = (await run("history", "--limit", "1", "--json")).json[0]["revision"]
    await run("apply", "-f", edited(shop, "5s", "2s"), "--yes")
    assert "unary_timeout  5s → 2s" in (await run("diff")).out
    assert "unary_timeout  5s → 2s" in (await run("diff", str(before))).out
    done = await run("rollback", str(before), "--yes")

    assert done.code == 0, done.err
    assert "unary_timeout  2s → 5s" in done.out
    assert "unary_timeout: 5s" in (await run("get", "services/shop")).out
    assert "unary_timeout: 5s" in (await run("get", "services/shop", "--revision", str(before))).out


async def test_a_rollback_to_what_will_be_says_where_revisions_are(run, shop):
    refused = await run("rollback", "999999", "--yes")

    assert refused.code == exits.FAILED
    assert "Try: meshctl history" in refused.err


async def test_objects_are_deleted_together(run, shop):
    refused = await run("delete", "services/next", "--yes")
    assert refused.code == exits.FAILED
    assert "services/shop/routes/canary needs services/next" in refused.err
    done = await run("delete", "services/next", "services/shop/routes/canary", "--yes")

    assert done.code == 0, done.err
    assert [one["name"] for one in (await run("list", "--json")).json] == ["services/shop"]


async def test_a_name_is_checked_before_anything_is_asked(run):
    refused = await run("get", "service/shop")

    assert refused.code == exits.USAGE
    assert "one of services/S, services/S/routes/R" in refused.err


async def test_a_change_can_be_followed_later(run, shop):
    newest = (await run("history", "--limit", "1", "--json")).json[0]["revision"]
    followed = await run("watch", str(newest), "--json")

    assert followed.json["name"] == f"changes/{newest}"
    assert [one["node"] for one in followed.json["receipts"]] == ["edge"]
    missing = await run("watch", "999999")
    assert (missing.code, "CHANGE_NOT_FOUND" in missing.err) == (exits.FAILED, True)


async def test_the_edges_are_shown_with_what_they_have(run, shop):
    found = await run("edges")

    assert found.code == 0
    assert [line.split()[0] for line in found.out.splitlines()] == ["PROXY", "edge"]
    assert found.out.splitlines()[1].endswith("has all")
    assert (await run("edges", "--json")).json[0]["flavour"] == "edge"


async def test_names_of_objects_are_completed(mesh, shop):
    done = await meshctl_process(
        _MESHCTL_COMPLETE="bash_complete",
        COMP_WORDS=f"meshctl --gateway {mesh.gateway_socket} get services/s",
        COMP_CWORD="4",
    )

    assert done.out.split() == ["plain,services/shop", "plain,services/shop/routes/canary"]


async def test_without_a_gateway_it_is_said_to_be_away(tmp_path):
    refused = await meshctl(tmp_path / "none.sock", "list")

    assert refused.code == exits.UNAVAILABLE
    assert "The gateway is away" in refused.err


async def test_a_change_that_came_in_between_is_not_written_over(mesh, run, shop):
    etag = json.loads((await run("get", "services/shop", "--json")).out)["etag"]
    documents = shop.read_text().split("---\n")
    documents[0] += f"etag: {etag}\n"
    await run("apply", "-f", edited(shop, "5s", "2s"), "--yes")
    shop.write_text("---\n".join(documents))
    refused = await run("apply", "-f", str(shop), "--yes")

    assert refused.code == exits.FAILED
    assert "ETAG_MISMATCH" in refused.err


async def test_a_key_is_shown_once_listed_without_its_text_and_revoked(run):
    made = await run("key", "create", "--subject", "services/shop", "--role", "service")
    text = made.out.strip()
    assert (made.code, text.count(".")) == (0, 2), made.err
    (listed,) = (await run("key", "list", "--subject", "services/shop", "--json")).json
    key_id = listed["name"].removeprefix("apiKeys/")
    assert text not in (await run("key", "list", "--json")).out
    revoked = await run("key", "revoke", key_id, "--reason", "a test")

    assert revoked.out.startswith(f"{key_id} is revoked; remembered until ")
    assert " revoked" in (await run("key", "list")).out
    assert (await run("revoke", key_id, "--json")).json["reason"] == "a test"


async def test_a_status_says_what_the_edge_has_and_refuses(mesh, run, shop, tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text('{name: services/bad, endpoints: [{address: "fe80::1%nope", port: 1}]}')

    async def said():
        async with Admin(mesh.gateway_socket) as admin:
            return edge_lines(*await connected(admin))

    await mesh.settled()
    (line,) = await said()
    assert re.fullmatch(r"proxy      edge: revision [0-9]+, has all", line)
    assert (await run("apply", "-f", str(bad), "--yes")).code == exits.FAILED
    line, refusal = await said()
    assert line.endswith("refuses 1")
    assert refusal.startswith("           refuses services/bad endpoints[].address: malformed")
    assert (await run("delete", "services/bad", "--yes")).code == exits.OK
