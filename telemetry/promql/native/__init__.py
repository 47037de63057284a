"""
Native histograms: Prometheus's type of sample that holds a whole distribution.

    columns.py    many histograms as arrays, a row each; what sources hand over
    rows.py       one at a time, in numba
    sums.py       sums, means, differences, and whether a counter was reset
    rates.py      rate and its kin over windows
    folds.py      windows, groups and pairs of many at once
    quantiles.py  what they tell
    trims.py      `</` and `>/`
    operators.py  operators with histograms among the operands
    texts.py      as text
"""
