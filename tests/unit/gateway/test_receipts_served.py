"""When a change counts as served: by a window that began once its clusters were warm."""

from datetime import UTC, datetime, timedelta

from gateway.changes.receipts import Receipts


START = datetime(2026, 11, 26, tzinfo=UTC)
TOUCHED = {"edge": frozenset({("CDS", "services/a")})}


def at(seconds):
    return START + timedelta(seconds=seconds)


def acknowledged(*clusters):
    """Receipts of change 1, warm at 2 s and acknowledged at 3 s."""
    receipts = Receipts()
    receipts.opened("edge", "edge")
    receipts.published(1, 1, TOUCHED, clusters)
    receipts.sent("edge", 1, [("CDS", "services/a")], at(1))
    receipts.warm("edge", 1, at(2))
    receipts.acknowledged("edge", 1, at(3))
    return receipts


def served(receipts):
    return receipts.of(1).receipts["edge"].serve_time


def test_requests_of_a_window_that_began_before_prove_nothing():
    receipts = acknowledged("services/a")
    receipts.served("edge", ["services/a"], at(1.9), at(4))
    assert served(receipts) is None
    receipts.served("edge", ["services/b"], at(3), at(5))
    assert served(receipts) is None
    receipts.served("edge", ["services/a"], at(2), at(6))
    assert served(receipts) == at(6)


def test_only_what_waits_is_to_be_reported():
    receipts = acknowledged("services/a", "services/b")
    assert receipts.unserved("edge") == {"services/a", "services/b"}
    assert receipts.unserved("another") == frozenset()
    receipts.served("edge", ["services/b"], at(3), at(4))
    assert receipts.unserved("edge") == frozenset()


def test_a_change_without_clusters_waits_for_no_request():
    assert acknowledged().unserved("edge") == frozenset()


def test_who_gets_it_after_others_has_it_only_with_the_newest_state():
    receipts = Receipts()
    for node in ("first", "second"):
        receipts.opened(node, "edge")
    receipts.published(1, 1, TOUCHED, (), only={"first"})
    receipts.acknowledged("second", 1, at(1))
    assert set(receipts.of(1).receipts) == {"first"}
    receipts.widen(1)
    receipts.acknowledged("second", 1, at(2), newest=False)
    assert receipts.of(1).receipts["second"].acknowledge_time is None
    receipts.acknowledged("second", 1, at(3))
    assert receipts.of(1).receipts["second"].acknowledge_time == at(3)
