"""
Go's text/template, as far as Prometheus's labels and annotations use it.

    go.py        a template: read once, run with bounds
    reading.py   text to a tree
    lexing.py    its words
    values.py    how Go prints and compares values
    functions.py Prometheus's functions
"""
