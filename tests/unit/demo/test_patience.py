from datetime import timedelta

import pytest
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st

from meshctl.demo.patience import DOUBTFUL_ATTEMPTS_MAX, WAIT_MAX, GiveUp, Wait, reaction
from meshkit.errors import Overloaded, PermissionDenied
from tests.fixtures.day import calm


chances = st.floats(min_value=0, max_value=1, exclude_max=True)
attempts = st.integers(min_value=1, max_value=10_000)


@calm
@given(attempts, chances)
def test_a_part_that_is_away_is_waited_for_without_end(attempt, chance):
    decision = reaction(StatusCode.UNAVAILABLE, None, attempt=attempt, chance=chance)

    assert isinstance(decision, Wait)
    assert timedelta(0) < decision.span <= WAIT_MAX


@calm
@given(attempts, chances)
def test_nobody_comes_back_sooner_than_asked(attempt, chance):
    error = Overloaded("BACKLOG_FULL", "full", retry_after=timedelta(seconds=7))

    decision = reaction(StatusCode.RESOURCE_EXHAUSTED, error, attempt=attempt, chance=chance)

    assert decision == Wait(timedelta(seconds=7))


def test_waits_double_up_to_a_bound():
    spans = [
        reaction(StatusCode.UNAVAILABLE, None, attempt=n, chance=0).span for n in (1, 2, 3, 20)
    ]

    assert spans == [timedelta(milliseconds=n) for n in (50, 100, 200, 1500)]


@pytest.mark.parametrize(
    "code", [StatusCode.UNAUTHENTICATED, StatusCode.DEADLINE_EXCEEDED, StatusCode.UNIMPLEMENTED]
)
def test_what_passes_by_itself_is_waited_for(code):
    assert isinstance(reaction(code, None, attempt=1, chance=0.5), Wait)


@pytest.mark.parametrize(
    "code",
    [StatusCode.INVALID_ARGUMENT, StatusCode.NOT_FOUND, StatusCode.PERMISSION_DENIED],
)
def test_what_can_never_succeed_is_given_up_at_once(code):
    error = PermissionDenied("CALLER_NOT_ALLOWED", "no")

    assert reaction(code, error, attempt=1, chance=0) == GiveUp()


def test_what_looks_like_a_bug_is_tried_a_few_times():
    decisions = [
        reaction(StatusCode.INTERNAL, None, attempt=n, chance=0)
        for n in range(1, DOUBTFUL_ATTEMPTS_MAX + 1)
    ]

    assert all(isinstance(decision, Wait) for decision in decisions[:-1])
    assert decisions[-1] == GiveUp()
