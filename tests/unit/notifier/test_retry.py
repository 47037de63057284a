"""What follows an attempt."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier import retry
from notifier.model import Category, DeliveryState, EventKind, Lane, Reason
from notifier.outcome import Delivered, Dropped, Refused, RetryLater, Unconfirmed


NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
FIRST = retry.Situation(
    lane=Lane.NORMAL,
    category=Category.SERVICE,
    attempt=1,
    attempts_max=5,
    useless_after=NOW + timedelta(hours=1),
    repeatable=False,
    resent=False,
)
BUSY = RetryLater(Reason.PROVIDER_BUSY, "SMTP 451")
LOST = Unconfirmed(Reason.NO_CONFIRMATION)


def after(outcome, **changes):
    return retry.after(outcome, replace(FIRST, **changes), now=NOW, chance=0.0)


@pytest.mark.parametrize(
    ("outcome", "state", "event"),
    [
        (Delivered("id"), DeliveryState.DELIVERED, EventKind.DELIVERED),
        (Refused(Reason.ADDRESS_REFUSED), DeliveryState.FAILED, EventKind.FAILED),
        (Dropped(Reason.TOO_LATE), DeliveryState.DROPPED, EventKind.DROPPED),
        (BUSY, DeliveryState.WAITING, EventKind.RETRY_SCHEDULED),
        (LOST, DeliveryState.UNCERTAIN, EventKind.UNCERTAIN),
    ],
)
def test_each_outcome_has_its_state(outcome, state, event):
    step = after(outcome)

    assert (step.state, step.event) == (state, event)


def test_the_last_attempt_gives_up():
    step = after(BUSY, attempt=5)

    assert (step.state, step.reason) == (DeliveryState.FAILED, Reason.ATTEMPTS_EXHAUSTED)
    assert "PROVIDER_BUSY" in step.detail


def test_a_retry_that_would_come_too_late_is_not_made():
    step = after(BUSY, useless_after=NOW + timedelta(seconds=1))

    assert (step.state, step.reason) == (DeliveryState.DROPPED, Reason.TOO_LATE)


def test_what_the_provider_asks_for_is_waited_for():
    step = after(RetryLater(Reason.PROVIDER_BUSY, after=timedelta(minutes=3)))

    assert step.run_at == NOW + timedelta(minutes=3)


def test_an_unconfirmed_attempt_is_repeated_where_repeats_are_recognised():
    assert after(LOST, repeatable=True).state is DeliveryState.PENDING


def test_a_critical_one_is_resent_once():
    first = after(LOST, category=Category.CRITICAL)
    second = after(LOST, category=Category.CRITICAL, resent=True, attempt=2)

    assert (first.state, first.event, first.resent) == (
        DeliveryState.PENDING,
        EventKind.RESENT,
        True,
    )
    assert second.state is DeliveryState.UNCERTAIN


def test_nothing_is_resent_that_is_useless_by_now():
    step = after(LOST, category=Category.CRITICAL, useless_after=NOW)

    assert step.state is DeliveryState.UNCERTAIN


@given(
    lane=st.sampled_from(Lane),
    attempt=st.integers(1, 10_000),
    chance=st.floats(0, 1, exclude_max=True),
)
def test_backoff_grows_to_its_bound_and_no_further(lane, attempt, chance):
    wait = retry.backoff(lane, attempt, chance)

    assert retry.BACKOFF_FIRST[lane] / 2 <= wait <= retry.BACKOFF_MAX
    assert wait <= retry.backoff(lane, attempt + 1, chance)


@given(
    outcome=st.sampled_from([BUSY, LOST, Delivered("x"), Refused(Reason.MESSAGE_REFUSED)]),
    category=st.sampled_from(Category),
    attempt=st.integers(1, 9),
    repeatable=st.booleans(),
    resent=st.booleans(),
    left_s=st.integers(-10, 100_000),
)
def test_every_step_is_final_or_due_before_it_becomes_useless(  # noqa: PLR0917 - hypothesis's
    outcome, category, attempt, repeatable, resent, left_s
):
    useless_after = NOW + timedelta(seconds=left_s)
    step = after(
        outcome,
        category=category,
        attempt=attempt,
        repeatable=repeatable,
        resent=resent,
        useless_after=useless_after,
    )

    if step.state is DeliveryState.WAITING:
        assert step.run_at is not None
        assert NOW < step.run_at < useless_after
    if step.state is DeliveryState.PENDING:
        assert useless_after > NOW
        assert attempt < FIRST.attempts_max
    if step.state is not DeliveryState.DELIVERED:
        assert step.reason is not Reason.NONE
