from datetime import UTC, datetime, timedelta

import pytest

from meshkit.errors import FailedPrecondition
from meshkit.identity import IdentityFolder, JoinFile, KeyMaterial, SpiffeId, Workload
from meshkit.identity.workload import renewal_time
from tests.fixtures.ca import TestCa


NOTIFIER = SpiffeId("notifier", "0")


def test_an_identity_reads_back_as_it_was_written(ca, tmp_path):
    folder = IdentityFolder(tmp_path / "identity")
    material = ca.material("notifier")

    folder.write(material)

    assert folder.read(NOTIFIER) == material
    assert folder.path.stat().st_mode & 0o777 == 0o700
    for path in (folder.key, folder.chain, folder.bundle):
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_rotation_swaps_all_files_at_once_and_keeps_one_generation_back(ca, tmp_path):
    folder = IdentityFolder(tmp_path)
    written = [ca.material("notifier") for _ in range(4)]
    for material in written:
        folder.write(material)

    assert folder.read(NOTIFIER) == written[-1]
    generations = sorted(p.name for p in tmp_path.iterdir() if not p.is_symlink())
    assert generations == ["generation-3", "generation-4"]


@pytest.mark.parametrize("damage", ["key.pem", "cert.pem", "bundle.pem"])
def test_a_damaged_identity_is_none_rather_than_half_of_one(ca, tmp_path, damage):
    folder = IdentityFolder(tmp_path)
    folder.write(ca.material("notifier"))
    path = tmp_path / "current" / damage
    path.write_bytes(path.read_bytes()[:50])

    assert folder.read(NOTIFIER) is None


def test_a_crash_between_the_files_and_the_link_leaves_the_old_identity(ca, tmp_path, monkeypatch):
    folder = IdentityFolder(tmp_path)
    old = ca.material("notifier")
    folder.write(old)
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError("crash")))

    with pytest.raises(OSError, match="crash"):
        folder.write(ca.material("notifier"))

    assert folder.read(NOTIFIER) == old


def test_another_workloads_identity_is_not_taken(ca, tmp_path):
    IdentityFolder(tmp_path).write(ca.material("syncd"))

    assert IdentityFolder(tmp_path).read(NOTIFIER) is None


def test_parts_that_do_not_fit_together_are_refused(ca):
    one, two = ca.material("notifier"), ca.material("notifier")

    for key, chain, bundle in (
        (two.key_pem, one.chain_pem, one.bundle_pem),
        (one.key_pem, one.chain_pem, TestCa.create().bundle_pem),
        (one.key_pem, one.chain_pem, b""),
        (b"", one.chain_pem, one.bundle_pem),
    ):
        with pytest.raises(FailedPrecondition) as raised:
            Workload(spiffe_id=NOTIFIER, key_pem=key, chain_pem=chain, bundle_pem=bundle)
        assert raised.value.reason == "IDENTITY_UNUSABLE"


def test_a_join_file_reads_back_and_belongs_to_its_owner_alone(ca, tmp_path):
    ticket = JoinFile(
        token="secret", spiffe_id=NOTIFIER, address="127.0.0.1:1", bundle_pem=ca.bundle_pem
    )
    ticket.write(tmp_path / "join.json")

    assert JoinFile.read(tmp_path / "join.json") == ticket
    assert (tmp_path / "join.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"token": 1}', "\x00", '{"token":"t"'])
def test_a_broken_join_file_is_told_by_name(tmp_path, content):
    path = tmp_path / "join.json"
    path.write_text(content)

    with pytest.raises(FailedPrecondition, match=r"join\.json") as raised:
        JoinFile.read(path)

    assert raised.value.reason == "JOIN_FILE_UNUSABLE"


@pytest.mark.parametrize(("chance", "share"), [(0.0, 0.4), (0.5, 0.5), (1.0, 0.6)])
def test_renewal_comes_at_half_of_the_life_give_or_take_a_tenth(ca, chance, share):
    material: KeyMaterial = ca.material("notifier", now=datetime(2026, 3, 1, tzinfo=UTC))
    life = material.not_after - material.not_before

    moment = renewal_time(material, chance) - material.not_before

    assert abs(moment - life * share) < timedelta(milliseconds=1)
