"""
PromQL, evaluated on whole arrays: every node returns labels and a `series x steps` array.

    parse.py      text -> nodes.py (our own tree; promql-parser reads the text)
    evaluate.py   one method per kind of node; selectors ask a Source for columns
    binary.py     operators between vectors and scalars
    matching.py   which series of two vectors belong together
    aggregate.py  sum, avg, topk, quantile, ... by/without
    functions/    one row in the table and one function for each PromQL function
    kernels.py    the loops over samples, compiled by numba, without the GIL
    engine.py     what the rest of telemetry calls: instant and range queries
"""
