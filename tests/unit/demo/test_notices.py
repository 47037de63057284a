from datetime import UTC, datetime, timedelta

import pytest

from meshctl.demo.messages import creation
from meshctl.demo.notices import RULES, Urgency, notice_of, spell, topic_of
from meshctl.demo.passengers import LOCALES, Channel
from meshctl.demo.replay import Clock, Replay
from meshctl.demo.texts import TEXTS, contents
from meshctl.demo.timeline import Kind, events_of
from tests.fixtures.day import small_day


REAL = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def played():
    day = small_day()
    return list(Replay(day=day, events=events_of(day), loops=2).occurrences())


@pytest.fixture(scope="module")
def clock():
    return Clock(simulated=small_day().begins, real=REAL, speed=144)


@pytest.fixture(scope="module")
def notices(played, clock):
    found = (notice_of(one, run="r1", clock=clock) for one in played)
    return [notice for notice in found if notice is not None]


def test_publishing_and_clearing_a_flight_tells_nobody(played, clock):
    silent = {o.event.kind for o in played if notice_of(o, run="r1", clock=clock) is None}

    assert silent == {Kind.SCHEDULED, Kind.CLEARED}


def test_each_notice_has_its_own_request_id(notices):
    assert len({n.request_id for n in notices}) == len(notices)


def test_a_repeated_notice_is_the_same_notice(played, clock):
    assert notice_of(played[7], run="r1", clock=clock) == notice_of(
        played[7], run="r1", clock=clock
    )


def test_newer_words_on_a_subject_have_greater_versions(notices):
    latest = {}
    for notice in notices:
        assert notice.subject_version > latest.get(notice.subject_key, 0)
        latest[notice.subject_key] = notice.subject_version


def test_loops_share_topics_and_nothing_else(notices):
    keys = {f.key for f in small_day().flights}

    assert {n.topic for n in notices} == {topic_of(key) for key in keys}
    assert {n.subject_key.split("/")[2] for n in notices} >= {
        "ua1-ewr-20130308",
        "ua1-ewr-20130309",
    }


def test_a_notice_is_of_use_for_a_while_after_it_is_due(notices):
    for notice in notices:
        assert notice.deliver_by <= notice.useless_after
        assert notice.useless_after >= notice.due + timedelta(seconds=20)


def test_boarding_is_of_no_use_once_the_flight_has_left(played, clock):
    slow = Clock(simulated=clock.simulated, real=clock.real, speed=1)
    boarding = next(o for o in played if o.event.kind is Kind.BOARDING)

    notice = notice_of(boarding, run="r1", clock=slow)

    assert notice.useless_after == slow.real_at(boarding.event.flight.departed)


def test_only_what_ruins_a_journey_overrides_the_passengers_choice():
    critical = {kind for kind, rule in RULES.items() if rule.urgency is Urgency.CRITICAL}

    assert critical == {Kind.CANCELLED, Kind.DIVERTED}


def test_every_template_says_something_in_every_language_over_every_channel():
    assert {rule.template for rule in RULES.values()} == set(TEXTS)
    for template in TEXTS:
        said = contents(template)
        assert {(c.channel, c.locale) for c in said} == {
            (channel, locale) for channel in Channel for locale in LOCALES
        }
        assert all(c.subject and c.text for c in said)


def test_every_variable_is_there_for_every_notice(notices):
    names = {frozenset(n.variables) for n in notices}

    assert len(names) == 1
    assert {"flight", "gate", "expected", "delay", "landed"} <= next(iter(names))


def test_times_are_told_in_local_time(played, clock):
    delayed = [o for o in played if o.event.flight.key == "b62-jfk"]
    notice = notice_of(
        next(o for o in delayed if o.event.kind is Kind.DELAYED), run="r1", clock=clock
    )

    assert notice.variables["scheduled"] == "06:00"
    assert notice.variables["expected"] == "06:25"
    assert notice.variables["delay"] == "25 min"


@pytest.mark.parametrize(
    ("minutes", "words"),
    [(0, "0 min"), (-5, "0 min"), (59, "59 min"), (60, "1 h"), (125, "2 h 5 min")],
)
def test_spans_are_spelt_without_a_language(minutes, words):
    assert spell(timedelta(minutes=minutes)) == words


def test_the_call_carries_all_of_the_notice(notices):
    notice = next(n for n in notices if n.labels["event"] == "departed")

    request = creation("nyc", notice)

    assert request.parent == "tenants/nyc"
    assert request.request_id == notice.request_id
    assert list(request.notification.topics) == [f"tenants/nyc/topics/{notice.topic}"]
    assert list(request.notification.channels) == ["inapp"]
    assert request.notification.variables["flight"] == notice.variables["flight"]
    assert request.notification.subject_version == notice.subject_version
