"""The deny-list in two parts, key sets reduced, and addresses that may be asked for them."""

import ipaddress
import json
from datetime import UTC, datetime, timedelta

import pytest

from gateway.access.deny_list import FOLD_AT, FOLD_PAUSE, DenyList
from gateway.access.jwks import is_allowed
from gateway.validation.jwks import reduced
from tests.fixtures.issuers import Foreign


NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(days=1)


def test_a_revoked_token_is_in_one_of_the_parts_at_every_step():
    made = DenyList()
    made.load({}, NOW)
    now, added = NOW, []
    for number in range(5 * FOLD_AT):
        made.add(f"t{number}", LATER)
        added.append(f"t{number}")
        now += FOLD_PAUSE / FOLD_AT
        before = set(made.settled)
        made.advance(now)
        assert set(added) <= set(made.settled) | set(made.lately)
        # What has just come into the first part is still in the second.
        assert set(made.settled) - before <= set(made.lately)


def test_a_burst_folds_once_a_pause():
    made = DenyList()
    made.load({}, NOW)
    for number in range(10 * FOLD_AT):
        made.add(f"t{number}", LATER)
        assert not made.advance(NOW)
    assert made.advance(NOW + FOLD_PAUSE)
    assert len(made.settled) == 10 * FOLD_AT


def test_expired_ones_are_forgotten():
    made = DenyList()
    made.load({"old": NOW + timedelta(hours=1), "new": LATER}, NOW)
    assert made.advance(NOW + timedelta(hours=2))
    assert made.settled == ("new",)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fe80::1", "::ffff:10.0.0.1"),
        *("64:ff9b::a00:1", "2002:a00:1::", "100.64.0.1", "224.0.0.1"),
    ],
)
def test_addresses_of_this_network_are_not_asked(address):
    assert not is_allowed(address, ())


def test_public_addresses_are_asked_and_private_ones_that_are_named():
    assert is_allowed("8.8.8.8", ())
    assert is_allowed("10.0.0.1", (ipaddress.ip_network("10.0.0.0/8"),))


def test_a_key_set_is_reduced_to_public_keys_for_signatures():
    keys = [key.as_dict(private=False) for key in Foreign("a").keys]
    private = Foreign("b").keys[0].as_dict(private=True)
    others = [private, {**keys[0], "use": "enc"}, {**keys[0], "alg": "HS256"}, {"kty": "oct"}, 7]
    found = json.loads(reduced(json.dumps({"keys": [*others, *keys]})))["keys"]
    assert [one["kid"] for one in found] == ["one"]
    assert found[0]["alg"] == "ES256"
    with pytest.raises(ValueError, match="no public key"):
        reduced(json.dumps({"keys": others}))
