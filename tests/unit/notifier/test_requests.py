"""What callers send, checked: everything that is wrong, by field."""

from datetime import UTC, datetime, timedelta

import pytest

from aerofusion.notify.v1 import notification_service_pb2 as pb
from aerofusion.notify.v1 import recipient_service_pb2 as recipient_pb
from aerofusion.notify.v1 import template_service_pb2 as template_pb
from notifier import names
from notifier.model import Category, Lane
from notifier.render import Renderer
from notifier.services import recipients
from notifier.services.drafts import draft, fingerprint
from notifier.services.templates import TemplateService
from notifier.services.wire import Problems


NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def request(**changes):
    variables = changes.pop("variables", {"flight": "UA1545", "minutes": 15})
    values = {
        "recipients": ["tenants/t/recipients/ada"],
        "template": "tenants/t/templates/delay",
    } | changes
    made = pb.CreateNotificationRequest(notification=pb.Notification(**values))
    made.notification.variables.update(variables)
    return made


def problems_of(**changes) -> dict[str, str]:
    problems = Problems()
    made = draft("t", request(**changes), problems, now=NOW)
    assert (made is None) == bool(problems.found)
    return problems.found


def drafted(**changes):
    made = draft("t", request(**changes), Problems(), now=NOW)
    assert made is not None
    return made.notification


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"recipients": []}, "recipients"),
        ({"recipients": ["tenants/other/recipients/ada"]}, "recipients"),
        ({"recipients": [f"tenants/t/recipients/p{n}" for n in range(1001)]}, "recipients"),
        ({"topics": ["tenants/t/topics/"]}, "topics"),
        ({"topics": [f"tenants/t/topics/t{n}" for n in range(11)]}, "topics"),
        ({"template": "delay"}, "template"),
        ({"template": "tenants/other/templates/delay"}, "template"),
        ({"variables": {"text": "x" * 20_000}}, "variables"),
        ({"variables": {"text": "\u20ac" * 6_000}}, "variables"),
        ({"variables": {"text": "a\0b"}}, "variables"),
        ({"variables": {"number": float("nan")}}, "variables"),
        ({"variables": {"number": float("inf")}}, "variables"),
        ({"channels": ["pigeon"]}, "channels"),
        ({"category": 99}, "category"),
        ({"lane": 99}, "lane"),
        ({"subject_version": -1}, "subject_version"),
        ({"subject_key": "k" * 257}, "subject_key"),
        ({"subject_key": "a\0"}, "subject_key"),
        ({"useless_after": NOW + timedelta(days=31)}, "useless_after"),
        ({"deliver_by": NOW + timedelta(hours=2), "useless_after": NOW}, "deliver_by"),
    ],
)
def test_what_is_wrong_is_named_by_its_field(changes, field):
    assert f"notification.{field}" in problems_of(**changes)


def test_labels_are_bounded():
    assert "labels" in problems_of(labels={"k": "v" * 129})
    assert "labels" in problems_of(labels={str(n): "" for n in range(17)})


def test_variables_have_a_bottom():
    deep: dict = {"end": 1}
    for _ in range(9):
        deep = {"more": deep}

    assert problems_of(variables=deep) == {"notification.variables": "nested too deeply"}


def test_an_impossible_time_is_refused():
    made = request()
    made.notification.deliver_by.seconds = 10**15
    problems = Problems()

    draft("t", made, problems, now=NOW)

    assert "notification.deliver_by" in problems.found


def test_whole_numbers_stay_whole():
    assert drafted().variables == {"flight": "UA1545", "minutes": 15}
    assert isinstance(drafted().variables["minutes"], int)


@pytest.mark.parametrize(
    ("category", "lane", "due", "end"),
    [
        (Category.CRITICAL, Lane.URGENT, timedelta(minutes=1), timedelta(hours=1)),
        (0, Lane.NORMAL, timedelta(minutes=15), timedelta(hours=24)),
        (Category.PROMOTION, Lane.BULK, timedelta(hours=6), timedelta(hours=72)),
    ],
)
def test_defaults_follow_the_category(category, lane, due, end):
    made = drafted(category=int(category))

    assert made.lane is lane
    assert made.deliver_by == NOW + due
    assert made.useless_after == NOW + end


def test_a_default_never_contradicts_what_was_given():
    early = drafted(useless_after=NOW + timedelta(minutes=5))
    late = drafted(deliver_by=NOW + timedelta(days=2))

    assert early.deliver_by == early.useless_after == NOW + timedelta(minutes=5)
    assert late.useless_after == late.deliver_by == NOW + timedelta(days=2)


def test_who_is_named_twice_is_notified_once():
    assert drafted(recipients=["tenants/t/recipients/ada"] * 3).recipients == ("ada",)


def test_the_fingerprint_ignores_what_only_the_server_sets():
    plain = request().notification
    echoed = pb.Notification(name="tenants/t/notifications/x", trace_id="1")
    echoed.MergeFrom(plain)
    other = request(subject_key="k").notification

    assert fingerprint(plain) == fingerprint(echoed)
    assert fingerprint(plain) != fingerprint(other)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"addresses": [recipient_pb.Address(channel="email", value="ada")]}, "addresses"),
        (
            {"addresses": [recipient_pb.Address(channel="email", value="a@b.c\r\nBcc: x@y.z")]},
            "addresses",
        ),
        ({"addresses": [recipient_pb.Address(channel="email", value="a@b.c\n")]}, "addresses"),
        ({"addresses": [recipient_pb.Address(channel="email", value="\u00e4@b.c")]}, "addresses"),
        ({"addresses": [recipient_pb.Address(channel="inapp", value="x")]}, "addresses"),
        ({"addresses": [recipient_pb.Address(channel="pigeon", value="x")]}, "addresses"),
        ({"addresses": [recipient_pb.Address(channel="email", value="a@b.c")] * 2}, "addresses"),
        ({"channels": ["pigeon"]}, "channels"),
        ({"locale": "not a locale"}, "locale"),
        ({"time_zone": "../../etc/passwd"}, "time_zone"),
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"display_name": "x" * 201}, "display_name"),
        ({"preferences": [recipient_pb.CategoryPreference(category=1)]}, "preferences"),
        ({"preferences": [recipient_pb.CategoryPreference(category=2)] * 2}, "preferences"),
    ],
)
def test_a_bad_recipient_is_told_by_field(changes, field):
    problems = Problems()

    recipients.from_proto("ada", recipient_pb.Recipient(**changes), problems)

    assert f"recipient.{field}" in problems.found


def test_a_recipient_comes_back_as_it_was_sent():
    sent = recipient_pb.Recipient(
        name="tenants/t/recipients/ada",
        display_name="Ada",
        addresses=[recipient_pb.Address(channel="email", value="ada@example.org")],
        channels=["email", "inapp"],
        preferences=[recipient_pb.CategoryPreference(category=3, channels=["inapp"])],
        locale="pt-BR",
        time_zone="America/New_York",
    )
    problems = Problems()

    kept = recipients.from_proto("ada", sent, problems)

    assert not problems.found
    assert recipients.to_proto("t", kept) == sent


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({"text": "{{ broken"}, "contents[0].text"),
        ({"text": "{% include 'x' %}"}, "contents[0].text"),
        ({"text": ""}, "contents[0].text"),
        ({"text": "x" * 32_769}, "contents[0].text"),
        ({"text": "{% for i in (1..3) %}{% endfor %}" * 201}, "contents[0].text"),
        ({"html": "{{ (1..9) | join: ',' }}"}, "contents[0].html"),
        ({"subject": ""}, "contents[0].subject"),
        ({"channel": "pigeon"}, "contents[0].channel"),
        ({"locale": "t\u00fcrk"}, "contents[0].locale"),
        ({"locale": "tr"}, "contents"),
    ],
)
def test_a_bad_template_is_told_by_field(content, field):
    values = {"channel": "email", "subject": "s", "text": "t"} | content
    service = TemplateService(None, Renderer(), clock=lambda: NOW)
    problems = Problems()

    service._from_proto(
        "delay", template_pb.Template(contents=[template_pb.TemplateContent(**values)]), problems
    )

    assert f"template.{field}" in problems.found


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x",
        "tenants",
        "tenants/",
        "tenants//recipients/a",
        "tenants/t/recipients/",
        "tenants/t/recipients/a/b",
        "tenants/t/recipients/-a",
        "tenants/t/recipients/a b",
        "tenants/t/recipients/" + "a" * 129,
        "Tenants/t/recipients/a",
    ],
)
def test_a_malformed_name_is_none(name):
    with pytest.raises(names.BadName):
        names.parse(name, "recipients")


def test_a_name_gives_its_ids():
    assert names.parse("tenants/t/recipients/p.1~x_-", "recipients") == ("t", "p.1~x_-")
