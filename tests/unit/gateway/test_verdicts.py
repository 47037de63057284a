"""What one client refused is withheld from the others, and only that."""

from datetime import UTC, datetime

from gateway.xds.feed import Feed, Flavour
from gateway.xds.resources import BY_KEY, Resource, Resources, Snapshot
from gateway.xds.subscription import Push, Refusal, blame
from gateway.xds.verdicts import Verdicts


CDS = BY_KEY["CDS"]
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def snapshot(**versions):
    found = {name: Resource(name, version, b"") for name, version in versions.items()}
    return Snapshot(revision=1, resources={"CDS": Resources(found)})


def push(**versions):
    items = tuple(Resource(name, version, b"") for name, version in versions.items())
    return Push(kind=CDS, nonce="1", version="v", upserts=items)


def refusal(name, version):
    return Refusal(kind=CDS, resource=Resource(name, version, b""), error="no")


def served(verdicts, **versions):
    found = verdicts.apply(snapshot(**versions)).of(CDS)
    return {name: item.version for name, item in found.items()}


def test_refused_content_gives_way_to_the_last_accepted():
    verdicts = Verdicts()
    verdicts.forget(snapshot(a="2", b="2"))
    verdicts.accept(push(a="1", b="1"))
    verdicts.refuse([refusal("a", "2")], node_id="edge", time=NOW)
    assert served(verdicts, a="2", b="2") == {"a": "1", "b": "2"}
    (verdict,) = verdicts.refused()
    assert (verdict.node_id, verdict.served.version) == ("edge", "1")


def test_refused_content_that_has_no_predecessor_is_left_out():
    verdicts = Verdicts()
    verdicts.refuse([refusal("a", "1")], node_id="edge", time=NOW)
    assert served(verdicts, a="1", b="1") == {"b": "1"}


def test_changed_content_gets_a_new_chance():
    verdicts = Verdicts()
    verdicts.forget(snapshot(a="2", b="2"))
    verdicts.accept(push(a="1"))
    verdicts.refuse([refusal("a", "2")], node_id="edge", time=NOW)
    assert served(verdicts, a="3") == {"a": "3"}
    assert not verdicts.refused()


def test_what_was_accepted_of_something_gone_is_not_served_when_it_comes_back():
    verdicts = Verdicts()
    verdicts.forget(snapshot(b="1"))
    verdicts.accept(push(a="1"))
    verdicts.forget(snapshot(a="2"))
    verdicts.refuse([refusal("a", "2")], node_id="edge", time=NOW)
    assert served(verdicts, a="2") == {}


def test_a_verdict_of_the_past_says_what_was_good():
    first, second = Verdicts(), Verdicts()
    first.forget(snapshot(a="1"))
    first.accept(push(a="1"))
    first.forget(snapshot(a="2"))
    first.refuse([refusal("a", "2")], node_id="edge", time=NOW)
    (known,) = first.refused()
    second.learn(("CDS", "a"), known)
    second.forget(snapshot(a="3"))
    second.refuse([refusal("a", "3")], node_id="edge", time=NOW)
    assert served(second, a="3") == {"a": "1"}


def test_what_some_accept_stays_though_others_refuse_it():
    verdicts = Verdicts()
    verdicts.forget(snapshot(a="2", b="2"))
    verdicts.accept(push(a="2"))
    verdicts.refuse([refusal("a", "2")], node_id="old", time=NOW)
    assert served(verdicts, a="2") == {"a": "2"}
    verdicts.accept(push(a="1"))
    verdicts.refuse([refusal("a", "2")], node_id="old", time=NOW)
    assert verdicts.accept(push(a="2"))
    assert served(verdicts, a="2") == {"a": "2"}


def test_a_feed_wakes_who_watches_when_what_is_served_changes():
    feed = Feed()
    woken = []
    stop = feed.watch(Flavour.EDGE, lambda: woken.append(1))
    feed.publish(Flavour.EDGE, snapshot(a="1"))
    feed.verdicts[Flavour.EDGE].refuse([refusal("a", "1")], node_id="e", time=NOW)
    feed.reconsider(Flavour.EDGE)
    assert not feed.newest(Flavour.EDGE).of(CDS)
    feed.publish(Flavour.PROXYLESS, snapshot(a="1"))
    assert len(woken) == 2
    stop()
    feed.publish(Flavour.EDGE, snapshot(a="2"))
    assert len(woken) == 2


def test_an_error_blames_whole_names_only():
    named, others = blame(push(**{"services/a": "1", "services/a-b": "1"}), "bad: services/a-b.")
    assert [item.name for item in named] == ["services/a-b"]
    assert [item.name for item in others] == ["services/a"]


def test_envoy_says_what_it_is_and_everything_else_is_a_grpc_client():
    assert Flavour.of("envoy") is Flavour.EDGE
    assert Flavour.of("gRPC C-core") is Flavour.PROXYLESS
    assert Flavour.of("") is Flavour.PROXYLESS


FIRST = frozenset({"first"})


def heard(feed, node, *, refuse="", **versions):
    """Have *node* be sent *versions*, and refuse one of them or acknowledge all."""
    told = feed._told(Flavour.EDGE, node)
    for verdicts in told:
        if refuse:
            verdicts.refuse([refusal(refuse, versions[refuse])], node_id=node, time=NOW)
        else:
            verdicts.accept(push(**versions), wanted=verdicts is not told[0])
    feed.reconsider(Flavour.EDGE)


def newest(feed, node):
    found = feed.newest(Flavour.EDGE, node=node).of(CDS)
    return {name: item.version for name, item in found.items()}


def with_first(**versions):
    """A feed whose edges have accepted a=1 and b=1, the first of which get *versions*."""
    feed = Feed()
    feed.publish(Flavour.EDGE, snapshot(a="1", b="1"))
    heard(feed, "others", a="1", b="1")
    feed.serve_first(FIRST, snapshot(**versions))
    return feed


def test_what_the_first_edges_accept_is_never_served_to_the_others():
    feed = with_first(a="2", b="1")
    heard(feed, "first", a="2")
    feed.serve_first(frozenset(), None)
    feed.publish(Flavour.EDGE, snapshot(a="3", b="1"))
    heard(feed, "others", refuse="a", a="3")
    assert newest(feed, "others") == newest(feed, "first") == {"a": "1", "b": "1"}


def test_what_a_first_edge_refuses_is_withheld_from_the_other_first_ones_only():
    feed = with_first(a="2", b="1", c="1")
    heard(feed, "first", refuse="a", a="2")
    heard(feed, "first", refuse="c", c="1")
    assert newest(feed, "first") == {"a": "1", "b": "1"}
    assert newest(feed, "others") == {"a": "1", "b": "1"}
    assert not feed.verdicts[Flavour.EDGE].refused()


def test_a_refusal_of_what_all_get_is_withheld_from_all_and_outlives_the_first_edges():
    feed = with_first(a="2", b="1")
    feed.publish(Flavour.EDGE, snapshot(a="1", b="2"))
    feed.serve_first(FIRST, snapshot(a="2", b="2"))
    heard(feed, "first", refuse="b", b="2")
    assert (newest(feed, "first"), newest(feed, "others")) == (
        {"a": "2", "b": "1"},
        {"a": "1", "b": "1"},
    )
    feed.publish(Flavour.EDGE, snapshot(a="2", b="2"))
    feed.serve_first(frozenset(), None)
    assert newest(feed, "first") == newest(feed, "others") == {"a": "2", "b": "1"}


def test_a_refusal_that_stands_is_kept_while_the_first_edges_have_another_content():
    feed = Feed()
    feed.publish(Flavour.EDGE, snapshot(a="1"))
    heard(feed, "others", a="1")
    feed.publish(Flavour.EDGE, snapshot(a="2"))
    heard(feed, "others", refuse="a", a="2")
    feed.serve_first(FIRST, snapshot(a="3"))
    assert (newest(feed, "first"), newest(feed, "others")) == ({"a": "3"}, {"a": "1"})
    feed.serve_first(frozenset(), None)
    assert newest(feed, "first") == newest(feed, "others") == {"a": "1"}


def test_what_the_first_edges_accepted_counts_once_it_is_for_all():
    feed = with_first(a="2", b="1")
    heard(feed, "first", a="2")
    feed.publish(Flavour.EDGE, snapshot(a="2", b="1"))
    feed.serve_first(frozenset(), None)
    heard(feed, "others", refuse="a", a="2")
    assert newest(feed, "first") == {"a": "2", "b": "1"}


def test_what_is_refused_before_it_is_wanted_is_withheld_once_it_is():
    feed = Feed()
    feed.publish(Flavour.EDGE, snapshot(a="1"))
    heard(feed, "others", a="1")
    feed.verdicts[Flavour.EDGE].foretell([refusal("a", "2")], node_id="preflight", time=NOW)
    assert newest(feed, "others") == {"a": "1"}
    feed.publish(Flavour.EDGE, snapshot(a="2"))
    assert newest(feed, "others") == {"a": "1"}
    feed.serve_first(FIRST, snapshot(a="2"))
    assert newest(feed, "first") == {"a": "1"}


def test_the_last_accepted_is_kept_over_one_foretold_refusal_after_another():
    feed = Feed()
    verdicts = feed.verdicts[Flavour.EDGE]
    feed.publish(Flavour.EDGE, snapshot(a="1"))
    verdicts.accept(push(a="1"))
    for version in ("2", "3"):
        verdicts.foretell([refusal("a", version)], node_id="preflight", time=NOW)
        feed.publish(Flavour.EDGE, snapshot(a=version))
        assert feed.newest(Flavour.EDGE).of(CDS)["a"].version == "1"
