from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from gateway.identity.authority import SigningRequest
from gateway.relay.public import PublicCertificate
from gateway.relay.secrets import EDGE_PUBLIC, Secrets
from meshkit.identity.material import new_key_pem, signing_request_pem


class Slept(Exception):
    """Ends a loop that would run for ever."""


@pytest.fixture
def stored(ca, tmp_path):
    """A certificate for `localhost` on disk, as an earlier process left it."""
    key_pem = new_key_pem()
    request = SigningRequest.parse(signing_request_pem(key_pem, [x509.DNSName("localhost")]))
    issued = ca.authority.issue_public(request, frozenset({"localhost"}), now=datetime.now(UTC))
    path = tmp_path / "public.pem"
    path.write_bytes(key_pem + issued.chain_pem)
    return path


def keeper(ca, path, secrets, *names: str) -> PublicCertificate:
    return PublicCertificate(
        path=path,
        names=frozenset(names),
        workload=ca.workload("edge"),
        address="127.0.0.1:1",
        secrets=secrets,
    )


async def first_pause(keeper: PublicCertificate, now: datetime) -> float:
    paused = []

    async def sleep(seconds: float) -> None:
        paused.append(seconds)
        raise Slept

    with pytest.raises(Slept):
        await keeper.run(clock=lambda: now, sleep=sleep, chance=lambda: 0.0)
    return paused[0]


def test_the_stored_certificate_is_served_without_a_gateway(ca, stored):
    secrets = Secrets()
    keeper(ca, stored, secrets, "localhost").load()

    assert secrets.table[EDGE_PUBLIC].body.count(b"PRIVATE KEY") == 2
    assert secrets.table[EDGE_PUBLIC].body.count(b"BEGIN CERTIFICATE") == 1


@pytest.mark.parametrize("damage", ["other names", "missing", "torn", "other key"])
def test_a_stored_certificate_that_does_not_fit_is_not_served(ca, stored, damage):
    names = ["localhost"]
    if damage == "other names":
        names = ["localhost", "edge.example"]
    elif damage == "missing":
        stored.unlink()
    elif damage == "torn":
        stored.write_bytes(stored.read_bytes()[:300])
    else:
        stored.write_bytes(new_key_pem() + stored.read_bytes().partition(b"KEY-----\n")[2])
        content = stored.read_bytes()
        stored.write_bytes(new_key_pem() + content[content.index(b"-----BEGIN CERT") :])
    secrets = Secrets()

    keeper(ca, stored, secrets, *names).load()

    assert EDGE_PUBLIC not in secrets.table


async def test_a_good_certificate_is_left_alone_for_half_of_its_life(ca, stored):
    loaded = keeper(ca, stored, Secrets(), "localhost")
    loaded.load()

    assert await first_pause(loaded, datetime.now(UTC)) == 60.0


async def test_a_gateway_that_is_away_is_asked_again_soon(ca, stored):
    loaded = keeper(ca, stored, Secrets(), "localhost")
    loaded.load()

    assert await first_pause(loaded, datetime.now(UTC) + timedelta(hours=13)) == 0.2


def test_the_same_secret_again_is_no_change(ca):
    secrets = Secrets()
    material = ca.material("edge")
    secrets.set_workload(material)
    before = dict(secrets.table)
    secrets.set_workload(material)

    assert secrets.table == before
    secrets.set_workload(ca.material("edge"))
    assert secrets.table["edge"].version != before["edge"].version
    assert secrets.table["trust"].version == before["trust"].version
