import pytest

from meshctl.backoff import Backoff


POLICY = Backoff(first_s=0.2, factor=2, at_most_s=10, jitter=0.25, sound_after_s=10)


def test_waits_double_up_to_the_maximum():
    waits = [POLICY.wait_s(failures, chance=0) for failures in range(1, 9)]

    assert waits == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10]


def test_chance_shortens_a_wait_by_its_share_at_most():
    assert POLICY.wait_s(3, chance=1) == pytest.approx(0.6)
    assert POLICY.wait_s(3, chance=0.5) == pytest.approx(0.7)


def test_any_number_of_failures_has_a_wait():
    assert POLICY.wait_s(1_000_000, chance=0) == 10


def test_a_failure_after_a_sound_run_counts_as_the_first():
    assert POLICY.failures_after(7, ran_s=10) == 1
    assert POLICY.failures_after(7, ran_s=9.9) == 8
