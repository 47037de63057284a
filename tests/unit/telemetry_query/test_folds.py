"""Sums over series are those of one number after the other."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from telemetry.promql.folds import Fold, fold_groups
from telemetry.promql.kernels import kahan


STEPS = 9
"""More than a processor adds at once, and no multiple of it."""

series = st.integers(1, 6).flatmap(
    lambda count: st.tuples(
        arrays(np.float64, (count, STEPS), elements=st.floats(width=64)),
        arrays(np.bool_, (count, STEPS)),
        arrays(np.int64, count, elements=st.integers(0, 1)),
    )
)


def added(values):
    """The compensated sum of *values* as PromQL has it: the first one is taken as it is."""
    total, lost = values[0], 0.0
    for value in values[1:]:
        total, lost = kahan(value, total, lost)
    return total + lost


@given(series)
def test_a_sum_is_to_the_bit_what_its_numbers_come_to_one_by_one(given):
    values, present, group = given

    total, there = fold_groups(int(Fold.SUM), values, present, group, 2)

    for g in range(2):
        for t in range(STEPS):
            members = values[(group == g) & present[:, t], t].tolist()
            assert there[g, t] == bool(members)
            if members:
                wanted = np.float64(added(members))
                assert np.isnan(total[g, t]) == np.isnan(wanted)
                assert np.isnan(wanted) or total[g, t].tobytes() == wanted.tobytes()
