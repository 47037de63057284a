"""The device's file: opened by one, kept whole, never misread."""

import sqlite3

import pytest

from aerofusion_client.space import setting
from aerofusion_client.store import Store, StoreUnusable


NAME = "tenants/t/spaces/s"


def test_a_device_keeps_its_id(tmp_path):
    first = Store(tmp_path / "d.db", new_device_id="one")
    first.close()
    second = Store(tmp_path / "d.db", new_device_id="two")
    assert second.device_id == "one"
    second.close()


def test_a_change_is_on_disk_when_it_is_made(tmp_path):
    store = Store(tmp_path / "d.db", new_device_id="d")
    replica = store.load(NAME)
    store.add(replica, replica.write([setting("UA1", {"gate": "A1"})], 5))
    store.close()
    again = Store(tmp_path / "d.db", new_device_id="d")
    kept = again.load(NAME)
    assert kept.pending == replica.pending
    assert (kept.next_number, kept.hlc) == (2, 5 << 16)
    again.close()


def test_a_file_belongs_to_one_at_a_time(tmp_path):
    store = Store(tmp_path / "d.db", new_device_id="d")
    store.load(NAME)
    with pytest.raises(StoreUnusable):
        Store(tmp_path / "d.db", new_device_id="d")
    store.close()


def test_a_file_that_is_no_store_is_refused(tmp_path):
    (tmp_path / "d.db").write_bytes(b"something else entirely, and long enough" * 100)
    with pytest.raises(StoreUnusable):
        Store(tmp_path / "d.db", new_device_id="d")


def test_a_file_of_a_newer_client_is_refused(tmp_path):
    db = sqlite3.connect(tmp_path / "d.db")
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreUnusable, match="newer"):
        Store(tmp_path / "d.db", new_device_id="d")


def test_a_change_that_could_not_be_kept_was_not_made(tmp_path):
    store = Store(tmp_path / "d.db", new_device_id="d")
    replica = store.load(NAME)
    first = replica.write([setting("UA1", {"gate": "A1"})], 5)
    store.add(replica, first)
    with pytest.raises(sqlite3.IntegrityError):
        store.add(replica, first)
    assert list(store.load(NAME).pending) == [1]
    store.close()
