"""The head and what is older answer together as one store of everything would."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshkit.errors import InvalidInput
from telemetry.head.extract import Columns as Taken
from telemetry.head.head import Head
from telemetry.head.recent import NEVER
from telemetry.head.source import HeadSource
from telemetry.promql.labels import make
from telemetry.promql.matchers import Matcher, MatchOp, selected
from telemetry.promql.source import Columns, SamplesNeeded


STALE = float(np.array([0x7FF0000000000002], np.uint64).view(np.float64)[0])
SERIES = {
    11: make({"__name__": "a", "n": "1"}),
    12: make({"__name__": "a", "n": "2"}),
    13: make({"__name__": "a", "n": "2"}),  # equal labels under another id
    14: make({"__name__": "b", "n": "1"}),
}
ANY = Matcher("__name__", MatchOp.REGEX, ".+")
SELECTIONS = [
    ((Matcher("__name__", MatchOp.EQUAL, "a"),),),
    ((Matcher("__name__", MatchOp.EQUAL, "a"), Matcher("n", MatchOp.NOT_EQUAL, "1")),),
    ((ANY,),),
    ((Matcher("n", MatchOp.EQUAL, "1"),), (Matcher("__name__", MatchOp.EQUAL, "b"),)),
]


class Everything:
    """All samples in the order they came, answered as the store does."""

    def __init__(self):
        self.rows = []

    def add(self, columns):
        rows = zip(columns.ids.tolist(), columns.ts_ms.tolist(), columns.values, strict=True)
        self.rows += rows

    def select(self, selection, start_ms, end_ms, *, series_max):
        labels = sorted(set(SERIES.values()))
        labels = [
            one for one, fits in zip(labels, selected(labels, selection), strict=True) if fits
        ]
        ts, values, offsets = [], [], [0]
        for one in labels:
            newest = {}
            for series_id in sorted(i for i, known in SERIES.items() if known == one):
                newest |= {
                    at: value
                    for row_id, at, value in self.rows
                    if row_id == series_id and start_ms <= at <= end_ms
                }
            ts += sorted(newest)
            values += [newest[at] for at in sorted(newest)]
            offsets.append(len(ts))
        return Columns(
            labels=labels,
            ts=np.array(ts, np.int64),
            values=np.array(values, np.float64),
            offsets=np.array(offsets, np.int64),
        )


def columns(rows):
    return Taken(
        ids=np.array([row[0] for row in rows], np.uint64),
        ts_ms=np.array([row[1] for row in rows], np.int64),
        values=np.array([row[2] for row in rows], np.float64),
    )


def as_dict(found):
    bits = found.values.view(np.uint64)
    return {
        labels: list(
            zip(
                found.ts[found.offsets[i] : found.offsets[i + 1]].tolist(),
                bits[found.offsets[i] : found.offsets[i + 1]].tolist(),
                strict=True,
            )
        )
        for i, labels in enumerate(found.labels)
        if found.offsets[i] < found.offsets[i + 1]
    }


def named(head, ids=SERIES):
    for one in ids:
        head.name((1, one), "", SERIES[one])
    return head


times = st.integers(0, 300)
VALUES = (0.0, -0.0, 1.5, float("inf"), STALE)


def batch(chance, size):
    return [
        (chance.choice(list(SERIES)), chance.randint(0, 300), chance.choice(VALUES))
        for _ in range(size)
    ]


batches = st.builds(batch, st.randoms(use_true_random=True), st.integers(0, 60))
steps = st.one_of(
    st.tuples(st.just("take"), batches),
    st.tuples(st.just("free"), times),
    st.tuples(st.just("miss"), times),
)


@settings(max_examples=150)
@given(
    before=batches,
    horizon=times,
    history=st.lists(steps, max_size=8),
    selection=st.sampled_from(SELECTIONS),
    window=st.tuples(times, times),
)
def test_head_and_store_answer_as_the_store_alone(before, horizon, history, selection, window):
    everything = Everything()
    head = named(Head(1 << 20))
    everything.add(columns(before))
    old = sorted((row for row in before if row[1] > horizon), key=lambda row: (row[0], row[1]))
    live = [payload for kind, payload in history[:2] if kind == "take"]
    for batch in live:  # what comes while the head is being filled
        head.take(columns(batch))
        everything.add(columns(batch))
    filled = columns(old)
    assert head.fill(filled.ids, filled.ts_ms, filled.values)
    head.begin(horizon)
    for kind, payload in history[2:]:
        if kind == "take":
            head.take(columns(payload))
            everything.add(columns(payload))
        elif kind == "free":
            head.free(payload)
        else:
            head.miss(payload)

    source = HeadSource(head=head, store=everything, tenant="")
    start, end = min(window), max(window)
    found = source.select(selection, start, end, series_max=100)
    alone = everything.select(selection, start, end, series_max=100)

    assert as_dict(found) == as_dict(alone)
    assert len(set(found.labels)) == len(found.labels)


def test_before_it_has_begun_it_answers_for_no_time():
    head = named(Head(1 << 20))
    head.take(columns([(11, 5, 1.0)]))
    assert head.read("", SELECTIONS[0], 0, 10, series_max=10).horizon_ms == NEVER


def test_a_sample_without_labels_makes_it_answer_for_no_time_until_they_are_told():
    head = named(Head(1 << 20), [11])
    head.begin(0)
    head.take(columns([(12, 5, 1.0)]))
    assert head.horizon_ms == NEVER
    assert head.nameless == [12]
    assert head.wanted.is_set()
    head.name((1, 12), "", SERIES[12])
    assert head.read("", SELECTIONS[0], 0, 10, series_max=10).ts.tolist() == [5]


def test_memory_that_runs_out_moves_the_horizon_and_nothing_else():
    head = named(Head(1 << 20))
    head.begin(0)
    taken = 0
    while not head.is_low:
        head.take(columns([(11, taken + i, 1.0) for i in range(1, 1001)]))
        taken += 1000
    assert head.horizon_ms == 0
    assert head.sweep() > 0
    horizon = head.horizon_ms
    assert 0 < horizon < taken
    found = head.read("", SELECTIONS[0], 0, taken, series_max=10)
    assert found.ts.tolist() == list(range(horizon + 1, taken + 1))


def test_a_batch_that_does_not_fit_is_left_to_the_store():
    head = named(Head(1 << 20))
    head.begin(0)
    big = columns([(11, i, 1.0) for i in range(1, 200_000)])
    head.take(big)
    assert head.horizon_ms == 199_999
    assert head.used_bytes <= 1 << 20


def test_series_learnt_later_are_found_by_a_selection_that_was_asked_before():
    head = named(Head(1 << 20), [11])
    head.begin(0)
    head.take(columns([(11, 5, 1.0)]))
    assert len(head.read("", SELECTIONS[0], 0, 10, series_max=10).labels) == 1
    named(head, [12, 13])
    head.take(columns([(12, 5, 1.0), (13, 6, 2.0)]))
    found = head.read("", SELECTIONS[0], 0, 10, series_max=10)
    assert as_dict(
        Columns(labels=found.labels, ts=found.ts, values=found.values, offsets=found.offsets)
    ).keys() == {SERIES[11], SERIES[12]}


def test_tenants_do_not_see_one_another():
    head = named(Head(1 << 20), [11])
    head.begin(0)
    head.take(columns([(11, 5, 1.0)]))
    assert head.read("lounge", SELECTIONS[0], 0, 10, series_max=10).labels == []


def test_a_selection_of_too_many_series_is_refused():
    head = named(Head(1 << 20))
    head.begin(0)
    head.take(columns([(one, 5, 1.0) for one in SERIES]))
    with pytest.raises(InvalidInput, match="too many series"):
        head.read("", SELECTIONS[2], 0, 10, series_max=2)


def test_a_mark_is_another_once_samples_of_its_own_have_come():
    head = Head(1 << 20)
    assert head.mark("", SELECTIONS) is None
    head.begin(0)
    for series_id in (11, 14):
        head.name((1, series_id), "", SERIES[series_id])
    own, other = SELECTIONS[0], SELECTIONS[3][1:]
    marks = head.mark("", [own]), head.mark("", [other])

    head.take(columns([(11, 5, 1.0)]))
    assert head.mark("", [own]) != marks[0]
    assert head.mark("", [other]) == marks[1]
    before = head.mark("", [own])
    # As many as fill a block, and one that comes late.
    for at in (*range(6, 40), 3):
        head.take(columns([(11, at, 1.0)]))
        assert head.mark("", [own]) != before
        before = head.mark("", [own])
    head.name((1, 12), "", SERIES[12])
    head.take(columns([(12, 50, 1.0)]))
    assert head.mark("", [own]) != before
    assert head.mark("", [other]) == marks[1]

    head.know_native("", "a")
    assert head.mark("", [own]) is None
    assert head.mark("", [other]) == marks[1]


def test_what_is_read_in_pieces_is_what_is_read_at_once():
    head = named(Head(1 << 20))
    head.begin(0)
    rows = [(series_id, at, float(at)) for at in range(1, 50) for series_id in SERIES]
    head.take(columns(rows))
    source = HeadSource(head=head, store=Everything(), tenant="")

    for selection in SELECTIONS[2:]:
        reads = source.pieces(selection, 10, 30, 1, 10)
        pieces = [as_dict(read()) for read in reads]
        whole = source.select(selection, 10, 30, series_max=10)
        assert {labels: of for one in pieces for labels, of in one.items()} == as_dict(whole)
        assert max(map(len, pieces)) == 1
    assert source.pieces(SELECTIONS[2], 10, 30, 1, 2) is None
    assert source.pieces(SELECTIONS[2], 0, 30, 1, 10) is None
    head.free(20)
    with pytest.raises(SamplesNeeded):
        reads[0]()
