"""How far a change has come, as it is told."""

import pytest
from google.protobuf import json_format

from aerofusion.gateway.v1 import change_service_pb2 as rpc
from meshctl import receipts


def at(ms):
    return f"2027-01-31T12:00:00.{ms:03}Z"


def change(*given, state="STATE_ROLLING_OUT"):
    made = {"name": "changes/7", "create_time": at(0), "state": state, "receipts": list(given)}
    return json_format.ParseDict(made, rpc.Change())


SENT = {"node": "edge-0", "send_time": at(4)}
DONE = {**SENT, "warm_time": at(9), "acknowledge_time": at(12)}


@pytest.mark.parametrize(
    ("receipt", "step"),
    [
        ({"node": "a"}, "waiting"),
        (SENT, "sent"),
        ({**SENT, "warm_time": at(9)}, "warm"),
        (DONE, "acknowledged"),
        ({**DONE, "serve_time": at(30)}, "served"),
        ({"node": "a", "acknowledge_time": at(1), "unaffected": True}, "unaffected"),
        ({**DONE, "refusals": [{"error": "no"}]}, "refused"),
    ],
)
def test_a_receipt_is_told_by_its_last_step(receipt, step):
    (made,) = change(receipt).receipts

    assert receipts.step(made) == step
    assert step in receipts.COLOURS


def test_times_are_counted_from_the_commit():
    made = change(DONE)

    assert receipts.row(made, made.receipts[0]) == (
        "edge-0",
        "acknowledged",
        "4 ms",
        "9 ms",
        "12 ms",
        "-",
    )


def test_only_news_is_told():
    before, after = (
        change({"node": "edge-0"}, SENT | {"node": "b"}),
        change(DONE, SENT | {"node": "b"}),
    )

    assert receipts.news(before, after) == ["edge-0: acknowledged after 12 ms"]
    assert receipts.news(after, after) == []


def test_the_sum_says_how_many_have_it_and_how_long_the_slowest_took():
    late = {**DONE, "node": "edge-1", "acknowledge_time": at(90)}

    told = receipts.summary(change(DONE, late, state="STATE_ACTIVE"))
    assert told == "changes/7 is active: 2 of 2 proxies have it after 90 ms."
    assert "1 of 2" in receipts.summary(change(DONE, {"node": "b"}))
    assert "no proxy is connected" in receipts.summary(change())


def test_every_state_of_the_contract_has_words():
    known = set(rpc.Change.State.values()) - {rpc.Change.STATE_UNSPECIFIED}

    assert set(receipts.STATES) == known


def test_a_clock_that_is_behind_makes_no_time_negative():
    made = change(DONE)
    made.create_time.FromJsonString(at(500))

    assert receipts.row(made, made.receipts[0])[2] == "0 ms"


def test_why_a_change_is_held_back_or_was_rolled_back_is_told():
    before = change(DONE, state="STATE_CANARY")
    after = change(DONE, state="STATE_ROLLED_BACK")
    after.reason = "slow"
    assert receipts.news(before, after) == ["was rolled back: slow"]
    assert receipts.news(after, after) == []
    assert "was rolled back (slow)" in receipts.summary(after)
