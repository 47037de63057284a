"""Who gets what over which channel, or why not."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.model import Category, Reason, Recipient
from notifier.plan import Offer, plan, still_wanted


NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
CONFIGURED = {"email": True, "inapp": False}
ADA = Recipient(id="ada", addresses={"email": "ada@example.org"}, channels=("email", "inapp"))


def offer(**changes) -> Offer:
    values = {
        "category": Category.SERVICE,
        "useless_after": LATER,
        "wanted": frozenset(),
        "content": frozenset({"email", "inapp"}),
    } | changes
    return Offer(**values)


def verdicts(an_offer: Offer, recipient: Recipient = ADA, **kwargs) -> dict[str, Reason]:
    made = plan(an_offer, recipient, configured=CONFIGURED, now=NOW, **kwargs)
    return {v.channel: v.reason for v in made}


def test_all_chosen_channels_with_content_are_planned():
    assert verdicts(offer()) == {"email": Reason.NONE, "inapp": Reason.NONE}


@pytest.mark.parametrize(
    ("changes", "recipient", "channel", "reason"),
    [
        ({"useless_after": NOW}, ADA, "email", Reason.TOO_LATE),
        ({"superseded": True}, ADA, "email", Reason.SUPERSEDED),
        ({"cancelled": True}, ADA, "email", Reason.CANCELLED),
        ({"wanted": frozenset({"sms"})}, ADA, "sms", Reason.NO_CONTENT),
        (
            {"content": frozenset({"sms"})},
            ADA,
            "sms",
            Reason.CHANNEL_NOT_CONFIGURED,
        ),
        ({}, Recipient(id="a", channels=("email",)), "email", Reason.NO_ADDRESS),
        ({}, Recipient(id="a", channels=("email",)), "inapp", Reason.CHANNEL_NOT_CHOSEN),
        ({"category": Category.PROMOTION}, ADA, "inapp", Reason.CHANNEL_NOT_CHOSEN),
    ],
)
def test_each_refusal_has_its_reason(changes, recipient, channel, reason):
    assert verdicts(offer(**changes), recipient)[channel] is reason


def test_critical_needs_no_choice_but_still_an_address():
    nobody = Recipient(id="a")

    assert verdicts(offer(category=Category.CRITICAL), nobody) == {
        "email": Reason.NO_ADDRESS,
        "inapp": Reason.NONE,
    }


def test_a_preference_for_the_category_beats_the_general_choice():
    quiet = Recipient(
        id="a",
        channels=("email", "inapp"),
        addresses={"email": "a@example.org"},
        preferences={Category.SERVICE: ("inapp",), Category.PROMOTION: ("email",)},
    )

    assert verdicts(offer(), quiet)["email"] is Reason.CHANNEL_NOT_CHOSEN
    assert verdicts(offer(category=Category.PROMOTION), quiet)["email"] is Reason.NONE


@given(
    category=st.sampled_from(Category),
    wanted=st.frozensets(st.sampled_from(["email", "inapp", "sms"])),
    content=st.frozensets(st.sampled_from(["email", "inapp", "sms"]), min_size=1),
    chosen=st.frozensets(st.sampled_from(["email", "inapp"])),
    late=st.booleans(),
    superseded=st.booleans(),
)
def test_every_channel_concerned_gets_exactly_one_verdict_and_nothing_late_goes_out(  # noqa: PLR0917 - hypothesis's
    category, wanted, content, chosen, late, superseded
):
    made = plan(
        offer(
            category=category,
            wanted=wanted,
            content=content,
            useless_after=NOW if late else LATER,
            superseded=superseded,
        ),
        Recipient(id="a", addresses={"email": "a@example.org"}, channels=tuple(chosen)),
        configured=CONFIGURED,
        now=NOW,
    )

    assert [v.channel for v in made] == sorted(wanted or content)
    planned = {v.channel for v in made if v.reason is Reason.NONE}
    assert planned <= content & set(CONFIGURED)
    assert not planned or not (late or superseded)


def test_a_planned_delivery_is_asked_again_before_it_goes_out():
    facts = {
        "useless_after": LATER,
        "now": NOW,
        "cancelled": False,
        "superseded": False,
        "recipient_exists": True,
        "reachable": True,
    }

    assert still_wanted(**facts) is Reason.NONE
    assert still_wanted(**facts | {"cancelled": True}) is Reason.CANCELLED
    assert still_wanted(**facts | {"superseded": True}) is Reason.SUPERSEDED
    assert still_wanted(**facts | {"now": LATER}) is Reason.TOO_LATE
    assert still_wanted(**facts | {"recipient_exists": False}) is Reason.RECIPIENT_DELETED
    assert still_wanted(**facts | {"reachable": False}) is Reason.NO_ADDRESS
