import json

import pytest

from meshctl.demo.day import AIRPORTS
from meshctl.demo.devices import Wanted, owners
from meshctl.demo.edge import TokenFile, TokensFile
from meshctl.demo.flightinfo import plan_of, speed_of
from meshctl.demo.passengers import Channel, passengers_of
from meshctl.demo.settings import DevicesSettings, FlightinfoSettings
from meshctl.demo.steering import Steering
from tests.fixtures.day import small_day


WANTED = Wanted(date="2013-03-08", passengers=300, devices=20)


@pytest.fixture
def wheel(tmp_path):
    return tmp_path / "demo" / "steering.json"


def settings(kind=DevicesSettings, **fields):
    return kind(edge_address="127.0.0.1:1", **fields)


def test_phones_follow_the_boards_their_passengers_depart_from():
    day = small_day()
    origins = {f.key: f.origin for f in day.flights}

    for owner, passenger in zip(
        owners(day, WANTED, settings()), passengers_of(day, 20), strict=True
    ):
        assert owner.subject == f"passengers/{passenger.id}"
        assert set(owner.airports) == {origins[key] for key in passenger.flights}
        assert set(owner.airports) <= set(AIRPORTS)


def test_inboxes_are_watched_by_those_who_chose_the_app():
    people = {p.id: p for p in passengers_of(small_day(), 20)}

    watching = [
        o.passenger for o in owners(small_day(), WANTED, settings(inboxes=3)) if o.watches_inbox
    ]

    assert len(watching) == 3
    assert all(Channel.IN_APP in people[passenger].channels for passenger in watching)


def test_no_devices_are_no_owners():
    nobody = Wanted(date="2013-03-08", passengers=300, devices=0)

    assert owners(small_day(), nobody, settings()) == []


def test_tokens_are_read_again_when_a_file_changes(tmp_path):
    usual, more = tmp_path / "tokens.json", tmp_path / "more.json"
    tokens = TokensFile(usual, more)
    assert tokens.token("passengers/p1") == ""

    usual.write_text(json.dumps({"passengers/p1": "a"}))
    more.write_text(json.dumps({"passengers/p1": "old", "passengers/p2": "b"}))
    assert tokens.read() == {"passengers/p1": "a", "passengers/p2": "b"}

    usual.write_text(json.dumps({"passengers/p1": "renewed"}))
    assert tokens.token("passengers/p1") == "renewed"


def test_a_half_written_tokens_file_changes_nothing(tmp_path):
    usual = tmp_path / "tokens.json"
    tokens = TokensFile(usual)
    usual.write_text(json.dumps({"passengers/p1": "a"}))
    tokens.read()

    usual.write_text('{"passengers/p1": "b')

    assert tokens.token("passengers/p1") == "a"


def test_a_token_without_a_file_is_empty(tmp_path):
    assert TokenFile(tmp_path / "none")() == ""


def test_what_is_steered_goes_before_what_was_set(wheel):
    given = settings(FlightinfoSettings, steering_file=wheel, date="2013-07-10", speed=10.0)
    assert (plan_of(given).date, speed_of(given)) == ("2013-07-10", 10.0)

    Steering(date="2013-01-01", speed=99.0, loops=1, nonce="again").write(wheel)

    plan = plan_of(given)
    assert (plan.date, plan.loops, plan.nonce) == ("2013-01-01", 1, "again")
    assert plan.passengers == given.passengers
    assert speed_of(given) == 99.0
