"""Certificates of hosts: checked before any edge hears of them, sealed at rest, rotated live."""

import asyncio
import base64
import json
import ssl

import grpc
import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from aerofusion.gateway.v1 import catalog_service_pb2 as catalog_rpc
from aerofusion.gateway.v1 import config_service_pb2 as rpc
from meshkit.postgres import open_pool
from meshkit.status import from_rpc_error
from tests.fixtures.sites import host, open_sites, to
from tests.fixtures.waiting import until
from tests.fixtures.webca import DAY, key_pem


pytestmark = pytest.mark.asyncio(loop_scope="module")

RULES = [{"id": "all", "access": {"public": True}, "direct_response": {"status": 200}}]


class _Remembering:
    def __init__(self, postgres):
        self._postgres = postgres

    async def database(self, name):
        self.dsn = await self._postgres.database(name)
        return self.dsn


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def sites(postgres):
    remembering = _Remembering(postgres)
    async with open_sites(remembering) as made:
        made.dsn = remembering.dsn
        await made.apply(made.certificate("web", "shop.example", "*.wild.example"))
        await made.apply(host(rules=RULES))
        yield made


async def refused(sites, *objects):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await sites.apply(*objects)
    return from_rpc_error(caught.value)


async def shown(sites, name="shop.example"):
    """Return the certificate the edge shows for a name."""
    context = ssl.create_default_context(cadata=sites.ca.root_pem)
    _, writer = await asyncio.open_connection(
        "127.0.0.1", sites.mesh.port, ssl=context, server_hostname=name
    )
    found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return x509.load_der_x509_certificate(found)


async def comes(sites, wanted, name="shop.example"):
    """Wait until the edge shows the certificate *wanted*."""
    async with asyncio.timeout(5):
        while True:
            if await shown(sites, name) == wanted:
                return
            await asyncio.sleep(0.01)  # polls


def leaf(issued):
    return x509.load_pem_x509_certificate(issued.chain_pem.encode())


async def get(sites, name="certificates/web"):
    return (await sites.mesh.config.GetObject(rpc.GetObjectRequest(name=name))).object


async def test_a_host_shows_its_certificate_and_says_what_it_is(sites):
    assert await shown(sites) == leaf(sites.certificates["web"])
    told = (await get(sites)).certificate
    assert list(told.domains) == ["*.wild.example", "shop.example"]
    assert told.expire_time.ToDatetime() == leaf(
        sites.certificates["web"]
    ).not_valid_after_utc.replace(tzinfo=None)
    assert not told.private_key_pem


async def test_a_new_certificate_is_shown_and_no_stream_is_cut(sites):
    site = await sites.website("shop")
    sockets = [{"id": "all", "access": {"public": True}, "forward": to("shop", upgrades=True)}]
    await sites.apply(host(rules=sockets))
    before = await sites.stats("listener_manager.listener_modified")
    async with (
        sites.browser() as http,
        http.ws_connect(sites.url("/socket")) as socket,
    ):
        for number in range(5):
            fresh = sites.certificate("web", "shop.example", "*.wild.example")
            await sites.apply(fresh)
            await comes(sites, leaf(sites.certificates["web"]))
            await socket.send_str(str(number))
            assert await socket.receive_str(timeout=5) == f"shop: {number}"
    assert await sites.stats("listener_manager.listener_modified") == before
    assert site.requests
    await sites.apply(host(rules=RULES))


async def test_the_same_certificate_again_is_no_change(sites):
    issued = sites.certificates["web"]
    whole = {
        "name": "certificates/web",
        "chain_pem": issued.chain_pem,
        "private_key_pem": issued.key_pem,
    }
    assert not (await sites.apply({"certificate": whole})).changes
    # Nor is it without the key, which is never shown.
    del whole["private_key_pem"]
    assert not (await sites.apply({"certificate": whole})).changes


@pytest.mark.parametrize("kind", ["rsa", "p384"])
async def test_kinds_of_keys_that_envoy_takes_are_taken(sites, kind):
    key = (
        rsa.generate_private_key(65537, 2048)
        if kind == "rsa"
        else ec.generate_private_key(ec.SECP384R1())
    )
    await sites.apply(sites.certificate(kind, "kinds.wild.example", key=key))
    await sites.apply(
        host("kinds", domains=["kinds.wild.example"], certificate=f"certificates/{kind}",
             rules=RULES)
    )  # fmt: skip
    await comes(sites, leaf(sites.certificates[kind]), "kinds.wild.example")
    await sites.apply(deletes=["hosts/kinds"])


async def test_what_is_no_certificate_with_its_key_is_refused(sites):
    ca, own = sites.ca, sites.ca.issue("shop.example")
    other = ca.issue("shop.example")
    leaf_pem, _, between_pem = own.chain_pem.partition("-----END CERTIFICATE-----\n")
    leaf_pem += "-----END CERTIFICATE-----\n"
    p521 = ec.generate_private_key(ec.SECP521R1())
    small = rsa.generate_private_key(65537, 1024)  # noqa: S505 - it is to be refused
    edwards = ed25519.Ed25519PrivateKey.generate()
    sec1 = serialization.load_pem_private_key(own.key_pem.encode(), None)
    client = ca.issue("shop.example", usage=ExtendedKeyUsageOID.CLIENT_AUTH)
    ended, future = ca.issue("shop.example", ends=-DAY / 2), ca.issue("shop.example", begins=DAY)
    nameless = ca.issue()
    cases = [
        ("chain_pem", "nonsense", own.key_pem),
        ("chain_pem", own.key_pem + own.chain_pem, own.key_pem),
        ("chain_pem", leaf_pem + ca.root_pem, own.key_pem),
        ("chain_pem", between_pem + leaf_pem, own.key_pem),
        ("chain_pem", client.chain_pem, client.key_pem),
        ("chain_pem", ended.chain_pem, ended.key_pem),
        ("chain_pem", future.chain_pem, future.key_pem),
        ("chain_pem", nameless.chain_pem, nameless.key_pem),
        ("private_key_pem", own.chain_pem, other.key_pem),
        ("private_key_pem", own.chain_pem, "nonsense"),
        ("private_key_pem", own.chain_pem, own.key_pem + own.key_pem),
        ("private_key_pem", own.chain_pem, ""),
        (
            "private_key_pem",
            own.chain_pem,
            key_pem(sec1, serialization.PrivateFormat.TraditionalOpenSSL),
        ),
        *(
            ("private_key_pem", (bad := ca.issue("shop.example", key=key)).chain_pem, bad.key_pem)
            for key in (p521, small, edwards)
        ),
    ]
    for field, chain, key in cases:
        error = await refused(
            sites,
            {
                "certificate": {
                    "name": "certificates/bad", "chain_pem": chain, "private_key_pem": key
                }
            },
        )  # fmt: skip
        assert error.reason == "INVALID_OBJECT"
        assert f"certificate.{field}" in error.field_violations, (field, error.field_violations)
        assert "BEGIN" not in str(error)


async def test_a_certificate_must_be_good_for_its_hosts_domains(sites):
    error = await refused(sites, host("b", domains=["b.example"], rules=RULES))
    assert (error.reason, error.metadata["domain"]) == ("CERTIFICATE_MISFIT", "b.example")
    for domain in ("a.b.wild.example", "wild.example", "*.b.wild.example"):
        error = await refused(sites, host("b", domains=[domain], rules=RULES))
        assert error.reason == "CERTIFICATE_MISFIT", domain
    await sites.apply(host("b", domains=["b.wild.example"], rules=RULES))
    await sites.apply(host("b", domains=["*.wild.example"], rules=RULES))
    # Nor may it become one that isn't.
    error = await refused(sites, sites.certificate("web", "shop.example"))
    assert (error.reason, error.metadata["host"]) == ("CERTIFICATE_MISFIT", "hosts/b")
    await sites.apply(deletes=["hosts/b"])
    await sites.apply(sites.certificate("web", "shop.example", "*.wild.example"))


async def test_a_certificate_that_is_shown_cannot_go(sites):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await sites.apply(deletes=["certificates/web"])
    assert from_rpc_error(caught.value).reason == "OBJECT_IN_USE"


async def test_no_key_stands_in_the_database_the_audit_the_log_or_an_answer(sites):
    issued = sites.certificates["web"]
    secret = "".join(issued.key_pem.splitlines()[1:-1])[10:50]
    raw = base64.b64decode("".join(issued.key_pem.splitlines()[1:-1]))
    async with open_pool(sites.dsn, application_name="test", max_size=2) as pool:
        tables = [
            row["tablename"]
            for row in await pool.fetch(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
            )
        ]
        assert {"objects", "revisions", "audit_log", "request_ids"} <= set(tables)
        dump = ""
        for table in tables:
            rows = await pool.fetch(f"SELECT row_to_json(t)::text AS line FROM {table} t")  # noqa: S608
            dump += "\n".join(row["line"] for row in rows)
    assert "certificates/web" in dump
    assert "sealed.v1." in dump
    assert "PRIVATE KEY" not in dump
    assert secret not in dump
    assert raw[20:40].hex() not in dump
    listed = await sites.mesh.config.ListObjects(rpc.ListObjectsRequest(prefix="certificates/"))
    revisions = await sites.mesh.catalog.ListRevisions(
        catalog_rpc.ListRevisionsRequest(object="certificates/web")
    )
    differences = await sites.mesh.config.DiffRevisions(
        rpc.DiffRevisionsRequest(from_revision=0, to_revision=0)
    )
    answers = f"{listed}{revisions}{differences}"
    assert "certificates/web" in answers
    assert "PRIVATE KEY" not in answers
    assert "sealed" not in answers
    log = sites.mesh.log.read_text()
    assert secret not in log
    dumped = json.dumps(await sites.mesh.admin("/config_dump?include_eds"))
    assert "certificates/web" in dumped
    assert secret not in dumped


async def test_a_roll_back_brings_the_key_with_its_certificate(sites):
    old = sites.certificates["web"]
    revision = (await get(sites)).certificate.revision
    await sites.apply(sites.certificate("web", "shop.example", "*.wild.example"))
    await sites.mesh.config.RollBack(rpc.RollBackRequest(revision=revision))
    await sites.mesh.settled()
    sites.certificates["web"] = old
    await comes(sites, leaf(old))


async def test_the_relay_keeps_it_for_an_envoy_that_starts_alone(sites):
    """Private to the relay, as its own key is."""
    packs = sites.mesh.folder / "shelf" / "packs"

    def modes():
        """Of all packs, once one has a key; None while one is written anew."""
        try:
            found = {path.stat().st_mode & 0o777 for path in packs.iterdir()}
            keys = any(b"PRIVATE KEY" in path.read_bytes() for path in packs.iterdir())
        except FileNotFoundError:
            return None
        return found if keys else None

    found = await asyncio.to_thread(until, modes, "the key on the shelf")
    assert packs.stat().st_mode & 0o777 == 0o700
    assert found == {0o600}
    sites.mesh.kill_envoy()
    await sites.mesh.start_envoy()
    assert await shown(sites) == leaf(sites.certificates["web"])
