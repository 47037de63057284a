"""
The newest samples, in memory: found by queries and rules the moment they are acknowledged.

    extract.py  what the scanner found -> columns of series, times and values
    blocks.py   those columns kept per series, in blocks of a bounded arena
    index.py    labels to series, and standing selections
    head.py     all of it together; what it answers for, and from when on
    refill.py   what a start reads back from the store, and labels the head doesn't know
    source.py   the evaluator's source: the head, and before its horizon the store
"""
