"""Odd traces stay, and those that stay for others say for how many."""

import random

import numpy as np
import pytest

from telemetry.map.spans import COLUMNS, DURATION, FAILED, PARENT, START, TRACE_HIGH, TRACE_LOW
from telemetry.sampling.sampler import SLOW_FROM, Dropped, Sampler


MS = 1_000_000


def span(trace, *, parent=0, failed=0, duration_ms=1, start=1000):
    row = np.zeros((1, COLUMNS), np.uint64)
    row[0, TRACE_HIGH], row[0, TRACE_LOW] = 7, trace
    row[0, PARENT], row[0, FAILED], row[0, START] = parent, failed, start
    row[0, DURATION] = duration_ms * MS
    return row


def name(trace):
    return (7).to_bytes(8, "big") + trace.to_bytes(8, "big")


def busy(sampler, chance, *, seconds=120, per_second=100, odd=lambda _: False, start_ms=10_000):
    """Run *per_second* traces of 2 spans each for *seconds*; return ids, odd ones and decisions."""
    all_, odd_, dropped, weights = [], [], [], {}
    for tick in range(seconds + 3):
        now = start_ms + tick * 1000
        if tick < seconds:
            traces = [chance.getrandbits(64) for _ in range(per_second)]
            failed = [odd(chance) for _ in traces]
            spans = np.repeat(span(0), 2 * per_second, axis=0)
            spans[:, TRACE_LOW] = traces * 2
            spans[:per_second, PARENT], spans[:per_second, FAILED] = 9, failed
            sampler.take(spans, now)
            all_ += map(name, traces)
            odd_ += [name(trace) for trace, bad in zip(traces, failed, strict=True) if bad]
        found = sampler.decide(now)
        dropped += [one.trace_id for one in found.dropped]
        weights.update(found.weights)
    return all_, odd_, set(dropped), weights


def test_a_trace_is_decided_on_two_seconds_after_its_root():
    sampler = Sampler(spans_per_second=1e-12)
    busy(sampler, random.Random(1))
    low = 2**64 - 1
    sampler.take(span(low, parent=5, start=900), 200_000)
    assert sampler.decide(202_000).dropped == []
    sampler.take(span(low, start=950), 202_500)
    assert sampler.decide(204_499).dropped == []
    assert sampler.decide(204_500).dropped == [Dropped(name(low), 900)]
    assert sampler.undecided == 0


def test_within_the_budget_all_stay_for_themselves():
    _, _, dropped, weights = busy(Sampler(spans_per_second=300), random.Random(2))
    assert (dropped, weights) == (set(), {})


def test_beyond_it_the_odd_ones_stay_and_the_others_weights_add_up():
    sampler = Sampler(spans_per_second=50)
    all_, odd, dropped, weights = busy(
        sampler, random.Random(3), seconds=600, odd=lambda chance: chance.random() < 0.02
    )
    stay = set(all_) - dropped
    assert set(odd) <= stay
    assert not set(odd) & set(weights)
    told = sum(weights.get(one, 1.0) for one in stay)
    assert told == pytest.approx(len(all_), rel=0.05)
    assert 2 * len(stay) / 600 < 75
    assert sampler.share == pytest.approx((50 - 4) / 196, rel=0.3)


def test_what_took_longer_than_its_service_is_used_to_stays():
    sampler = Sampler(spans_per_second=1e-12)
    busy(sampler, random.Random(4))
    slow, usual = 2**64 - 1, 2**64 - 2
    sampler.take(span(slow, duration_ms=50), 300_000)
    sampler.take(span(usual, duration_ms=1), 300_000)
    assert [one.trace_id for one in sampler.decide(302_000).dropped] == [name(usual)]


def test_nothing_is_slow_before_a_service_is_known():
    sampler = Sampler(spans_per_second=1000)
    for trace in range(SLOW_FROM - 1):
        sampler.take(span(trace), 1000)
    sampler.take(span(2**64 - 1, duration_ms=5000), 1000)
    assert sampler.decide(3000).dropped == []


def test_late_spans_share_their_traces_fate():
    sampler = Sampler(spans_per_second=1e-12)
    busy(sampler, random.Random(5))
    low = 2**64 - 1
    sampler.take(span(low), 300_000)
    assert len(sampler.decide(302_000).dropped) == 1
    sampler.take(span(low, parent=3, failed=1, start=500), 303_000)
    assert sampler.decide(303_000).dropped == [Dropped(name(low), 500)]
    assert sampler.decide(304_000).dropped == []


def test_a_trace_without_a_root_is_decided_on_in_the_end():
    sampler = Sampler(spans_per_second=1e-12)
    busy(sampler, random.Random(6))
    sampler.take(span(2**64 - 1, parent=3), 300_000)
    assert sampler.decide(359_999).dropped == []
    assert len(sampler.decide(360_000).dropped) == 1


def test_memory_is_bounded_and_what_has_no_room_stays():
    sampler = Sampler(spans_per_second=1e-12, traces_max=100)
    for trace in range(1000):
        sampler.take(span(trace, parent=1), 1000)
    assert sampler.undecided == 100
    sampler.decide(2000)
    assert len(sampler._decided) <= 100
