"""When a sample had been acknowledged at the latest."""

import numpy as np

from telemetry.intake.arrivals import REQUESTS_MAX, Arrivals


def noted(*requests):
    arrivals = Arrivals()
    for times, acked in requests:
        arrivals.note(np.array(times, np.uint64), acked)
    return arrivals


def test_it_is_the_last_request_that_may_have_held_it():
    arrivals = noted(([100, 200], 210), ([150], 215), ([200, 300], 310))
    assert arrivals.latest(100, 1_000) == 210
    assert arrivals.latest(150, 1_000) == 215
    assert arrivals.latest(200, 1_000) == 310


def test_what_came_after_the_evaluation_is_none():
    assert noted(([100], 110), ([100], 500)).latest(100, 400) == 110


def test_of_what_nothing_is_known_nothing_is_said():
    arrivals = noted(([100], 110))
    assert arrivals.latest(101, 1_000) == 0
    assert Arrivals().latest(0, 1_000) == 0


def test_only_the_last_requests_are_remembered():
    arrivals = noted(*(([number], number + 1) for number in range(1, REQUESTS_MAX + 2)))
    assert arrivals.latest(1, 10_000) == 0
    assert arrivals.latest(2, 10_000) == 3
