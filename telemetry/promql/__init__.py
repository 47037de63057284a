"""
PromQL, evaluated on whole arrays: every node returns labels and a `series x steps` array.

Reading:

    lex.py        text -> tokens with their places
    grammar.py    tokens -> nodes.py; durations.py and selectors.py read their parts
    check.py      types, and what may stand where
    printing.py   nodes -> text again

Answering:

    evaluate.py   one method per kind of node; selectors ask a Source for columns
    binary.py     operators between vectors and scalars
    matching.py   which series of two vectors belong together
    aggregate.py  sum, avg, topk, quantile, ... by/without
    functions/    one row in the table and one function for each PromQL function
    native/       native histograms: columns, and what can be done with them
    kernels.py    the loops over samples, compiled by numba, without the GIL
    engine.py     what the rest of telemetry calls: instant and range queries
"""
