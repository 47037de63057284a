"""What a server says of its load."""

from meshkit.load import HEADER, SAMPLES, Load


class Clock:
    def __init__(self):
        self.now = self.cpu = 0.0

    def passes(self, load, *, calls, busy, code="OK"):
        """One second with so many calls, and so much of the CPU."""
        for _ in range(calls):
            load.count(code)
        self.now += 1.0
        self.cpu += busy
        return dict(load.metadata())


def made():
    clock = Clock()
    return clock, Load(lambda: clock.now, lambda: clock.cpu)


def test_calls_errors_and_cpu_are_told_as_averages():
    clock, load = made()
    clock.passes(load, calls=100, busy=0.4)
    told = clock.passes(load, calls=50, busy=0.2, code="INTERNAL")
    assert told == {HEADER: "TEXT cpu_utilization=0.3000,rps_fractional=75.00,eps=25.00"}


def test_what_is_long_ago_is_forgotten():
    clock, load = made()
    clock.passes(load, calls=1000, busy=1.0)
    for _ in range(SAMPLES):
        told = clock.passes(load, calls=100, busy=0.5)
    assert "cpu_utilization=0.5000,rps_fractional=100.00" in told[HEADER]


def test_who_idles_says_nothing():
    clock, load = made()
    assert clock.passes(load, calls=1, busy=0.5) == {}
    assert clock.passes(load, calls=500, busy=0.0) != {}
    for _ in range(SAMPLES):
        told = clock.passes(load, calls=100, busy=0.001)
    assert told == {}


def test_a_refusal_for_the_callers_fault_is_no_error():
    clock, load = made()
    told = clock.passes(load, calls=100, busy=0.5, code="INVALID_ARGUMENT")
    assert "eps=0.00" in told[HEADER]
